"""Keep one line about what plays in a file: key, tempo, section and chords.

The file is replaced as a whole, so whoever reads it never finds half a line. Ends with Ctrl-C, or
after ``--bars`` bars.
"""

import argparse
import itertools
from contextlib import suppress
from pathlib import Path

from lofid.client import Address, Client
from lofid.protocol.messages import BarEvent, BarInfo


def line(bar: BarInfo) -> str:
    """Such as ``Eb · 78 BPM · A · Ebmaj7 Cm9``."""
    return f"{bar.key} · {bar.tempo:.0f} BPM · {bar.section} · {' '.join(bar.chords)}"


def write(path: Path, text: str) -> None:
    """Put the text in the file's place in one step."""
    half = path.with_name(f".{path.name}.part")
    half.write_text(text + "\n", "utf-8")
    half.replace(path)


def main() -> None:
    """Follow a daemon and keep the line up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--session", default="main")
    parser.add_argument("--bars", type=int, help="end after so many bars")
    options = parser.parse_args()
    with Client(Address.of_session(options.session)) as daemon:
        bars = (event.bar for event in daemon.events("bar") if isinstance(event, BarEvent))
        for bar in itertools.islice(bars, options.bars):
            write(options.file, line(bar))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
