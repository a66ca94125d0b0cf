"""What a song sounds like: the instruments that it draws, and how worn its tape is."""

import numpy as np

from lofid.compose.chance import RandomStream, generator
from lofid.music.parameters import Settings
from lofid.music.plan import Face

_WEAR = {"low_pass": 0.35, "wow": 0.7, "vinyl": 0.6, "reverb": 0.5}
"""For each setting of tape and room: the logarithm of the widest factor on it, either way."""


def drawn_face(settings: Settings, seed: int, number: int, previous: Face | None) -> Face:
    """The face of a song; it shares not all instruments with the one before if there is a choice.

    One of the instruments that differ is that of the first part, keys before melody, kit and bass,
    whose settings name several.
    """
    rng = generator(seed, RandomStream.FACE, number)
    sound, before = settings.sound, previous
    drawn = {name: int(rng.integers(2**16)) for name in ("keys", "melody", "kit", "bass")}
    fresh = next((name for name in drawn if len(getattr(sound, name)) > 1), None)

    def pick(name: str) -> int:
        """The number of the drawn instrument in its palette."""
        palette = getattr(sound, name)
        others = [
            place
            for place, voice in enumerate(palette)
            if name != fresh or before is None or voice is not getattr(before, name)
        ]
        return others[drawn[name] % len(others)]

    return Face(
        keys=sound.keys[pick("keys")],
        melody=sound.melody[pick("melody")],
        bass=sound.bass[pick("bass")],
        kit=sound.kit[pick("kit")],
        **_wear(rng, settings.form.spread),
    )


def _wear(rng: np.random.Generator, spread: float) -> dict[str, float]:
    """Factors on the settings of tape, texture and room."""
    return {
        name: float(np.exp(2 * spread * widest * rng.uniform(-0.5, 0.5)))
        for name, widest in _WEAR.items()
    }
