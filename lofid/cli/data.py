"""``lofid data``: the music to learn from, public or one's own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import progress as rich_progress
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from lofid.cli._terminal import ERR, OUT, JsonOption, escaped, print_json, remark
from lofid.errors import LofidError

if TYPE_CHECKING:
    from lofid.learn.download import Progress
    from lofid.learn.own import FileFinding

app = typer.Typer(
    help="Get, list and prepare the music that models learn from.",
    no_args_is_help=True,
)

DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data", help="Folder of the data sets.", show_default="~/.local/share/lofid/data"
    ),
]

_SHOWN = 20


def _folder(data: Path | None) -> Path:
    from lofid.learn.archives import data_folder

    return data or data_folder()


def _songs(count: int) -> str:
    return f"{count} song{'' if count == 1 else 's'}"


@contextmanager
def _bar(description: str, bytes_: bool) -> "Iterator[Progress]":
    """A progress bar on the terminal; what it yields is told what is done and what the whole is."""
    columns: list[rich_progress.ProgressColumn] = [
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.DownloadColumn() if bytes_ else rich_progress.MofNCompleteColumn(),
        rich_progress.TimeRemainingColumn(),
    ]
    shown = ERR.is_terminal
    with rich_progress.Progress(*columns, console=ERR, transient=True, disable=not shown) as bar:
        task = bar.add_task(escape(description), total=None)

        def told(done: int, whole: int | None) -> None:
            bar.update(task, completed=done, total=whole)

        yield told


def _complete_set() -> list[str]:
    from lofid.learn.datasets import DATA_SETS

    return [*(item.short for item in DATA_SETS.values()), "all"]


@app.command("get")
def get(
    names: Annotated[
        list[str],
        typer.Argument(
            help="Data sets as `lofid data list` names them, or all.", autocompletion=_complete_set
        ),
    ],
    mirror: Annotated[
        str | None,
        typer.Option("--from", help="Folder or http address with packed archives (NAME.tar.xz)."),
    ] = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Get public data sets; a download that broke off goes on with the same command.

    [dim]Examples:[/dim]

    lofid data get groove pop909

    lofid data get all --from ~/archives

    lofid data get openewld --from https://example.org/lofid-data
    """
    from lofid.learn import datasets

    every = names == ["all"]
    wanted = list(datasets.DATA_SETS.values()) if every else [*map(datasets.named, names)]
    folder = _folder(data)
    report, left_out = [], []
    for item in wanted:
        try:
            with _bar(item.short, bytes_=True) as told:
                outcome = datasets.get(item, folder, mirror, told)
        except LofidError as error:
            if not every:
                raise
            remark(f"Left out: {error}")
            left_out.append(item.short)
            continue
        report.append({"name": item.name, "short": item.short, "outcome": outcome.name.lower()})
        if not json:
            OUT.print(f"{item.short}: {outcome} ({item.source.licence})", highlight=False)
    if json:
        print_json({"data": str(folder), "sets": report, "left_out": left_out})
    if not report:
        raise LofidError(f"No data set came to {folder}; name a mirror that has them with --from.")


@app.command("list")
def list_(data: DataOption = None, json: JsonOption = False) -> None:
    """List the data sets: what is here, sizes, licences.

    [dim]Examples:[/dim]

    lofid data list

    lofid data list --json
    """
    from lofid.learn import datasets
    from lofid.learn.own import own_manifest

    folder = _folder(data)
    public, own = datasets.present(folder), []
    for place in datasets.own_sets(folder):
        try:
            own.append(own_manifest(place))
        except LofidError as error:  # one damaged set does not hide the others
            remark(error)
    if json:
        print_json(
            {
                "data": str(folder),
                "public": [
                    {
                        "name": found.item.name,
                        "short": found.item.short,
                        "title": found.item.title,
                        "licence": found.item.source.licence,
                        "credit": found.item.source.attribution,
                        "page": found.item.page,
                        "bytes": found.bytes,
                        "verified": found.verified,
                    }
                    for found in public
                ],
                "own": [
                    {
                        "name": manifest.name,
                        "songs": manifest.songs,
                        "styles": list(manifest.styles),
                        "keys_bars": manifest.keys_bars,
                        "drums_bars": manifest.drums_bars,
                        "left_out": len(manifest.left_out),
                    }
                    for manifest in own
                ],
            }
        )
        return
    OUT.print(f"In {folder}:", highlight=False, soft_wrap=True)
    table = Table("Name", "Here", "Licence", "What it is", box=None, pad_edge=False)
    for found in public:
        here = decimal(found.bytes) if found.bytes else "[dim]no[/dim]"
        if found.bytes and not found.verified:
            here += " [dim](not the packed original)[/dim]"
        title = escape(found.item.title)
        licence = escape(found.item.source.licence)
        table.add_row(f"[bold]{found.item.short}[/bold]", here, licence, title)
    for manifest in own:
        bars = f"{manifest.keys_bars} bars of keys, {manifest.drums_bars} of drums"
        here = _songs(manifest.songs)
        table.add_row(f"[bold]{escape(escaped(manifest.name))}[/bold]", here, "your own", bars)
    OUT.print(table)


@app.command("add")
def add(
    folder: Annotated[Path, typer.Argument(help="Folder of MIDI files; sub-folders are styles.")],
    name: Annotated[
        str | None, typer.Option("--as", help="Name of the set (by default the folder's).")
    ] = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Prepare your own MIDI files: what cannot be used is left out, with the reason.

    Key, chords, beats and the parts are found by ear where a file does not tell them. The files
    themselves stay as they are.

    [dim]Examples:[/dim]

    lofid data add ~/midi

    lofid data add ~/midi/evenings --as evenings
    """
    from lofid.learn import own

    target = _folder(data)
    chosen = name if name is not None else folder.resolve().name
    own.own_folder(target, chosen)  # a name that will not do is said before the work
    try:
        with _bar("Listening", bytes_=False) as told:
            pieces, findings = own.own_pieces(folder, told)
    except own.NothingUsable as error:
        if json:
            print_json({"name": chosen, "songs": 0, "left_out": _plain(error.findings)})
        else:
            _tell_left_out(error.findings)
        raise
    place = own.save_own(target, chosen, pieces, findings)
    name = escaped(chosen)
    bars = [sum(len(piece.bars) for piece in part) for part in (pieces.keys, pieces.drums)]
    if json:
        print_json(
            {
                "name": chosen,
                "folder": str(place),
                "songs": len(pieces.songs),
                "styles": list(pieces.styles),
                "keys_bars": bars[0],
                "drums_bars": bars[1],
                "left_out": _plain(findings),
            }
        )
        return
    OUT.print(
        f"{name}: {_songs(len(pieces.songs))}, {bars[0]} bars of keys, {bars[1]} of drums",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    _tell_left_out(findings)


def _plain(findings: "tuple[FileFinding, ...]") -> list[dict[str, str]]:
    return [{"path": item.path, "reason": item.reason, "detail": item.detail} for item in findings]


def _tell_left_out(findings: "tuple[FileFinding, ...]") -> None:
    from lofid.learn.own import in_numbers

    if not findings:
        return
    OUT.print(f"Left out: {in_numbers(findings)}", highlight=False)
    for item in findings[:_SHOWN]:
        detail = f" ({item.detail})" if item.detail else ""
        text = f"  {escaped(item.path)}: {item.reason}{escaped(detail)}"
        OUT.print(text, highlight=False, markup=False, soft_wrap=True)
    if len(findings) > _SHOWN:
        OUT.print(f"  and {len(findings) - _SHOWN} more: --json lists all", highlight=False)


@app.command("prepare")
def prepare(
    player: Annotated[str, typer.Argument(help="keys or drums.")],
    passes: Annotated[
        int, typer.Option("--passes", min=1, help="How many passes over the data.")
    ] = 4,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Processes that draw side by side.")
    ] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the run.")] = 1,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Draw the token streams of a training run ahead, so that it starts at once.

    Training draws what is missing by itself; this is for machines where it would wait for that.

    [dim]Examples:[/dim]

    lofid data prepare keys --passes 8 --workers 4
    """
    from lofid.learn import shards

    if player not in ("keys", "drums"):
        raise LofidError(f"The player '{player}' is not known; choose keys or drums.")
    made = shards.recipe(player, _folder(data), seed)
    folder = shards.default_folder()
    with _bar("Drawing passes", bytes_=False) as told:
        told(0, passes)
        for done, _ in enumerate(shards.prepare(made, folder, range(passes), workers), start=1):
            told(done, passes)
    if json:
        print_json({"folder": str(folder / made.name), "passes": passes})
        return
    OUT.print(f"{passes} passes in {folder / made.name}", highlight=False, soft_wrap=True)
