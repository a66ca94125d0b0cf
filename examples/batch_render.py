"""Write MIDI files of several presets and seeds, without a daemon.

The models are opened once, for all of them. The same preset and seed give the same file each time.
"""

import argparse
import itertools
from functools import partial
from pathlib import Path

from lofid.compose.player import drums_player, keys_player
from lofid.compose.preset import load_preset
from lofid.compose.station import Station
from lofid.music.midi import write_midi
from lofid.rwkv.shipped import shipped_engine
from lofid.sound.synth import programs
from lofid.tokens import drums, keys


def main() -> None:
    """Write a file for each preset and seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--presets", nargs="+", default=["study"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--bars", type=int, default=64)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    players = (
        keys_player(shipped_engine("pocket-keys", keys.VOCABULARY.hash)),
        drums_player(shipped_engine("pocket-drums", drums.VOCABULARY.hash)),
    )
    with Station(*players) as station:
        for name, seed in itertools.product(options.presets, options.seeds):
            settings = load_preset(name).settings
            bars = itertools.islice(station.bars(settings, seed), options.bars)
            path = options.folder / f"{name}-{seed}.mid"
            write_midi(path, bars, partial(programs, settings.sound))
            print(path)


if __name__ == "__main__":
    main()
