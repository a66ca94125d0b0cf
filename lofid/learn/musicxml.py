"""Music from MusicXML 4.0: percussion parts, and lead sheets of melody and chord symbols.

This module knows scores. It must not know data sets or archives.
"""

import io
from collections.abc import Iterator
from fractions import Fraction
from xml.etree import ElementTree

from lofid.learn.unpack import zipped
from lofid.music.notes import PPQ, SIXTEENTH, Note

_MOST = 64 << 20
"""Bytes that a compressed score may unpack to."""


def _timed(score: ElementTree.Element) -> Iterator[tuple[ElementTree.Element, Fraction, Fraction]]:
    """The notes and chord symbols of a score's measures, each with begin and length in quarters.

    ``backup`` and ``forward`` move the time; a note with ``chord`` begins with the one before it;
    grace notes, which have no length, are left out.
    """
    now = begin = Fraction(0)
    divisions = 1
    for measure in score.iterfind("part/measure"):
        end = now
        for item in measure:
            divisions = _number(item, "divisions") or divisions
            length = Fraction(_number(item, "duration"), divisions)
            if item.tag == "backup":
                now -= length
            elif item.tag == "forward":
                now += length
            elif item.tag == "harmony":
                yield item, now + Fraction(_number(item, "offset"), divisions), length
            elif item.tag == "note" and item.find("grace") is None:
                if item.find("chord") is None:
                    begin, now = now, now + length
                yield item, begin, length
            end = max(end, now)
        now = end


def _number(item: ElementTree.Element, name: str) -> int:
    return int(float(item.findtext(name) or 0))


def drum_hits(musicxml: bytes) -> list[Note]:
    """The hits of a percussion part, each a sixteenth long, at 480 ticks a quarter.

    Accents have velocity 110, ghost notes (heads in parentheses) 40, all others 80.
    """
    score = ElementTree.fromstring(musicxml)
    pitches = {
        instrument.get("id"): _number(instrument, "midi-unpitched") - 1  # which counts from 1
        for instrument in score.iter("midi-instrument")
    }
    hits: set[Note] = set()
    for item, begin, _ in _timed(score):
        instrument = item.find("instrument")
        if instrument is not None and item.find("rest") is None:
            head = item.find("notehead")
            ghost = head is not None and head.get("parentheses") == "yes"
            velocity = 110 if item.find(".//accent") is not None else 40 if ghost else 80
            pitch = pitches[instrument.get("id")]
            hits.add(Note(round(begin * PPQ), pitch, SIXTEENTH, velocity))
    return sorted(hits)


ChordSymbol = tuple[float, str | None, str, int | None, list[tuple[int, int, str]]]
"""Beat, root, MusicXML kind, pitch class of the bass, and degrees added, altered or left out."""


def lead_sheet(mxl: bytes) -> tuple[str, list[Note], list[ChordSymbol]]:
    """The time signature (empty where none is written), melody and chord symbols of a lead sheet.

    Straight through, repeats not unrolled; tied notes are one. Times count from the beginning of
    the first measure, which may be an upbeat: in ticks for the melody, in quarters for the chords.
    """
    packed = zipped(io.BytesIO(mxl), _MOST)
    scores = [content for name, content in packed if not name.startswith("META-INF")]
    score = ElementTree.fromstring(scores[0])
    time = score.find("part/measure/attributes/time")
    metre = f"{time.findtext('beats')}/{time.findtext('beat-type')}" if time is not None else ""
    melody: list[tuple[Fraction, int, Fraction]] = []
    chords: list[ChordSymbol] = []
    tied: dict[int, int] = {}
    for item, begin, length in _timed(score):
        pitch = item.find("pitch")
        if item.tag == "harmony":
            chords.append(_symbol(item, begin))
        elif pitch is not None:
            _sing(melody, tied, item, begin, _midi_pitch(pitch), length)
    notes = [
        Note(round(start * PPQ), pitch, max(1, round(length * PPQ)), 80)
        for start, pitch, length in melody
    ]
    return metre, notes, sorted(chords, key=lambda chord: chord[0])


def _symbol(harmony: ElementTree.Element, beat: Fraction) -> ChordSymbol:
    root, bass = harmony.find("root"), harmony.find("bass")
    name = None
    if root is not None:
        alter = _number(root, "root-alter")
        name = root.findtext("root-step", "") + ("#" * alter or "b" * -alter)
    low = None
    if bass is not None:
        low = (_STEPS[bass.findtext("bass-step", "C")] + _number(bass, "bass-alter")) % 12
    degrees = [
        (
            _number(degree, "degree-value"),
            _number(degree, "degree-alter"),
            degree.findtext("degree-type", "add"),
        )
        for degree in harmony.findall("degree")
    ]
    return float(beat), name, harmony.findtext("kind") or "major", low, degrees


_STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


def _midi_pitch(pitch: ElementTree.Element) -> int:
    step = _STEPS[pitch.findtext("step", "C")] + _number(pitch, "alter")
    return step + 12 * (_number(pitch, "octave") + 1)


def _sing(
    melody: list[tuple[Fraction, int, Fraction]],
    tied: dict[int, int],
    note: ElementTree.Element,
    begin: Fraction,
    pitch: int,
    length: Fraction,
) -> None:
    """Add a note, or lengthen the one that it is tied to; ``tied`` are those that go on."""
    ties = {tie.get("type") for tie in note.findall("tie")}
    if "stop" in ties and pitch in tied:
        index = tied[pitch]
        start = melody[index][0]
        melody[index] = (start, pitch, begin + length - start)
        if "start" not in ties:
            del tied[pitch]
        return
    if "start" in ties:
        tied[pitch] = len(melody)
    melody.append((begin, pitch, length))
