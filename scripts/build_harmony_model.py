"""Make ``lofid/music/harmony_model.json`` of the McGill Billboard annotations, and measure it.

A fifth of the songs is left out: one half of it chose the constants of lofid.music.harmony_model
(order, mixing) and those of the table's n-gram here, the other is only reported. Printed is the
perplexity a chord on both, beside a unigram of the same songs and the table of loops, all over the
same chords.

Usage: ``python scripts/build_harmony_model.py DATA`` where DATA holds the unpacked
``harmony_mcgill_billboard``. The same data give the same file.
"""

import csv
import hashlib
import json
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lofid.errors import LofidError
from lofid.music.chords import Chord, Key, Mode, Quality
from lofid.music.harmony_model import (
    NUMERALS,
    ORDER,
    PHRASE,
    START,
    Ngram,
    SectionModel,
    Shares,
    SongSection,
    changes,
    grams_of,
    loop_numerals,
    numeral,
)
from lofid.music.progressions import HOME, progressions

TARGET = Path(__file__).resolve().parent.parent / "lofid" / "music" / "harmony_model.json"
ATTRIBUTION = (
    "McGill Billboard 2.0 (CC0 1.0): J. A. Burgoyne, J. Wild, I. Fujinaga, 'An Expert Ground "
    "Truth Set for Audio Chord Recognition and Music Analysis', ISMIR 2011, pp. 633-638"
)
LEFT_OUT_PERCENT = 20
TABLE_ORDER, TABLE_BACKING = 2, 30.0
SECTIONS = {
    "intro": SongSection.INTRO,
    "verse": SongSection.VERSE,
    "pre-verse": SongSection.VERSE,
    "theme": SongSection.VERSE,
    "chorus": SongSection.CHORUS,
    "refrain": SongSection.CHORUS,
    "bridge": SongSection.BRIDGE,
    "pre-chorus": SongSection.BRIDGE,
    "solo": SongSection.INTERLUDE,
    "interlude": SongSection.INTERLUDE,
    "instrumental": SongSection.INTERLUDE,
    "transition": SongSection.INTERLUDE,
    "outro": SongSection.OUTRO,
    "coda": SongSection.OUTRO,
}


@dataclass(frozen=True)
class Passage:
    """Chords of a section without a break: numerals bar by bar, one or two each."""

    group: str
    mode: Mode
    section: SongSection
    bars: tuple[tuple[str, ...], ...]

    @property
    def changes(self) -> list[str]:
        """The chords without repetitions."""
        return changes([name for bar in self.bars for name in bar])


def side(group: str) -> str:
    """``training``, ``choosing`` or ``reported``, by a hash of the song's name."""
    place = int(hashlib.sha256(f"lofid-harmony-split-1:{group}".encode()).hexdigest()[:8], 16) % 100
    if place >= LEFT_OUT_PERCENT:
        return "training"
    return "choosing" if place % 2 else "reported"


def qualities(data: Path) -> dict[str, Quality]:
    """Harte's qualities as the nearest that lofid has."""
    with (data / "qualities.csv").open(newline="") as file:
        near = {row["quality"]: row["lead_sheet"] for row in csv.DictReader(file)}
    ours = {f"C{quality.suffix}": quality for quality in Quality}
    return {name: ours[symbol] for name, symbol in near.items() if symbol in ours}


def named(symbol: str, tonic: int, mode: Mode, known: dict[str, Quality]) -> str | None:
    """A chord as a numeral; None for what has no root or is unknown.

    A power chord or a bare root is the triad that the key has there.
    """
    root, _, rest = symbol.partition(":")
    quality = rest.partition("/")[0]
    try:
        degree = (Chord.parse(root).root - tonic + HOME[mode].tonic) % 12
    except LofidError:
        return None
    if quality in ("1", "5"):
        third = Key(HOME[mode].tonic, mode).pitch_classes
        found = Quality.MINOR if (degree + 3) % 12 in third else Quality.MAJOR
        return numeral(Chord(degree, found), mode)
    return numeral(Chord(degree, known[quality]), mode) if quality in known else None


def passages(data: Path) -> Iterator[Passage]:
    """All sections in four of songs that are in major or minor, each once a song."""
    known = qualities(data)
    with (data / "index.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        song = json.loads((data / row["file"]).read_text())
        if song["mode"] not in ("major", "minor"):
            continue
        mode, seen = Mode(song["mode"]), set()
        for section in song["sections"]:
            kind = SECTIONS.get(section["name"])
            if kind is None or section.get("metre") != "4/4" or section.get("key_changes"):
                continue
            tonic = Chord.parse(section["tonic"]).root
            for bars in unbroken(section["bars"], tonic, mode, known):
                if (kind, bars) not in seen:
                    seen.add((kind, bars))
                    yield Passage(row["group"], mode, kind, bars)


def unbroken(
    bars: Sequence[list[str] | None], tonic: int, mode: Mode, known: dict[str, Quality]
) -> Iterator[tuple[tuple[str, ...], ...]]:
    """The stretches of bars whose chords are all known."""
    found: list[tuple[str, ...]] = []
    for bar in [*bars, None]:
        names = [named(symbol, tonic, mode, known) for symbol in bar or ["N"]]
        if any(name is None for name in names):
            if found:
                yield tuple(found)
            found = []
        else:
            found.append(tuple(name for name in names if name is not None))


def changes_by_bar(some: Sequence[Passage]) -> list[list[int]]:
    """For each bar of a phrase how often it brings no, one or two chords (or more)."""
    counts = [[0, 0, 0] for _ in range(PHRASE)]
    for passage in some:
        last = ""
        for place, bar in enumerate(passage.bars):
            new = 0
            for name in bar:
                new += name != last
                last = name
            counts[place % PHRASE][min(new, 2)] += 1
    return counts


Predict = Callable[[Passage, Sequence[str]], Shares]
"""The shares of every chord behind some in a passage."""


def report(predict: Predict, some: Sequence[Passage]) -> str:
    """The perplexity a chord, exp of the mean nats, with its 95 % interval by drawing songs."""
    songs: dict[str, list[float]] = defaultdict(list)
    for passage in some:
        names = passage.changes
        for place, name in enumerate(names):
            share = predict(passage, names[:place])[NUMERALS.index(name)]
            songs[passage.group].append(-math.log(share))
    sums = np.array([(sum(lost), len(lost)) for lost in songs.values()])
    rng = np.random.default_rng(1)
    drawn = sums[rng.integers(len(sums), size=(2000, len(sums)))].sum(1)
    low, high = np.percentile(np.exp(drawn[:, 0] / drawn[:, 1]), (2.5, 97.5))
    total, count = sums.sum(0)
    return f"{math.exp(total / count):6.2f} ({low:.2f} to {high:.2f})"


def table_model(mode: Mode) -> Ngram:
    """What the table of loops says of the next chord."""
    loops = [loop_numerals(loop) for loop in progressions() if loop.mode is mode]
    return Ngram(grams_of(loops, TABLE_ORDER), TABLE_BACKING)


def main(data: Path) -> None:
    """Write the model and print what it is worth."""
    parts = defaultdict(list)
    for passage in passages(data / "harmony_mcgill_billboard"):
        parts[side(passage.group)].append(passage)
    training = parts["training"]
    modes: dict[str, dict[str, object]] = {}
    models: dict[tuple[Mode, SongSection], SectionModel] = {}
    unigrams: dict[Mode, Ngram] = {}
    for mode in Mode:
        whole = [passage.changes for passage in training if passage.mode is mode]
        grams = grams_of(whole, ORDER)
        unigrams[mode], ngram = Ngram(grams_of(whole, 1)), Ngram(grams)
        sections = {}
        for section in SongSection:
            own = [p for p in training if (p.mode, p.section) == (mode, section)]
            openings = dict(Counter(passage.changes[0] for passage in own))
            model = SectionModel(ngram, openings, changes_by_bar(own))
            models[mode, section] = model
            sections[section] = {"openings": openings, "changes": model.changes}
        modes[mode] = {"grams": grams, "sections": sections}
    content = {"attribution": ATTRIBUTION, "modes": modes}
    TARGET.write_text(json.dumps(content, separators=(",", ":")) + "\n")
    tables = {mode: table_model(mode) for mode in Mode}
    known: dict[str, Predict] = {
        "this model": lambda passage, before: models[passage.mode, passage.section].shares(before),
        "table of loops": lambda passage, before: tables[passage.mode].shares(
            " ".join(([START] * TABLE_ORDER + list(before))[1 - TABLE_ORDER :])
        ),
        "unigram": lambda passage, _: unigrams[passage.mode].shares(""),
    }
    print(f"{len(training):,} passages, {TARGET.stat().st_size / 1e3:.0f} kB")
    for part in ("choosing", "reported"):
        some = parts[part]
        songs = len({passage.group for passage in some})
        chords = sum(len(passage.changes) for passage in some)
        print(f"{part}: {songs} songs, {chords:,} chords; perplexity a chord (95 %):")
        for name, predict in known.items():
            print(f"  {name:14} {report(predict, some)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
