"""Samples of a model in training: a few bars as MIDI, and as audio where FluidSynth is.

The present weights play through the CPU engine and the station, beside the other player's model
that comes with lofid: what is heard is what they would play. Always the same preset and seed, so
that samples of one run may be compared.
"""

import logging
from collections.abc import Mapping
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from lofid.compose.player import drums_player, keys_player
from lofid.compose.preset import DEFAULT, load_preset
from lofid.compose.station import Station
from lofid.errors import LofidError
from lofid.files import replacing
from lofid.learn.configs import PlayerName
from lofid.music.midi import write_midi
from lofid.rwkv.config import RwkvConfig
from lofid.rwkv.cpu import CpuEngine
from lofid.rwkv.engine import Engine
from lofid.rwkv.shipped import shipped_engine
from lofid.sound import SAMPLE_RATE
from lofid.sound.studio import Studio, rendered_bars
from lofid.sound.synth import programs
from lofid.tokens import drums, keys

BARS = 8
SEED = 1

PLAYERS = {keys.VOCABULARY.hash: PlayerName.KEYS, drums.VOCABULARY.hash: PlayerName.DRUMS}
"""Whose tokens a vocabulary holds, by its hash."""

_LOG = logging.getLogger(__name__)


def write_sample(
    player: PlayerName,
    config: RwkvConfig,
    tensors: Mapping[str, NDArray[np.float32]],
    folder: Path,
    name: str,
) -> None:
    """Play ``BARS`` bars with these weights into ``folder``: NAME.mid, and NAME.ogg with sound.

    A sample never ends a run: where it cannot be made, that is logged.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        own = CpuEngine(config, tensors)
        settings = load_preset(DEFAULT).settings
        if player is PlayerName.KEYS:
            other = shipped_engine("pocket-drums", drums.VOCABULARY.hash)
            pair: tuple[Engine, Engine] = own, other
        else:
            pair = shipped_engine("pocket-keys", keys.VOCABULARY.hash), own
        with Station(keys_player(pair[0]), drums_player(pair[1])) as station:
            bars = list(islice(station.bars(settings, SEED), BARS))
        write_midi(folder / f"{name}.mid", bars, partial(programs, settings.sound))
        blocks = [sound.mix for _, sound in rendered_bars(Studio(settings, SEED), iter(bars))]
        with replacing(folder / f"{name}.ogg") as temporary:
            soundfile.write(temporary, np.concatenate(blocks), SAMPLE_RATE)
    except (LofidError, OSError, soundfile.SoundFileError) as error:
        _LOG.warning("The sample %s is not complete: %s", name, error)
