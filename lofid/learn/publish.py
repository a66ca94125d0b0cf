"""Models for others: a folder in the hub's layout, with a model card; the way there and back.

A published pair is a folder with a ``README.md``, the card that people read, and one sub-folder a
player, each as the Hugging Face hub lays out a model: ``config.json`` and ``model.safetensors``,
or its shards and their index. The same folder serves as a repository on the hub, as what
``--from`` names, and as what is installed.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from lofid.errors import LofidError
from lofid.files import alone_in, replacing
from lofid.rwkv.weights import INDEX, SINGLE, Model, load_model, save_folder

CARD: Final = "README.md"
CONFIG: Final = "config.json"
PLAYERS: Final = ("keys", "drums")

_WANTED: Final = [
    CARD,
    *(f"{player}/{kind}" for player in PLAYERS for kind in ("*.safetensors", "*.json")),
]


def save_pretrained(folder: Path, name: str, models: Mapping[str, Model]) -> None:
    """Write models, by player, into ``folder`` for publishing under ``name``.

    Raises :class:`LofidError` where they cannot be written.
    """
    for player, model in models.items():
        save_folder(folder / player, model)
        config = {"model_type": "rwkv6", "library_name": "lofid", **asdict(model.card.config)}
        _write(folder / player / CONFIG, json.dumps(config, indent=2) + "\n")
    # Of the written weights: their hashes are those of the files.
    _write(folder / CARD, model_card(name, {p: load_model(folder / p) for p in models}))


def from_pretrained(source: str | Path, player: str, vocabulary_hash: str | None = None) -> Model:
    """A player's model from a folder, or from the repository ``OWNER/NAME`` of the hub.

    Raises :class:`LofidError` where it cannot be had, or is for another vocabulary.
    """
    if Path(source).is_dir():
        return load_model(Path(source) / player, vocabulary_hash)
    with tempfile.TemporaryDirectory() as folder:
        _download(str(source), Path(folder))
        try:
            return load_model(Path(folder) / player, vocabulary_hash)
        except LofidError as error:
            raise LofidError(str(error).replace(folder, str(source))) from error


def push_to_hub(folder: Path, repository: str) -> str:
    """Upload a folder of :func:`save_pretrained` to ``OWNER/NAME``; where it then is.

    The repository is made if it is not there. Who one is, the hub's own login (``hf auth login``)
    or ``HF_TOKEN`` says. Raises :class:`LofidError` where the hub refuses or cannot be reached.
    """
    present(folder)
    with _hub() as hub:
        api = hub.HfApi()
        api.create_repo(repository, exist_ok=True)
        found = api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            allow_patterns=_WANTED,
            commit_message="Models of lofid",
        )
    return str(found.commit_url)


def install(name: str, source: str | Path, target: Path) -> dict[str, Model]:
    """Put the models of a folder, or of ``OWNER/NAME`` on the hub, at ``target``, checked.

    What was there stays until the new ones are complete. Returns the models by player. Raises
    :class:`LofidError` where they cannot be had, are damaged, or cannot be written, and while
    another process installs under that name.
    """
    scratch = target.with_name(f".{name}.installing")
    try:
        with alone_in(scratch, f"The model '{name}' is being installed"):
            _clear(scratch, target)  # an installation may have been killed
            try:
                new = scratch / "new"
                _fetch(source, new)
                models = _checked(new, source)
                if target.exists():
                    target.rename(scratch / "old")
                new.rename(target)
            finally:
                _clear(scratch, target)
    except OSError as error:
        raise LofidError(
            f"The model could not be installed at '{target}' ({error.strerror or error}); make "
            "room there, or check who owns it."
        ) from error
    return models


def _checked(folder: Path, source: str | Path) -> dict[str, Model]:
    """The models that came from ``source`` into a folder of ours, which errors do not name."""
    try:
        return {player: load_model(folder / player) for player in present(folder)}
    except LofidError as error:
        raise LofidError(str(error).replace(str(folder), str(source))) from error


def _clear(scratch: Path, target: Path) -> None:
    """Put back what was moved away for something that never came, and remove the rest."""
    new, old = scratch / "new", scratch / "old"
    if old.exists() and not target.exists():
        old.rename(target)
    for left in (new, old):
        shutil.rmtree(left, ignore_errors=True)


def _fetch(source: str | Path, folder: Path) -> None:
    """Copy the models and the card of ``source``, and nothing else, into a new folder."""
    if not Path(source).is_dir():
        _download(str(source), folder)
        return
    for player in present(Path(source)):
        (folder / player).mkdir(parents=True)
        for path in sorted((Path(source) / player).iterdir()):
            if path.suffix in (".safetensors", ".json") and path.is_file():
                shutil.copy(path, folder / player)
    if (Path(source) / CARD).exists():
        shutil.copy(Path(source) / CARD, folder / CARD)


def present(folder: Path) -> list[str]:
    """The players whose models a folder holds; :class:`LofidError` where there is none."""
    found = [
        player
        for player in PLAYERS
        if (folder / player / SINGLE).exists() or (folder / player / INDEX).exists()
    ]
    if not found:
        raise LofidError(
            f"The folder '{folder}' holds no models of lofid (keys/{SINGLE} or drums/{SINGLE}, or "
            "their shards); make one with 'lofid models pack'."
        )
    return found


def model_card(name: str, models: Mapping[str, Model]) -> str:
    """The model card, in the hub's Markdown, from what the models say of themselves.

    What an imported model does not say is called unknown. A licence for the weights is not named:
    that is for whoever publishes them.
    """
    lines = [
        "---",
        "library_name: lofid",
        "tags: [music, midi, lo-fi, rwkv, rwkv-6]",
        "---",
        "",
        f"# {name}",
        "",
        "RWKV-6 (`x060`) models for lofid, which writes lo-fi music bar by bar.",
        "",
        "```",
        f"lofid models get OWNER/{name}",
        f"lofid play --model {name}",
        "```",
    ]
    for player, model in models.items():
        lines += ["", f"## {player}", "", *_facts(model)]
        if model.card.metrics:
            lines += ["", "| measured | value |", "|---|---|"]
            lines += [f"| {key} | {value:.6g} |" for key, value in model.card.metrics.items()]
    sources = dict.fromkeys(source for model in models.values() for source in model.card.data)
    lines += ["", "## Data", ""]
    lines += [f"- {one.name}: {one.licence}. {one.attribution}" for one in sources] or [
        "Unknown: the weights do not say what they were trained on, nor under which licences."
    ]
    return "\n".join(lines) + "\n"


def _facts(model: Model) -> list[str]:
    card, config = model.card, model.card.config
    count = sum(tensor.size for tensor in model.tensors.values())
    facts = {
        "parameters": f"{count:,}",
        "layers x width": f"{config.layers} x {config.width}",
        "vocabulary": f"{card.vocabulary} ({card.vocabulary_hash or 'no hash'}), "
        f"{config.vocabulary} ids",
        "optimiser steps": card.step,
        "seed": card.seed,
        "commit": card.commit or None,
        "written by lofid": card.lofid,
        "hash": model.hash,
    }
    return [f"- {key}: {'unknown' if value is None else value}" for key, value in facts.items()]


def _download(repository: str, folder: Path) -> None:
    """A repository's models into a folder.

    What came before a lost connection is kept in the hub's own cache, and the next attempt goes on.
    """
    with _hub() as hub:
        cached = hub.snapshot_download(repository, allow_patterns=_WANTED)
    # The cache holds links to its own names of the files.
    shutil.copytree(cached, folder, dirs_exist_ok=True)


@contextmanager
def _hub() -> Iterator[Any]:
    """The hub's library, its refusals in our words."""
    try:
        import huggingface_hub as hub  # noqa: PLC0415 # only the hub needs it
    except ModuleNotFoundError as error:
        raise LofidError(
            f"The hub needs {error.name}, which is not installed; "
            "install it with: pip install 'lofid[hub]'."
        ) from error
    try:
        yield hub
    except hub.errors.HFValidationError as error:
        raise LofidError(f"The hub knows no such name ({error}); write OWNER/NAME.") from error
    except Exception as error:  # what carries it differs by version, and so do its errors
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise LofidError(
            f"The Hugging Face hub did not serve it ({reason}); check the name, the network and "
            "the login, and try again: what came already is kept."
        ) from error


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text)
