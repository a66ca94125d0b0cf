"""Tell each chord at the moment it begins, with the notes that fit it, for whoever plays along.

Ends with Ctrl-C, or after ``--chords`` chords.
"""

import argparse
import itertools
from contextlib import suppress

from lofid.client import Address, Client
from lofid.protocol.messages import ChordEvent

NAMES = "C Db D Eb E F Gb G Ab A Bb B".split()


def line(chord: ChordEvent) -> str:
    """Such as ``Am7        A C E G``: the notes from the root up."""
    root = NAMES.index(chord.symbol[: 2 if chord.symbol[1:2] == "b" else 1])
    upwards = sorted(chord.pitch_classes, key=lambda pitch_class: (pitch_class - root) % 12)
    return f"{chord.symbol:10} {' '.join(NAMES[pitch_class] for pitch_class in upwards)}"


def main() -> None:
    """Follow a daemon and print its chords."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--session", default="main")
    parser.add_argument("--chords", type=int, help="end after so many chords")
    options = parser.parse_args()
    with Client(Address.of_session(options.session)) as daemon:
        chords = (event for event in daemon.events("chord") if isinstance(event, ChordEvent))
        for chord in itertools.islice(chords, options.chords):
            print(line(chord), flush=True)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
