"""``lofid render``: a piece of a station into files, as fast as the machine can."""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from lofid.cli._sound import opened_outputs
from lofid.cli._station import (
    DEFAULT_PRESET,
    DrumsModelOption,
    EngineOption,
    KeyOption,
    KeysModelOption,
    ModelOption,
    PresetOption,
    SeedOption,
    StyleOption,
    TempoOption,
    chosen_preset,
    chosen_seed,
    opened_station,
)
from lofid.cli._terminal import ERR, OUT, JsonOption, StopRequest, escaped, finite, print_json
from lofid.compose.preset import Preset
from lofid.errors import LofidError
from lofid.files import check_place
from lofid.music.midi import write_midi
from lofid.music.notes import BEATS_PER_BAR
from lofid.music.parameters import Settings
from lofid.music.plan import Bar
from lofid.outputs import SAMPLE_RATE, Block, FileLabel, Output, parse
from lofid.processes import INTERRUPTED
from lofid.rwkv.choice import EngineName

DEFAULT_MINUTES = 3.0
MIX = "mix"


def render(
    out: Annotated[
        Path, typer.Argument(help="Its ending says what is written: .wav .flac .mp3 .ogg .mid")
    ],
    bars: Annotated[int | None, typer.Option("--bars", "-b", min=1, help="How many bars.")] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            "--minutes", "-m", min=0.01, callback=finite, help="At least how long. Default: 3."
        ),
    ] = None,
    preset: PresetOption = DEFAULT_PRESET,
    seed: SeedOption = None,
    tempo: TempoOption = None,
    key: KeyOption = None,
    stems: Annotated[
        bool,
        typer.Option(
            "--stems",
            help="Also write every stem, as it enters the mix (before the tape): OUT-drums.wav ..."
            " WAV files hold them in floating point; in others all lie 12 dB lower, so that none"
            " is cut off.",
        ),
    ] = False,
    model: ModelOption = None,
    keys_model: KeysModelOption = None,
    drums_model: DrumsModelOption = None,
    style: StyleOption = None,
    engine: EngineOption = EngineName.AUTO,
    json: JsonOption = False,
) -> None:
    """Write music to a file, faster than real time. Ctrl-C leaves nothing behind.

    [dim]Examples:[/dim]

    lofid render music.flac --minutes 3

    lofid render song.mid --bars 64 --seed 7

    lofid render mix.wav --bars 16 --stems
    """
    if bars is not None and minutes is not None:
        raise LofidError("--bars and --minutes were both given; choose one.")
    as_notes = out.suffix.lower() == ".mid"
    from lofid.outputs.file import FORMATS, stem_gain

    if not as_notes and out.suffix.lower() not in FORMATS:
        endings = ", ".join([*FORMATS, ".mid"])
        raise LofidError(
            f"The file '{out}' has no ending that lofid can write; use one of {endings}."
        )
    if as_notes and stems:
        raise LofidError("--stems asks for audio files; a .mid has a track for every part anyway.")
    seed = chosen_seed(seed)
    chosen = chosen_preset(preset, tempo, key)
    length = _Length(bars, (minutes or DEFAULT_MINUTES) * 60)
    started = time.monotonic()
    with ExitStack() as stack:
        stop = stack.enter_context(StopRequest())
        # First the files: what cannot be written is told before anything is made.
        if as_notes:
            check_place(out)
        outputs = {} if as_notes else stack.enter_context(_opened_files(out, stems, chosen, seed))
        progress = stack.enter_context(_progress())
        station = stack.enter_context(
            opened_station(engine, model, keys_model, drums_model, style or chosen.style)
        )
        music = length.followed(station.bars(chosen.settings, seed), progress, stop)
        if as_notes:
            from lofid.sound.synth import programs

            write_midi(out, music, partial(programs, chosen.settings.sound))
            seconds = length.seconds_done
        else:
            seconds = _record(music, chosen.settings, seed, outputs)
        engine_name = station.running.engine
    took = time.monotonic() - started
    report = {
        "file": str(out),
        "bars": length.bars_done,
        "seconds": round(seconds, 3),
        "preset": chosen.name,
        "seed": seed,
        "engine": engine_name,
        "took": round(took, 3),
    }
    stems_level = round(20 * math.log10(stem_gain(out)), 2) if stems else 0.0
    if stems:
        report["stems_decibels"] = stems_level
    if json:
        print_json(report)
        return
    OUT.print(
        f"{escaped(out)}: {length.bars_done} bars, {_clock(seconds)}, preset {chosen.name}, "
        f"seed {seed}, written in {_clock(took)} by {engine_name}"
        + (f"; stems lie {-stems_level:g} dB lower than in the mix" if stems_level else ""),
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


@contextmanager
def _opened_files(out: Path, stems: bool, chosen: Preset, seed: int) -> Iterator[dict[str, Output]]:
    """The file of the mix, under the name ``MIX``, and those of the stems under theirs."""
    paths = {MIX: out}
    if stems:
        from lofid.sound.studio import STEMS

        paths |= {stem: out.with_stem(f"{out.stem}-{stem}") for stem in STEMS}
    unopened = [parse(f"file:{path}") for path in paths.values()]
    for name, output in zip(paths, unopened, strict=True):
        output.label = FileLabel(chosen.name, seed, "" if name == MIX else name)
    with opened_outputs(unopened, chosen.settings, keep=False) as outputs:
        yield dict(zip(paths, outputs, strict=True))


def _record(
    music: Iterator[Bar], settings: Settings, seed: int, outputs: Mapping[str, Output]
) -> float:
    """Write the audio of all bars; returns the seconds written."""
    from lofid.sound.studio import Studio, rendered_bars

    frames = 0
    for _, rendered in rendered_bars(Studio(settings, seed), music):
        for name, output in outputs.items():
            output.write(Block(frames, rendered.mix if name == MIX else rendered.stems[name]))
        frames += len(rendered.mix)
    return frames / SAMPLE_RATE


class _Length:
    """How much is to be written, in bars or (where ``bars`` is None) in seconds, and was so far."""

    def __init__(self, bars: int | None, seconds: float) -> None:
        self.bars = bars
        self.seconds = seconds
        self.bars_done = 0
        self.seconds_done = 0.0

    @property
    def share(self) -> float:
        """Share of the wanted length that is done; 1 or more at the end."""
        if self.bars is not None:
            return self.bars_done / self.bars
        return self.seconds_done / self.seconds

    def followed(
        self, music: Iterator[Bar], progress: Progress, stop: StopRequest
    ) -> Iterator[Bar]:
        """As many bars of ``music`` as are wanted, with their progress.

        Leaves the command, and nothing behind, where a stop is wanted.
        """
        task = progress.add_task("Writing", total=1.0)
        while self.share < 1:
            if stop.wanted:
                ERR.print("Stopped; nothing was written.")
                raise typer.Exit(INTERRUPTED)
            bar = next(music)
            yield bar
            self.bars_done += 1
            self.seconds_done += BEATS_PER_BAR * 60 / bar.plan.tempo
            progress.update(task, completed=self.share)


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    return Progress(*columns, console=ERR, transient=True, disable=not ERR.is_terminal)


def _clock(seconds: float) -> str:
    """``3:07``: minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
