"""``lofid check``: whether preset and session files can be used, and what is wrong where."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from lofid.cli._terminal import OUT, JsonOption, escaped, print_json
from lofid.compose.preset import checked_preset, line_of, read_preset
from lofid.errors import LofidError


@dataclass(frozen=True, slots=True)
class PresetFinding:
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
                OUT.print(escaped(finding.message), highlight=False, markup=False, soft_wrap=True)
            if not findings:
                OUT.print(f"{escaped(path)}: fine", highlight=False, markup=False, soft_wrap=True)
    if any(found.values()):
        raise typer.Exit(1)


def _findings(path: Path) -> list[PresetFinding]:
    """What is wrong with a file."""
    try:
        if path.suffix == ".toml":
            text = read_preset(path)
            preset, mistakes = checked_preset(text, path.stem, str(path))
            found = [PresetFinding(str(mistake), mistake.line, mistake.key) for mistake in mistakes]
            if preset.style is not None:
                found += _style_findings(preset.style, line_of(text, "style"))
            return found
        if path.suffix == ".lofistate":
            _check_session(path)
            return []
    except LofidError as error:
        return [PresetFinding(str(error))]
    return [
        PresetFinding(f"The file '{path}' is neither a preset (.toml) nor a session (.lofistate).")
    ]


def _style_findings(style: str, line: int | None) -> list[PresetFinding]:
    """What is wrong with the style that a preset names."""
    from lofid.compose.voices import load_voices

    try:
        load_voices(style=style)
    except LofidError as error:
        return [PresetFinding(str(error), line, "style")]
    return []


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
