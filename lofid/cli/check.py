"""``lofid check``: whether preset and session files can be used, and what is wrong where."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from lofid.cli._terminal import OUT, JsonOption, print_json
from lofid.compose.preset import checked_preset, read_preset
from lofid.errors import LofidError


@dataclass(frozen=True, slots=True)
class Finding:
    """A mistake in a file; ``line`` and ``key`` are None where it has no such place."""

    message: str
    line: int | None = None
    key: str | None = None


def check(
    files: Annotated[
        list[Path], typer.Argument(help="Presets (.toml) and kept sessions (.lofistate).")
    ],
    json: JsonOption = False,
) -> None:
    """Check preset and session files; exit code 1 where one cannot be used.

    [dim]Examples:[/dim]

    lofid check mine.toml

    lofid check ~/.config/lofid/presets/*.toml --json
    """
    found = {path: _findings(path) for path in files}
    if json:
        print_json(
            [
                {"file": str(path), "ok": not findings, "findings": list(map(asdict, findings))}
                for path, findings in found.items()
            ]
        )
    else:
        for path, findings in found.items():
            for finding in findings:
                OUT.print(finding.message, highlight=False, markup=False, soft_wrap=True)
            if not findings:
                OUT.print(f"{path}: fine", highlight=False, markup=False, soft_wrap=True)
    if any(found.values()):
        raise typer.Exit(1)


def _findings(path: Path) -> list[Finding]:
    """What is wrong with a file."""
    try:
        if path.suffix == ".toml":
            _, mistakes = checked_preset(read_preset(path), path.stem, str(path))
            return [Finding(str(mistake), mistake.line, mistake.key) for mistake in mistakes]
        if path.suffix == ".lofistate":
            _check_session(path)
            return []
    except LofidError as error:
        return [Finding(str(error))]
    return [Finding(f"The file '{path}' is neither a preset (.toml) nor a session (.lofistate).")]


def _check_session(path: Path) -> None:
    """Raise LofidError unless a session can be gone on from with the models that lofid brings."""
    from lofid.compose.session import check_models, load_moment
    from lofid.rwkv.shipped import shipped_model
    from lofid.tokens import drums, keys

    moment = load_moment(path)
    vocabularies = {"keys": keys.VOCABULARY.hash, "drums": drums.VOCABULARY.hash}
    models = {
        player: shipped_model(f"pocket-{player}", vocabulary).hash
        for player, vocabulary in vocabularies.items()
    }
    check_models(moment, models, vocabularies, path)
