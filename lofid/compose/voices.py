"""The two models of a station: those that come with lofid or others, plain or in a style.

Knows files and weights; no engine.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lofid.rwkv.shipped import shipped_model
from lofid.rwkv.state import ModelState
from lofid.rwkv.styles import installed_model, load_style
from lofid.rwkv.weights import Model
from lofid.tokens import drums, keys

VOCABULARIES = {"keys": keys.VOCABULARY.hash, "drums": drums.VOCABULARY.hash}
"""The players, and what their models must have been trained on."""


@dataclass(frozen=True, slots=True)
class Voice:
    """One player's model, and the state before a song's first bar: None where nothing was heard.

    ``identity`` is what a session knows it by: the hash of its weights, and of the style.
    """

    model: Model
    identity: str
    beginning: ModelState | None = None


@dataclass(frozen=True, slots=True)
class Voices:
    """A station's models."""

    keys: Voice
    drums: Voice

    @property
    def hashes(self) -> dict[str, str]:
        """What a session knows each player by."""
        return {"keys": self.keys.identity, "drums": self.drums.identity}


def load_voices(
    instead: Mapping[str, Path | None] = {}, model: str | None = None, style: str | None = None
) -> Voices:
    """The models that come with lofid, or the installed ones of a name, in a style.

    ``instead`` names for players the file or folder of their weights, and comes first. Raises
    :class:`~lofid.errors.LofidError` where a file cannot be used, is for another vocabulary, or
    the style for other weights.
    """
    chosen = None if style is None else load_style(style)

    def voice(player: str) -> Voice:
        plain = load_model_of(player, instead.get(player), model)
        if chosen is None:
            return Voice(plain, plain.hash)
        beginning = chosen.beginning(player, plain.card.config)
        applied, identity = chosen.applied(player, plain), chosen.identity(player, plain)
        return Voice(applied, identity, beginning)

    return Voices(voice("keys"), voice("drums"))


def load_model_of(player: str, path: Path | None = None, name: str | None = None) -> Model:
    """One player's weights: those at ``path``, else of the installed model ``name``, else lofid's.

    Raises :class:`~lofid.errors.LofidError` as :func:`load_voices` does.
    """
    installed = installed_model(name, player) if path is None and name is not None else None
    return shipped_model(f"pocket-{player}", VOCABULARIES[player], path or installed)
