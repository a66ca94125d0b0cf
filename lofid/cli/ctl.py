"""``lofid ctl``: steer a running daemon; one command for each request of the protocol."""

import itertools
import re
from functools import singledispatch
from typing import Annotated, Any

import msgspec
import typer
import typer.core
from rich.markup import escape
from rich.table import Table

from lofid.cli._daemon import SESSION, Connect, ConnectOption, KeysOption, SessionOption, connector
from lofid.cli._from_here import named_from_here, output_from_here
from lofid.cli._terminal import OUT, JsonOption, finite, in_words, print_json
from lofid.compose.preset import own_names, preset_names
from lofid.music.notes import Part
from lofid.music.parameters import PARAMETERS, ParameterKind
from lofid.protocol import messages
from lofid.protocol.messages import Format, NextTarget, Refused, Request
from lofid.protocol.paths import SessionPaths

_HELP = {"help_option_names": ["-h", "--help"]}
_NEGATIVE = {"ignore_unknown_options": True}
"""For commands that take numbers: -6 is no option."""


class _Ctl(typer.core.TyperGroup):
    """Takes which daemon is meant before the command and behind it: both are typed."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Bring the options of ``ctl`` itself to the front; what follows ``--`` stays."""
        names = {name for option in self.params for name in option.opts if name.startswith("--")}
        names -= {"--help"}
        front: list[str] = []
        rest: list[str] = []
        words = iter(args)
        for word in words:
            if word == "--":
                rest += [word, *words]
            elif word in names:
                front += [word, *itertools.islice(words, 1)]
            elif word.partition("=")[0] in names:
                front.append(word)
            else:
                rest.append(word)
        return super().parse_args(ctx, front + rest)


class _Branch(typer.core.TyperGroup):
    """``branch 3`` is short for ``branch prepare 3``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take a number in the place of a command as how many are to be prepared."""
        return super().parse_args(ctx, ["prepare", *args] if args and args[0].isdigit() else args)


app = typer.Typer(
    cls=_Ctl,
    help="Steer a daemon that runs: what it plays, how it sounds, where it goes.",
    epilog="Begin with:  lofid ctl status   ·   lofid ctl set music.tempo 72   ·   lofid ctl next",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings=_HELP,
)
preset = typer.Typer(
    help="List, load, save, remove presets, or go over to one.", no_args_is_help=True
)
output = typer.Typer(help="Where the music goes.", no_args_is_help=True)
record = typer.Typer(help="Record audio and notes.", no_args_is_help=True)
snapshot = typer.Typer(
    help="Keep moments and go back to them.",
    epilog="Such as:  lofid ctl snapshot save dawn   ·   lofid ctl snapshot load dawn",
    no_args_is_help=True,
)
branch = typer.Typer(
    cls=_Branch,
    help="Several continuations of the next four bars, of which one is adopted.",
    epilog="Such as:  lofid ctl branch 3   ·   lofid ctl branch listen 2   ·   "
    "lofid ctl branch adopt",
    no_args_is_help=True,
)
midi = typer.Typer(help="Bind parameters to MIDI controllers.", no_args_is_help=True)
app.add_typer(preset, name="preset")
app.add_typer(output, name="output")
app.add_typer(record, name="record")
app.add_typer(snapshot, name="snapshot")
app.add_typer(branch, name="branch")
app.add_typer(midi, name="midi")


def _complete_path(typed: str) -> list[tuple[str, str]]:
    return [(path, row.description) for path, row in PARAMETERS.items() if path.startswith(typed)]


def _complete_preset(typed: str) -> list[str]:
    return [name for name in preset_names(SessionPaths.of().presets) if name.startswith(typed)]


def _complete_own_preset(typed: str) -> list[str]:
    return [name for name in own_names(SessionPaths.of().presets) if name.startswith(typed)]


PathArgument = Annotated[
    str,
    typer.Argument(help="A parameter, such as music.tempo.", autocompletion=_complete_path),
]
PresetArgument = Annotated[
    str,
    typer.Argument(
        help="A preset's name, or the path of a .toml file.", autocompletion=_complete_preset
    ),
]
PartArgument = Annotated[Part, typer.Argument(help="Who.")]
OffOption = Annotated[bool, typer.Option("--off", help="The other way round.")]


@app.callback()
def _options(
    context: typer.Context,
    session: SessionOption = SESSION,
    connect: ConnectOption = None,
    keys: KeysOption = None,
) -> None:
    context.obj = connector(session, connect, keys)


# -- telling ----------------------------------------------------------------------------------


@app.command()
def status(context: typer.Context, json: JsonOption = False) -> None:
    """Show what plays, where it goes, and how the daemon is."""
    _ask(context, messages.GetStatus(), json)


@app.command()
def parameters(context: typer.Context, json: JsonOption = False) -> None:
    """List every parameter with its value, and what it takes."""
    _ask(context, messages.GetParameters(), json)


@app.command()
def get(context: typer.Context, path: PathArgument, json: JsonOption = False) -> None:
    """Show one parameter.

    [dim]Example:[/dim]

    lofid ctl get music.tempo
    """
    _ask(context, messages.Get(path), json)


@app.command("set", context_settings=_NEGATIVE)
def set_(
    context: typer.Context,
    pairs: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH VALUE [PATH VALUE]...",
            help="Parameters and their values; lists with commas.",
            autocompletion=_complete_path,
        ),
    ],
    json: JsonOption = False,
) -> None:
    """Set parameters: all of them, or none if one value is not allowed.

    [dim]Examples:[/dim]

    lofid ctl set music.tempo 72

    lofid ctl set sound.rain 0.6 mix.texture -3 music.moods mellow,jazz
    """
    if len(pairs) % 2:
        raise typer.BadParameter(f"'{pairs[-1]}' has no value; give every path a value after it.")
    values = {path: _value(path, text) for path, text in zip(pairs[::2], pairs[1::2], strict=True)}
    _ask(context, messages.Set(values), json)


@app.command(context_settings=_NEGATIVE)
def volume(
    context: typer.Context,
    part: PartArgument,
    level: Annotated[
        float, typer.Argument(callback=finite, help="In dB against a balanced mix: -40 to 6.")
    ],
    json: JsonOption = False,
) -> None:
    """Set the level of a part.

    [dim]Example:[/dim]

    lofid ctl volume drums -6
    """
    _ask(context, messages.Volume(part, level), json)


# -- who plays, and whether -------------------------------------------------------------------


@app.command()
def play(context: typer.Context, json: JsonOption = False) -> None:
    """Play, or go on after a pause or stop."""
    _ask(context, messages.Play(), json)


@app.command()
def pause(context: typer.Context, json: JsonOption = False) -> None:
    """Fall silent and hold the music where it is."""
    _ask(context, messages.Pause(), json)


@app.command()
def stop(context: typer.Context, json: JsonOption = False) -> None:
    """Fall silent; play begins again with the next bar."""
    _ask(context, messages.Stop(), json)


@app.command("next")
def next_(
    context: typer.Context,
    target: Annotated[NextTarget, typer.Argument(help="What comes next.")] = NextTarget.SECTION,
    json: JsonOption = False,
) -> None:
    """Leave this section or song at the next bar line.

    [dim]Examples:[/dim]

    lofid ctl next

    lofid ctl next song
    """
    _ask(context, messages.Next(target), json)


@app.command()
def mute(
    context: typer.Context, part: PartArgument, off: OffOption = False, json: JsonOption = False
) -> None:
    """Silence a part, or with --off let it be heard again."""
    _ask(context, messages.Mute(part, not off), json)


@app.command()
def solo(
    context: typer.Context, part: PartArgument, off: OffOption = False, json: JsonOption = False
) -> None:
    """Let a part be heard alone, or with --off no longer."""
    _ask(context, messages.Solo(part, not off), json)


@app.command()
def seed(
    context: typer.Context,
    value: Annotated[int, typer.Argument(min=0, help="The same seed gives the same music.")],
    json: JsonOption = False,
) -> None:
    """Begin new music from a seed."""
    _ask(context, messages.Seed(value), json)


@app.command()
def panic(context: typer.Context, json: JsonOption = False) -> None:
    """End every note on every output, now."""
    _ask(context, messages.Panic(), json)


@app.command()
def shutdown(context: typer.Context, json: JsonOption = False) -> None:
    """End the daemon; the session is kept."""
    _ask(context, messages.Shutdown(), json)


# -- presets ----------------------------------------------------------------------------------


@preset.command("list")
def preset_list(context: typer.Context, json: JsonOption = False) -> None:
    """List lofid's presets and your own."""
    _ask(context, messages.ListPresets(), json)


@preset.command("load")
def preset_load(context: typer.Context, name: PresetArgument, json: JsonOption = False) -> None:
    """Take up a preset at the next bar line.

    [dim]Examples:[/dim]

    lofid ctl preset load rain

    lofid ctl preset load ./mine.toml
    """
    _ask(context, messages.PresetLoad(named_from_here(name)), json)


@preset.command("save")
def preset_save(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What to call it.")],
    description: Annotated[
        str, typer.Option("--description", "-d", help="One sentence about it.")
    ] = "",
    json: JsonOption = False,
) -> None:
    """Keep the settings as they are now as a preset of your own."""
    _ask(context, messages.PresetSave(name, description), json)


@preset.command("rm", hidden=True)
@preset.command("remove")
def preset_remove(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(help="One of your own.", autocompletion=_complete_own_preset)
    ],
    json: JsonOption = False,
) -> None:
    """Remove a preset of your own; what plays stays as it is. rm is short for it."""
    _ask(context, messages.PresetRemove(name), json)


@preset.command("morph")
def preset_morph(
    context: typer.Context,
    name: PresetArgument,
    bars: Annotated[int, typer.Option("--bars", "-b", min=1, help="How many bars it takes.")] = 16,
    json: JsonOption = False,
) -> None:
    """Go over to a preset bar by bar.

    [dim]Example:[/dim]

    lofid ctl preset morph sleepy --bars 32
    """
    _ask(context, messages.PresetMorph(named_from_here(name), bars), json)


# -- outputs and recordings -------------------------------------------------------------------


@output.command("list")
def output_list(context: typer.Context, json: JsonOption = False) -> None:
    """List the outputs and what has become of them."""
    _ask(context, messages.ListOutputs(), json)


@output.command("add")
def output_add(
    context: typer.Context,
    spec: Annotated[str, typer.Argument(help="KIND[:ARGUMENT], as `lofid serve --output` takes.")],
    name: Annotated[str | None, typer.Option("--name", help="Default: its kind.")] = None,
    json: JsonOption = False,
) -> None:
    """Send the music to one more place.

    [dim]Examples:[/dim]

    lofid ctl output add midi

    lofid ctl output add file:night.flac --name night
    """
    _ask(context, messages.OutputAdd(output_from_here(spec), name), json)


@output.command("rm", hidden=True)
@output.command("remove")
def output_remove(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The output's name.")],
    json: JsonOption = False,
) -> None:
    """Close an output; files are finished. rm is short for it."""
    _ask(context, messages.OutputRemove(name), json)


@record.command("start")
def record_start(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(help="A name, or a path without ending; default: the time.")
    ] = None,
    format: Annotated[Format, typer.Option("--format", "-f", help="Of the audio.")] = Format.FLAC,
    json: JsonOption = False,
) -> None:
    """Record audio and notes from now on, into two files side by side.

    [dim]Examples:[/dim]

    lofid ctl record start

    lofid ctl record start ./night --format mp3
    """
    _ask(context, messages.RecordStart(name and named_from_here(name), format), json)


@record.command("stop")
def record_stop(context: typer.Context, json: JsonOption = False) -> None:
    """Finish the recording."""
    _ask(context, messages.RecordStop(), json)


# -- kept moments and other turns -------------------------------------------------------------


@snapshot.command("save")
def snapshot_save(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What to call it.")],
    json: JsonOption = False,
) -> None:
    """Keep this moment."""
    _ask(context, messages.SnapshotSave(name), json)


@snapshot.command("load")
def snapshot_load(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Its name, or the path of a .lofistate file.")],
    json: JsonOption = False,
) -> None:
    """Go on from a kept moment, at the next bar line."""
    _ask(context, messages.SnapshotLoad(named_from_here(name)), json)


@snapshot.command("list")
def snapshot_list(context: typer.Context, json: JsonOption = False) -> None:
    """List the kept moments."""
    _ask(context, messages.SnapshotList(), json)


@snapshot.command("rm", hidden=True)
@snapshot.command("remove")
def snapshot_remove(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Its name.")],
    json: JsonOption = False,
) -> None:
    """Remove a kept moment; rm is short for it."""
    _ask(context, messages.SnapshotRemove(name), json)


@app.command()
def rewind(
    context: typer.Context,
    bars: Annotated[int, typer.Argument(min=1, help="How many bars.")] = 4,
    json: JsonOption = False,
) -> None:
    """Go back some bars and take another turn from there."""
    _ask(context, messages.Rewind(bars), json)


@app.command()
def like(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Default: the date and time.")] = None,
    json: JsonOption = False,
) -> None:
    """Keep the beginning of the loop that sounds, to hear it again: snapshot load NAME."""
    _ask(context, messages.Like(name), json)


@branch.command("prepare")
def branch_prepare(
    context: typer.Context,
    count: Annotated[int, typer.Argument(min=2, help="How many.")] = 3,
    json: JsonOption = False,
) -> None:
    """Write several continuations of the next four bars.

    [dim]Examples:[/dim]

    lofid ctl branch prepare 5

    lofid ctl branch 5
    """
    _ask(context, messages.BranchPrepare(count), json)


@branch.command("listen")
def branch_listen(
    context: typer.Context,
    number: Annotated[int, typer.Argument(min=1, help="Which one.")],
    json: JsonOption = False,
) -> None:
    """Hear one of them, again and again until one is adopted or all are dropped."""
    _ask(context, messages.BranchListen(number), json)


@branch.command("adopt")
def branch_adopt(
    context: typer.Context,
    number: Annotated[
        int | None, typer.Argument(min=1, help="Which one; default: the one that is heard.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Go on from one of them and forget the others."""
    _ask(context, messages.BranchAdopt(number), json)


@branch.command("drop")
def branch_drop(context: typer.Context, json: JsonOption = False) -> None:
    """Forget them; the music goes on as it would have."""
    _ask(context, messages.BranchDrop(), json)


@midi.command("learn")
def midi_learn(context: typer.Context, path: PathArgument, json: JsonOption = False) -> None:
    """Bind a parameter to the next controller that is moved.

    [dim]Example:[/dim]

    lofid ctl midi learn sound.low_pass
    """
    _ask(
        context, messages.MidiLearn(path), json, done=f"Move the controller that is to set {path}."
    )


@midi.command("forget")
def midi_forget(context: typer.Context, path: PathArgument, json: JsonOption = False) -> None:
    """Take the controller off a parameter."""
    _ask(context, messages.MidiForget(path), json)


# -- asking and showing -----------------------------------------------------------------------


def _ask(context: typer.Context, request: Request[Any], json: bool, done: str = "Done.") -> None:
    """Ask the daemon, and show what it answers; ``done`` where that is no more than done."""
    connect: Connect = context.obj
    with connect() as client:
        try:
            result = client.call(request)
        except Refused as error:
            if not json:
                raise
            print_json(msgspec.to_builtins(error.problem))
            raise typer.Exit(1) from None
    if json:
        print_json(msgspec.to_builtins(result))
    elif isinstance(result, messages.Done):
        _print(done)
    else:
        _show(result)


def _value(path: str, text: str) -> messages.Value:
    """What was typed, as the parameter's kind of JSON; the daemon says what is wrong with it."""
    row = PARAMETERS.get(path)
    kind = None if row is None else row.kind
    if kind in (ParameterKind.CHOICES, ParameterKind.KEYS, ParameterKind.CONTROLS) or (
        kind is ParameterKind.PALETTE and "," in text
    ):
        return [item.strip() for item in text.split(",") if item.strip()]
    if kind is ParameterKind.FLAG:
        return {"true": True, "on": True, "false": False, "off": False}.get(text.lower(), text)
    if kind in (ParameterKind.NUMBER, ParameterKind.INTEGER) and re.fullmatch(
        r"[+-]?\d*\.?\d+", text, re.ASCII
    ):
        return float(text) if "." in text else int(text)
    return text


@singledispatch
def _show(result: object) -> None:
    """Show a result to a person."""
    raise NotImplementedError(type(result).__name__)


@_show.register
def _(result: messages.Heard) -> None:
    where = "" if result.bar is None else f": bar {result.bar + 1}"
    _print(f"Heard {result.effect}{where}.")


@_show.register
def _(result: messages.Playing) -> None:
    _print(f"{str(result.state).capitalize()}.")


@_show.register
def _(result: messages.Saved) -> None:
    _print(f"Saved in {result.path}.")


@_show.register
def _(result: messages.Recording) -> None:
    _print(f"{result.audio}\n{result.midi}")


@_show.register
def _(result: messages.Snapshot) -> None:
    _print(f"Kept as '{result.name}': lofid ctl snapshot load {result.name}")


@_show.register
def _(result: messages.ParameterInfo) -> None:
    _print(f"{result.path} = {in_words(result.value)}")
    _print(f"{result.description} It takes {result.allowed}; heard {result.effect}.")


@_show.register
def _(result: messages.Parameters) -> None:
    table = _table("Parameter", "Value", "Takes", "What it does")
    for row in result.parameters:
        table.add_row(*map(escape, (row.path, in_words(row.value), row.allowed, row.description)))
    OUT.print(table)


@_show.register
def _(result: messages.Presets) -> None:
    table = _table("Preset", "Whose", "What it is")
    for one in result.presets:
        table.add_row(one.name, "yours" if one.own else "lofid's", escape(one.description))
    OUT.print(table)


@_show.register
def _(result: messages.OutputInfo) -> None:
    _show(messages.Outputs([result]))


@_show.register
def _(result: messages.Outputs) -> None:
    table = _table("Output", "State", "What", "Why")
    for one in result.outputs:
        table.add_row(one.name, one.state, escape(one.spec), escape(one.reason))
    OUT.print(table)


@_show.register
def _(result: messages.Snapshots) -> None:
    table = _table("Snapshot", "Bar", "Preset", "")
    for one in result.snapshots:
        table.add_row(one.name, str(one.bar + 1), escape(one.preset), escape(one.reason))
    OUT.print(table)


@_show.register
def _(result: messages.Branches) -> None:
    _print(
        f"Writing {len(result.branches)} continuations; hear them with lofid ctl branch listen 1 "
        f"to {len(result.branches)}."
    )


@_show.register
def _(result: messages.Status) -> None:
    rows = {
        "session": f"{result.session}: {result.state}, {result.bars_played} bars heard",
        "preset": result.preset,
        "seed": str(result.seed),
    }
    if result.style is not None:
        rows["style"] = result.style
    if result.model is not None:
        rows["model"] = result.model
    if result.changed:
        rows["changed"] = ", ".join(result.changed)
    if result.bar is not None:
        bar = result.bar
        rows["bar"] = (
            f"{bar.index + 1}: {bar.section}, {' '.join(bar.chords)} in {bar.key}, "
            f"{bar.tempo:.0f} BPM"
        )
        if bar.stand_in:
            rows["stand-in"] = bar.stand_in
    if result.song is not None:
        song = result.song
        rows["song"] = f"{song.number + 1}, bar {song.bar + 1} of {song.bars}"
    if result.morph is not None:
        morph = result.morph
        rows["morph"] = f"to {morph.preset}, {morph.bar} of {morph.bars} bars"
    if result.muted or result.solo:
        rows["muted"] = ", ".join(result.muted) or "nobody"
        rows["solo"] = ", ".join(result.solo) or "nobody"
    if result.branches is not None:
        for turn in result.branches.branches:
            heard = ", heard now" if turn.number == result.branches.listening else ""
            rows[f"branch {turn.number}"] = f"{' '.join(turn.chords)}, {turn.notes} notes{heard}"
    if not result.outputs:
        rows["output"] = "none: nobody hears it; add one: lofid ctl output add device"
    for one in result.outputs:
        rows[f"output {one.name}"] = one.state + (f": {one.reason}" if one.reason else "")
    writer, stage = result.writer, result.stage
    if result.engine.name:
        rows["engine"] = f"{result.engine.name}: {result.engine.reason}"
    rows["writer"] = (
        f"{writer.state}, {writer.last_write_ms:.0f} ms a bar, {writer.ahead} ahead, "
        f"load {writer.load:.0%}, restarted {writer.restarts} times"
    )
    rows["stage"] = (
        f"{stage.state}, clock {stage.clock}, {stage.scheduling}, load {stage.load:.0%}, "
        f"{stage.xruns} xruns, {stage.stand_ins} stand-ins"
    )
    if stage.remarks:
        rows["remarks"] = " ".join(stage.remarks)
    if result.recording is not None:
        rows["recording"] = result.recording.audio
    if result.learning is not None:
        rows["learning"] = f"{result.learning}: move a controller"
    if result.warnings:
        rows["warning"] = result.warnings[-1].text
    rows["daemon"] = f"lofid {result.version}, process {result.process}, {result.uptime:.0f} s"
    table = Table.grid(padding=(0, 2))
    for name, text in rows.items():
        table.add_row(f"[dim]{name}[/dim]", escape(text))
    OUT.print(table)


def _print(text: str) -> None:
    OUT.print(text, highlight=False, markup=False, soft_wrap=True)


def _table(*names: str) -> Table:
    return Table(*names, box=None, pad_edge=False)
