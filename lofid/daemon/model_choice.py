"""Which models a session plays with, in which style: what this start names, else what it had.

They are the writer's options by their names, paths absolute: ``model``, ``keys-model``,
``drums-model`` and ``style``. None at all are lofid's own models as they are. Knows no process.
"""

from collections.abc import Mapping
from pathlib import Path

from lofid.compose.voices import load_voices
from lofid.errors import LofidError

STYLE = "style"

_WORDS = {
    STYLE: "in the style '{}'",
    "model": "with the model '{}'",
    "keys-model": "with the keys of '{}'",
    "drums-model": "with the drums of '{}'",
}


def check(voices: Mapping[str, str]) -> None:
    """Raise :class:`LofidError` where these cannot play, or not together."""
    if voices:
        paths = {
            player: Path(voices[option])
            for player in ("keys", "drums")
            if (option := f"{player}-model") in voices
        }
        load_voices(paths, voices.get("model"), voices.get(STYLE))


def taken_up(
    kept: Mapping[str, str], given: Mapping[str, str]
) -> tuple[Mapping[str, str], list[str]]:
    """Those that a session goes on with, and what is to be told of that, a sentence each.

    What was given comes first: raises :class:`LofidError` where that cannot play. Where what was
    kept can no longer, the session plays without, for music goes on.
    """
    weights = {option: name for option, name in given.items() if option != STYLE}
    # A style belongs to the very weights that it was tuned on: with others, it does not go on.
    voices = {**kept, **given} if weights.items() <= kept.items() else dict(given)
    if voices != kept:
        check(voices)
        return voices, [
            f"The session plays {in_words(voices)} from now on, as this start asks, and no longer "
            f"{in_words(kept)}."
        ]
    try:
        check(voices)
    except LofidError as error:
        if STYLE in given:
            raise
        told = f"The session played {in_words(kept)}, which cannot be had now: {error}"
    else:
        return voices, []
    voices.pop(STYLE, None)
    try:
        check(voices)
    except LofidError:
        voices = dict(given)
        check(voices)
    return voices, [f"{told} It plays {in_words(voices)}, and its music begins anew."]


def in_words(voices: Mapping[str, str]) -> str:
    """Such as ``in the style 'mine'``; what completes "it plays"."""
    named = [words.format(voices[option]) for option, words in _WORDS.items() if option in voices]
    return ", ".join(named) or "with lofid's own models"
