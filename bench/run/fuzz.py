"""Read damaged files and messages by the ten thousand: what comes must be a value or a refusal.

    python -m bench.run.fuzz midi --runs 100000      # or preset, session, style, model, protocol
    python -m bench.run.fuzz all --runs 2000

Whole inputs are damaged at random: bytes changed, cut out, doubled and exchanged, numbers set to
their ends, the rest cut off. Whatever else than a refusal in our own words is raised, and whatever
takes more than five seconds, is kept in a folder, byte for byte. Exit code 1 where there is any.
"""

import random
import resource
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from bench.script import run_script
from lofid.cli._station import opened_station
from lofid.compose.preset import checked_preset, load_preset, preset_names, preset_text
from lofid.compose.session import Moment, decoded, encoded
from lofid.errors import LofidError
from lofid.learn.hearing import Unusable as Unheard
from lofid.learn.hearing import hear
from lofid.music.chords import Chord, Key
from lofid.music.midi import parse_midi, write_midi
from lofid.music.notes import Note, Part
from lofid.music.parameters import Settings
from lofid.music.plan import Bar, BarPlan, Section
from lofid.protocol import messages
from lofid.rwkv.choice import EngineName
from lofid.rwkv.config import RwkvConfig
from lofid.rwkv.styles import WKV, Method, Style, StyleCard, load_style, save_style
from lofid.rwkv.weights import Model, ModelCard, load_model, save_model, tensor_shapes

SLOWEST = 5.0
"""Seconds of the processor after which a run counts as hanging."""
MOST_MB = 500
_SPLICES = (
    b"", b"\0", b"\xff", b"\x7f", b"\x80", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff",
    b"\xff\x2f\0", b"\xff\x51\x03", b"\xff\x58\x04", b"\xff\x59\x02", b"MTrk", b"MThd", b"\xf0\x7f",
    b"[", b"{", b'"', b"1e400", b"-1", b"NaN", b"null", b"\xed\xa0\x80", b"\n", b"9" * 400,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class FuzzTarget:
    """What is fuzzed: whole inputs, who reads them, and what that may raise."""

    seeds: Sequence[bytes]
    read: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...] = (LofidError,)


class Hanging(Exception):
    """A run takes too long."""


def damaged(content: bytes, others: Sequence[bytes], dice: random.Random) -> bytes:
    """The bytes after one to eight accidents."""
    found = bytearray(content)
    for _ in range(dice.choice((1, 1, 2, 3, 8))):
        at = dice.randrange(len(found) + 1)
        upto = min(len(found), at + dice.choice((1, 1, 2, 4, 16, 200)))
        match dice.randrange(6):
            case 0 if at < len(found):
                found[at] = dice.randrange(256)
            case 1:
                found[at:upto] = dice.choice(_SPLICES)
            case 2:
                found[at:at] = dice.choice(_SPLICES) * dice.choice((1, 1, 2, 50))
            case 3:
                found[at:at] = found[at:upto] * dice.choice((1, 3))
            case 4:
                other = dice.choice(others)
                begin = dice.randrange(len(other) + 1)
                found[at:upto] = other[begin : begin + dice.randrange(1, 200)]
            case 5 if dice.random() < 0.2:
                del found[at:]
    return bytes(found)


# --- whole inputs -------------------------------------------------------------------------------


def _bars() -> list[Bar]:
    plan = BarPlan(
        index=0,
        tempo=80.0,
        key=Key.parse("Eb"),
        chords=(Chord.parse("Ebmaj7"),),
        section=Section.A,
        bar_in_section=0,
        density=0.5,
        energy=0.5,
        register=60.0,
        melody=0.5,
        swing=58.0,
        parts=frozenset(Part),
    )
    keys = tuple(Note(960 * half, 60 + step, 900, 70) for half in (0, 1) for step in (0, 4, 7))
    drums = tuple(Note(240 * eighth, 42, 60, 80) for eighth in range(8))
    return 4 * [Bar(plan, {Part.KEYS: keys, Part.DRUMS: drums})]


def _model() -> Model:
    config = RwkvConfig(layers=1, width=64, vocabulary=9, mix_rank=4, decay_rank=6)
    tensors = {name: np.zeros(shape, np.float32) for name, shape in tensor_shapes(config).items()}
    return Model(ModelCard(config, "keys", "0123456789abcdef", step=1, seed=2), tensors)


def _from_file(suffix: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """A reader of bytes, from one of files."""
    path = Path(tempfile.mkdtemp(prefix="lofid-fuzz-")) / f"x{suffix}"

    def found(content: bytes) -> object:
        path.write_bytes(content)
        return read(path)

    return found


# --- targets ------------------------------------------------------------------------------------


def _midi() -> FuzzTarget:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.mid")
        write_midi(path, _bars())
        whole = path.read_bytes()
    riff = b"RIFF\0\0\0\0RMIDdata\0\0\0\0" + whole
    pedal = whole.replace(b"\xc0", b"\xb0\x40\x7f\x00\xb0\x00\x78\x00\xc0", 1)
    gs = whole.replace(b"\xc0", b"\xf0\x09\x41\x10\x42\x12\x40\x1a\x15\x01\xf7\0\xc0", 1)
    return FuzzTarget((whole, riff, pedal, gs), lambda content: parse_midi(content, Path("x.mid")))


def _hearing() -> FuzzTarget:
    return FuzzTarget(_midi().seeds, _from_file(".mid", lambda path: hear(path, "")), (Unheard,))


def _preset() -> FuzzTarget:
    presets = [load_preset(name) for name in preset_names()]
    texts = [preset_text(one.description, one.settings, "mine") for one in presets]

    def read(content: bytes) -> None:
        checked_preset(content.decode("utf-8", "replace"), "x", "x.toml")

    return FuzzTarget([text.encode() for text in texts], read)


def _with_head(whole: bytes, read: Callable[[bytes], object]) -> FuzzTarget:
    """A safetensors file: its head is what accidents happen to, and its length is right."""
    upto = 8 + int.from_bytes(whole[:8], "little")
    head, body = whole[8:upto], whole[upto:]
    return FuzzTarget([head], lambda found: read(len(found).to_bytes(8, "little") + found + body))


def _session() -> FuzzTarget:
    with opened_station(EngineName.CPU, None, None, None, None) as station:
        state = station.opening(Settings(), 7)
    moment = Moment(state, Settings(), {"keys": "a"}, {"keys": "b"}, datetime.now(UTC))
    return _with_head(encoded(moment), lambda content: decoded(content, "x.lofistate"))


def _style() -> FuzzTarget:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.safetensors")
        card = StyleCard(Method.STATE, {"keys": "a"}, "mine", {"keys": 4}, 1, {"keys_before": 2.5})
        state = np.zeros((1, 1, 64, 64), np.float32)
        save_style(path, Style("x", card, {f"keys.{WKV}": state}))
        whole = path.read_bytes()
    return _with_head(whole, _from_file(".safetensors", lambda path: load_style(str(path))))


def _model_file() -> FuzzTarget:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.safetensors")
        save_model(path, _model())
        whole = path.read_bytes()
    return _with_head(whole, _from_file(".safetensors", load_model))


def _protocol() -> FuzzTarget:
    said = [b'{"v":1,"id":"7","do":"%b"}' % wish.encode() for wish in messages.REQUESTS]
    said += [
        b'{"v":1,"id":"7","do":"set","path":"music.tempo","value":72.5}',
        b'{"v":1,"id":null,"do":"preset_load","name":"rain"}',
    ]

    def read(message: bytes) -> None:
        envelope = messages.decode_envelope(message)
        messages.decode_request(envelope, message)

    return FuzzTarget(said, read, (messages.Refused,))


TARGETS: dict[str, Callable[[], FuzzTarget]] = {
    "midi": _midi,
    "hearing": _hearing,
    "preset": _preset,
    "session": _session,
    "style": _style,
    "model": _model_file,
    "protocol": _protocol,
}


# --- runs ---------------------------------------------------------------------------------------


def fuzz(name: str, runs: int, seed: int, kept: Path, inputs: Path | None = None) -> int:
    """Run a target, print what came, keep what fell in a folder; how many did."""
    target = TARGETS[name]()
    if inputs is not None:
        files = [path.read_bytes() for path in sorted(inputs.rglob("*")) if path.is_file()]
        target = replace(target, seeds=files)
    dice = random.Random(seed)
    fallen: dict[str, int] = {}
    refused, slowest = 0, 0.0
    before = _peak()

    def too_long(*_: object) -> None:
        raise Hanging(f"over {SLOWEST:.0f} s")

    signal.signal(signal.SIGPROF, too_long)
    for run in range(runs):
        content = damaged(dice.choice(target.seeds), target.seeds, dice)
        began = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, SLOWEST)
        try:
            target.read(content)
        except target.refusals:
            refused += 1
        except Exception as error:  # what we look for
            place = traceback.extract_tb(error.__traceback__)[-1]
            what = f"{type(error).__name__} in {Path(place.filename).name}:{place.lineno}"
            if what not in fallen:
                kept.mkdir(parents=True, exist_ok=True)
                (kept / f"{name}-{run}").write_bytes(content)
            fallen[what] = fallen.get(what, 0) + 1
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        slowest = max(slowest, time.process_time() - began)
    peak = _peak()
    print(
        f"{name}: {runs:,} runs, {refused:,} refused, {sum(fallen.values())} failures, "
        f"slowest {slowest:.3f} s, peak memory {peak:.0f} MB"
    )
    for what, count in fallen.items():
        print(f"  {count} x {what}; see {kept}")
    return sum(fallen.values()) + (peak - before > MOST_MB)


def _peak() -> float:
    """The most memory that this process ever held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(
    target: Annotated[str, typer.Argument(help=f"{', '.join(TARGETS)}, or all.")],
    runs: Annotated[int, typer.Option(min=1, help="How many inputs.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Of the accidents.")] = 1,
    inputs: Annotated[
        Path | None, typer.Option(help="Damage the files below this folder instead of our own.")
    ] = None,
    kept: Annotated[Path, typer.Option(help="Where what fell is kept.")] = Path("fuzz-failures"),
) -> None:
    """Fuzz, and print the figures."""
    if target not in (*TARGETS, "all"):
        raise LofidError(f"There is no target '{target}'; choose {', '.join(TARGETS)} or all.")
    chosen = TARGETS if target == "all" else [target]
    if sum(fuzz(name, runs, seed, kept, inputs) for name in chosen):
        raise typer.Exit(1)


if __name__ == "__main__":
    run_script("fuzz", main)
