"""``lofid models``: the models at hand, and the way to and from others."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from lofid.cli._terminal import ERR, OUT, JsonOption, escaped, print_json, remark
from lofid.errors import LofidError

if TYPE_CHECKING:
    from lofid.rwkv.weights import Model

app = typer.Typer(help="List, get, pack, publish, import and export models.", no_args_is_help=True)

PlayerOption = Annotated[
    str,
    typer.Option("--player", help="keys or drums.", autocompletion=lambda: ["keys", "drums"]),
]


@app.command("list")
def list_models(json: JsonOption = False) -> None:
    """List the models that come with lofid and those that are installed.

    [dim]Examples:[/dim]

    lofid models list

    lofid models list --json
    """
    from lofid.compose.voices import VOCABULARIES
    from lofid.learn.publish import present
    from lofid.rwkv.shipped import shipped_model
    from lofid.rwkv.styles import installed_names, models_folder
    from lofid.rwkv.weights import load_model

    found = [
        ("pocket", player, shipped_model(f"pocket-{player}", meant))
        for player, meant in VOCABULARIES.items()
    ]
    for name in installed_names():
        folder = models_folder() / name
        try:
            players = present(folder)
        except LofidError as error:  # one damaged model does not hide the others
            remark(error)
            continue
        for player in players:
            try:
                found.append((name, player, load_model(folder / player)))
            except LofidError as error:
                remark(error)
    if json:
        print_json([{"name": name, "player": who, **_plain(one)} for name, who, one in found])
        return
    table = Table(box=None)
    for column in ("model", "player", "size", "vocabulary", "hash"):
        table.add_column(column)
    for name, player, model in found:
        config = model.card.config
        size = f"{config.layers} x {config.width}"
        texts = name, player, size, model.card.vocabulary, model.hash
        table.add_row(*(escape(escaped(text)) for text in texts))
    OUT.print(table)


@app.command()
def get(
    name: Annotated[str, typer.Argument(help="A name, or OWNER/NAME on the Hugging Face hub.")],
    source: Annotated[
        Path | None, typer.Option("--from", help="Folder with the models, instead of the hub.")
    ] = None,
) -> None:
    """Install models from a folder or from the hub.

    [dim]Examples:[/dim]

    lofid models get studio --from /media/usb/studio

    lofid models get OWNER/studio
    """
    from lofid.learn.publish import install
    from lofid.rwkv.styles import model_path

    short = name.rpartition("/")[2]
    target = model_path(short)
    if source is None and "/" not in name:
        raise LofidError(
            f"Where to get '{name}' from is not said; name a folder with --from, or OWNER/{name} "
            "as the Hugging Face hub calls it."
        )
    if source is not None and not source.is_dir():
        raise LofidError(f"There is no folder '{source}' to get models from; check the path.")
    with ERR.status("Getting the models …"):
        models = install(short, source or name, target)
    _tell(f"{short}: {', '.join(models)}; play it with: lofid play --model {short}")


@app.command()
def pack(
    folder: Annotated[Path, typer.Argument(help="Folder to write; its name is the models'.")],
    keys: Annotated[Path | None, typer.Option("--keys", help="Weights of the keys.")] = None,
    drums: Annotated[Path | None, typer.Option("--drums", help="Weights of the drums.")] = None,
) -> None:
    """Write trained models as a folder for others: shards of 16 MB, and a model card.

    [dim]Examples:[/dim]

    lofid models pack mine --keys runs/keys/pocket-keys.safetensors
    """
    from lofid.compose.voices import VOCABULARIES
    from lofid.learn.publish import save_pretrained
    from lofid.rwkv.weights import load_model

    given = {player: path for player, path in (("keys", keys), ("drums", drums)) if path}
    if not given:
        raise LofidError("There is nothing to pack; name weights with --keys, --drums or both.")
    models = {player: load_model(path) for player, path in given.items()}
    for player, model in models.items():
        # Weights in a vocabulary that no station plays (the thesis', an unknown one) may be either.
        for other, vocabulary in VOCABULARIES.items():
            if other != player and model.card.vocabulary_hash == vocabulary:
                raise LofidError(
                    f"The weights '{given[player]}' play {other}; name them with --{other}."
                )
    save_pretrained(folder, folder.name, models)
    _tell(
        f"{folder}: {', '.join(models)}; read README.md there, then: "
        f"lofid models push {folder} OWNER/{folder.name}"
    )


@app.command()
def push(
    folder: Annotated[Path, typer.Argument(help="A folder that `lofid models pack` wrote.")],
    repository: Annotated[str, typer.Argument(help="OWNER/NAME on the Hugging Face hub.")],
) -> None:
    """Publish a packed folder on the Hugging Face hub; log in with `hf auth login` before.

    [dim]Examples:[/dim]

    lofid models push mine OWNER/mine
    """
    from lofid.learn.publish import push_to_hub

    _tell(push_to_hub(folder, repository))


@app.command("import")
def import_model(
    path: Annotated[Path, typer.Argument(help="An official .pth of RWKV-6 (x060).")],
    player: PlayerOption,
    name: Annotated[str, typer.Option("--as", help="Name to install it under.")],
    vocabulary: Annotated[
        str,
        typer.Option("--vocabulary", help="What its token ids mean: keys, drums or thesis."),
    ] = "unknown",
) -> None:
    """Install the weights of other RWKV software; what they do not tell stays unknown.

    [dim]Examples:[/dim]

    lofid models import rwkv-keys.pth --player keys --as other --vocabulary keys
    """
    _need_torch()
    from lofid.learn.official import import_official
    from lofid.learn.publish import PLAYERS
    from lofid.rwkv.styles import model_path
    from lofid.rwkv.weights import save_folder

    if player not in PLAYERS:
        raise LofidError(f"There is no player '{player}'; choose {' or '.join(PLAYERS)}.")
    with ERR.status("Reading the weights …"):
        model = import_official(path, vocabulary)
        save_folder(model_path(name) / player, model)
    _tell(f"{name}: {player}, {model.card.config.layers} x {model.card.config.width}")


@app.command("export")
def export_model(
    weights: Annotated[Path, typer.Argument(help="A model's file, or its folder of shards.")],
    path: Annotated[Path, typer.Argument(help="The .pth to write.")],
) -> None:
    """Write weights as an official .pth, which other RWKV software runs.

    [dim]Examples:[/dim]

    lofid models export runs/keys/pocket-keys.safetensors keys.pth
    """
    _need_torch()
    from lofid.learn.official import export_official
    from lofid.rwkv.weights import load_model

    export_official(load_model(weights), path)
    _tell(str(path))


def _need_torch() -> None:
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError as error:
        raise LofidError(
            f"This needs {error.name}, which is not installed; "
            "install it with: pip install 'lofid[train]'."
        ) from error


def _tell(text: str) -> None:
    OUT.print(escaped(text), highlight=False, markup=False, soft_wrap=True)


def _plain(model: "Model") -> dict[str, object]:
    from dataclasses import asdict

    return {**asdict(model.card), "hash": model.hash}
