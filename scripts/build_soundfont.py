"""Cut lofid's SoundFont out of Frank Wen's Fluid R3 GM and store its samples as Ogg Vorbis (SF3).

The full font is 148 MB; lofid uses a few presets of it and ships them inside the package. The cut
keeps every zone, generator and modulator of the presets it keeps, so that they sound as in the full
font; only the samples are coded with loss. Run it from the repository's root:

    python scripts/build_soundfont.py FluidR3_GM.sf2 lofid/sound/data/lofid.sf3

Debian's package fluid-soundfont-gm puts the full font into /usr/share/sounds/sf2. The format is in
"SoundFont Technical Specification 2.04" (E-mu, 2006); SF3 is MuseScore's extension: bit 4 of
a sample's type says Ogg Vorbis, its start and end then count bytes, its loop frames from its start.
"""

import argparse
import io
import itertools
import struct
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import soundfile as sf

DRUM_BANK = 128
PRESETS: tuple[tuple[int, int], ...] = (
    *((0, program) for program in (0, 4, 5, 8, 10, 11, 12, 24, 26, 32, 33, 35, 46, 73, 89, 108)),
    *((DRUM_BANK, program) for program in (0, 25, 32, 40)),
)
"""(bank, program) of every preset that lofid ships."""

KIT_PITCHES = frozenset((*range(35, 52), 54, 70))
"""What lofid plays on a kit: kicks, snares, hats, toms, crash, ride, tambourine and shaker."""

VORBIS_COMPRESSIONS = (0.6, 0.45, 0.3, 0.2, 0.15, 0.1, 0.05, 0.0)
"""libsndfile's levels to try, the smallest file first."""

LARGEST_ERROR = 10 ** (-26 / 10)
"""Energy of a sample's coding error relative to the sample (-26 dB), where Vorbis can reach it."""

HEADROOM = 0.75
"""Gain of every sample. Vorbis overshoots the peaks of what it codes, and FluidSynth's decoder
wraps what lies above full scale into a click."""

_INSTRUMENT = 41
_SAMPLE_ID = 53
_KEY_RANGE = 43
_VORBIS = 0x10
_MONO = 1
_LINKED = 0x2 | 0x4 | 0x8
_CODED_AT_ONCE = 16_384  # frames; libsndfile's Vorbis writer overflows its stack on long blocks


_Record = TypeVar("_Record", bound=tuple[int | bytes, ...])


class Preset(NamedTuple):
    """A `phdr` record."""

    name: bytes
    program: int
    bank: int
    bag: int
    library: int
    genre: int
    morphology: int


class Bag(NamedTuple):
    """A `pbag` or `ibag` record: where a zone's generators and modulators begin."""

    generator: int
    modulator: int


class Generator(NamedTuple):
    """A `pgen` or `igen` record; the amount is left as raw bits."""

    operator: int
    amount: int


class Modulator(NamedTuple):
    """A `pmod` or `imod` record."""

    source: int
    destination: int
    amount: int
    amount_source: int
    transform: int


class Instrument(NamedTuple):
    """An `inst` record."""

    name: bytes
    bag: int


class Sample(NamedTuple):
    """An `shdr` record."""

    name: bytes
    start: int
    end: int
    loop_start: int
    loop_end: int
    rate: int
    pitch: int
    correction: int
    link: int
    kind: int


@dataclass(frozen=True, slots=True)
class Zone:
    """The generators and modulators of one zone."""

    generators: tuple[Generator, ...]
    modulators: tuple[Modulator, ...]

    def target(self, operator: int) -> int | None:
        """The index that the zone ends in (its instrument or sample); None for a global zone."""
        last = self.generators[-1] if self.generators else None
        return last.amount if last is not None and last.operator == operator else None

    def covers(self, pitches: frozenset[int]) -> bool:
        """Whether the zone's key range, if it has one, holds any of the pitches."""
        for generator in self.generators:
            if generator.operator == _KEY_RANGE:
                low, high = generator.amount & 0xFF, generator.amount >> 8
                return any(low <= pitch <= high for pitch in pitches)
        return True

    def aimed_at(self, operator: int, index: int) -> "Zone":
        """The same zone, ending in another index."""
        return replace(self, generators=(*self.generators[:-1], Generator(operator, index)))


@dataclass(slots=True)
class Font:
    """The parts of a SoundFont that a cut needs; `smpl` holds 16-bit frames or Vorbis streams."""

    presets: list[tuple[Preset, list[Zone]]] = field(default_factory=list)
    instruments: list[tuple[Instrument, list[Zone]]] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    smpl: bytes = b""


_FORMATS: dict[type, str] = {
    Preset: "<20sHHHIII",
    Bag: "<HH",
    Generator: "<HH",
    Modulator: "<HHhHH",
    Instrument: "<20sH",
    Sample: "<20sIIIIIBbHH",
}


def chunks(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The RIFF chunks between two offsets, as (name, first byte, byte after the last)."""
    while start < end:
        name, size = struct.unpack_from("<4sI", data, start)
        yield name, start + 8, start + 8 + size
        start += 8 + size + size % 2


def read(path: Path) -> Font:
    """Read an SF2 file."""
    data = path.read_bytes()
    found: dict[bytes, bytes] = {}
    for name, start, end in chunks(data, 12, len(data)):
        if name == b"LIST":
            for inner, inner_start, inner_end in chunks(data, start + 4, end):
                found[inner] = data[inner_start:inner_end]

    def records(kind: type[_Record], chunk: bytes) -> list[_Record]:
        return [kind(*fields) for fields in struct.iter_unpack(_FORMATS[kind], found[chunk])]

    def zones(owners: list[tuple[int, int]], letter: bytes) -> list[list[Zone]]:
        bags = records(Bag, letter + b"bag")
        generators = records(Generator, letter + b"gen")
        modulators = records(Modulator, letter + b"mod")
        return [
            [
                Zone(
                    tuple(generators[bags[i].generator : bags[i + 1].generator]),
                    tuple(modulators[bags[i].modulator : bags[i + 1].modulator]),
                )
                for i in range(first, last)
            ]
            for first, last in owners
        ]

    presets, instruments = records(Preset, b"phdr"), records(Instrument, b"inst")
    return Font(
        presets=list(zip(presets, zones(_spans(presets), b"p"), strict=False)),
        instruments=list(zip(instruments, zones(_spans(instruments), b"i"), strict=False)),
        samples=records(Sample, b"shdr")[:-1],
        smpl=found[b"smpl"],
    )


def _spans(owners: list[Preset] | list[Instrument]) -> list[tuple[int, int]]:
    """First and last bag of every owner; the terminal record ends the list."""
    bags = [owner.bag for owner in owners]
    return list(itertools.pairwise(bags))


def cut(font: Font, wanted: tuple[tuple[int, int], ...]) -> Font:
    """The font with only the wanted presets and what they use; samples become Ogg Vorbis.

    Raises KeyError with the (bank, program) that the font has not got.
    """
    by_place = {(preset.bank, preset.program): (preset, zones) for preset, zones in font.presets}
    presets = [by_place[place] for place in sorted(wanted)]
    presets = [
        (preset, _on_kit(zones) if preset.bank == DRUM_BANK else zones) for preset, zones in presets
    ]
    tuned = _targets((zones for preset, zones in presets if preset.bank != DRUM_BANK), _INSTRUMENT)
    instruments = _targets((zones for _, zones in presets), _INSTRUMENT)
    parts = [
        (font.instruments[old][0], font.instruments[old][1])
        if old in tuned
        else (font.instruments[old][0], _on_kit(font.instruments[old][1]))
        for old in instruments
    ]
    samples = _targets((zones for _, zones in parts), _SAMPLE_ID)
    coded: list[Sample] = []
    streams: list[bytes] = []
    position = 0
    for old in samples:
        sample = font.samples[old]
        stream = _vorbis(font.smpl[2 * sample.start : 2 * sample.end], sample.rate)
        linked = bool(sample.kind & _LINKED) and sample.link in samples
        coded.append(
            sample._replace(
                start=position,
                end=position + len(stream),
                loop_start=sample.loop_start - sample.start,
                loop_end=sample.loop_end - sample.start,
                link=samples[sample.link] if linked else 0,
                kind=(sample.kind if linked else _MONO) | _VORBIS,
            )
        )
        streams.append(stream)
        position += len(stream)
    return Font(
        presets=[
            (preset, _renumbered(zones, _INSTRUMENT, instruments)) for preset, zones in presets
        ],
        instruments=[
            (instrument, _renumbered(zones, _SAMPLE_ID, samples)) for instrument, zones in parts
        ],
        samples=coded,
        smpl=b"".join(streams),
    )


def _targets(owners: Iterable[list[Zone]], operator: int) -> dict[int, int]:
    """Old index to new index of everything that the zones end in, in the old order."""
    used = {zone.target(operator) for zones in owners for zone in zones} - {None}
    return {
        old: new for new, old in enumerate(sorted(index for index in used if index is not None))
    }


def _renumbered(zones: list[Zone], operator: int, places: dict[int, int]) -> list[Zone]:
    return [
        zone if (old := zone.target(operator)) is None else zone.aimed_at(operator, places[old])
        for zone in zones
    ]


def _on_kit(zones: list[Zone]) -> list[Zone]:
    return [zone for zone in zones if zone.covers(KIT_PITCHES)]


def _vorbis(frames: bytes, rate: int) -> bytes:
    """Mono 16-bit frames as the smallest Ogg Vorbis stream that is close enough to them."""
    samples = np.frombuffer(frames, dtype="<i2") * (HEADROOM / 32768)
    for compression in VORBIS_COMPRESSIONS:
        stream = io.BytesIO()
        with sf.SoundFile(
            stream,
            "w",
            samplerate=rate,
            channels=1,
            format="OGG",
            subtype="VORBIS",
            compression_level=compression,
        ) as file:
            for start in range(0, len(samples), _CODED_AT_ONCE):
                file.write(samples[start : start + _CODED_AT_ONCE])
        stream.seek(0)
        decoded, _ = sf.read(stream)
        error = np.square(decoded - samples).sum() / np.square(samples).sum()
        overshoots = bool(np.abs(decoded).max() >= 1)
        if error <= LARGEST_ERROR and not overshoots:
            break
    if overshoots:
        raise ValueError("A sample overshoots full scale; lower HEADROOM.")
    return stream.getvalue()


def written(font: Font) -> bytes:
    """The font as an SF3 file."""
    info = b"".join(
        (
            _chunk(b"ifil", struct.pack("<HH", 3, 0)),
            _chunk(b"isng", _text("EMU8000")),
            _chunk(b"INAM", _text("lofid, cut from Fluid R3 GM")),
            _chunk(b"IENG", _text("Frank Wen")),
            _chunk(b"ICOP", _text("Frank Wen 2000-2002, 2008; Toby Smithe 2008")),
            _chunk(b"ICMT", _text("Licensed under the MIT License.")),
        )
    )
    heads: list[Preset] = []
    tails: list[Instrument] = []
    preset_zones: list[Zone] = []
    instrument_zones: list[Zone] = []
    for preset, zones in font.presets:
        heads.append(preset._replace(bag=len(preset_zones)))
        preset_zones += zones
    for instrument, zones in font.instruments:
        tails.append(instrument._replace(bag=len(instrument_zones)))
        instrument_zones += zones
    heads.append(Preset(b"EOP", 0, 0, len(preset_zones), 0, 0, 0))
    tails.append(Instrument(b"EOI", len(instrument_zones)))
    tables = b"".join(
        (
            _chunk(b"phdr", _records(heads)),
            _zone_tables(b"p", preset_zones),
            _chunk(b"inst", _records(tails)),
            _zone_tables(b"i", instrument_zones),
            _chunk(b"shdr", _records([*font.samples, Sample(b"EOS", 0, 0, 0, 0, 0, 0, 0, 0, 0)])),
        )
    )
    lists = ((b"INFO", info), (b"sdta", _chunk(b"smpl", font.smpl)), (b"pdta", tables))
    return _chunk(b"RIFF", b"sfbk" + b"".join(_chunk(b"LIST", name + body) for name, body in lists))


def _zone_tables(letter: bytes, zones: list[Zone]) -> bytes:
    """The bag, modulator and generator chunks of zones, each with its terminal record."""
    bags: list[Bag] = []
    generators: list[Generator] = []
    modulators: list[Modulator] = []
    for zone in (*zones, Zone((), ())):
        bags.append(Bag(len(generators), len(modulators)))
        generators += zone.generators
        modulators += zone.modulators
    generators.append(Generator(0, 0))
    modulators.append(Modulator(0, 0, 0, 0, 0))
    return b"".join(
        (
            _chunk(letter + b"bag", _records(bags)),
            _chunk(letter + b"mod", _records(modulators)),
            _chunk(letter + b"gen", _records(generators)),
        )
    )


def _records(rows: Sequence[tuple[int | bytes, ...]]) -> bytes:
    return b"".join(struct.pack(_FORMATS[type(row)], *row) for row in rows)


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def _text(words: str) -> bytes:
    """A zero-terminated string of even length."""
    body = words.encode("ascii") + b"\0"
    return body + b"\0" * (len(body) % 2)


def main() -> int:
    """Cut the font named on the command line."""
    parser = argparse.ArgumentParser(description="Cut lofid's SoundFont out of Fluid R3 GM.")
    parser.add_argument("source", type=Path, help="FluidR3_GM.sf2")
    parser.add_argument("target", type=Path, help="the .sf3 file to write")
    arguments = parser.parse_args()
    try:
        font = cut(read(arguments.source), PRESETS)
    except OSError as error:
        print(f"{arguments.source} cannot be read ({error.strerror}).", file=sys.stderr)
        return 1
    unfinished = arguments.target.with_suffix(".part")
    unfinished.write_bytes(written(font))
    unfinished.replace(arguments.target)
    size = arguments.target.stat().st_size / 1e6
    counts = f"{len(font.presets)} presets, {len(font.samples)} samples"
    print(f"{arguments.target}: {counts}, {size:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
