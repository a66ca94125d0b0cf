"""A take as audio, through the studio of its preset."""

from collections.abc import Mapping

import numpy as np

from lofid.compose.preset import Preset
from lofid.judge.loudness import Audio
from lofid.judge.report import MeasuredTake
from lofid.sound.studio import STEMS, Studio, rendered_bars


def listen(preset: Preset, take: MeasuredTake) -> tuple[Audio, Mapping[str, Audio]]:
    """The mix and the stems of a take, from its first bar line to the end of its last note.

    Raises :class:`LofidError` where a system library is missing.
    """
    studio = Studio(preset.settings, take.seed)
    blocks = [rendered for _, rendered in rendered_bars(studio, take.bars)]
    late = Studio.LATENCY
    mix = np.concatenate([block.mix for block in blocks])[late:]
    stems = {stem: np.concatenate([block.stems[stem] for block in blocks])[late:] for stem in STEMS}
    return mix, stems
