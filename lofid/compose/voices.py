"""The two models of a station: those that come with lofid or others, plain or in a style.

Knows files and weights; no engine.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lofid.rwkv.shipped import shipped_model
from lofid.rwkv.state import State
from lofid.rwkv.styles import load_style
from lofid.rwkv.weights import Model
from lofid.tokens import drums, keys

VOCABULARIES = {"keys": keys.VOCABULARY.hash, "drums": drums.VOCABULARY.hash}
"""The players, and what their models must have been trained on."""


@dataclass(frozen=True, slots=True)
class Voice:
    """One player's model, and the state before a song's first bar: None where nothing was heard."""

    model: Model
    beginning: State | None = None


@dataclass(frozen=True, slots=True)
class Voices:
    """A station's models."""

    keys: Voice
    drums: Voice

    @property
    def hashes(self) -> dict[str, str]:
        """Hash of each player's weights."""
        return {"keys": self.keys.model.hash, "drums": self.drums.model.hash}


def load_voices(instead: Mapping[str, Path | None] = {}, style: str | None = None) -> Voices:
    """The models that come with lofid, or by player those of the files ``instead``, in a style.

    Raises :class:`~lofid.errors.LofidError` where a file cannot be used, is for another vocabulary,
    or the style for other weights.
    """
    chosen = None if style is None else load_style(style)

    def voice(player: str) -> Voice:
        model = shipped_model(f"pocket-{player}", VOCABULARIES[player], instead.get(player))
        if chosen is None:
            return Voice(model)
        beginning = chosen.beginning(player, model.card.config)
        return Voice(chosen.applied(player, model), beginning)

    return Voices(voice("keys"), voice("drums"))
