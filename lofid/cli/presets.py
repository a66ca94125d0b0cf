"""``lofid presets``: what there is to choose from."""

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from lofid.cli._terminal import OUT, JsonOption, escaped, in_words, print_json, remark
from lofid.compose.preset import Preset, load_preset, preset_names
from lofid.errors import LofidError
from lofid.music.parameters import PARAMETERS


def presets(
    name: Annotated[
        str | None, typer.Argument(help="Show every value of this preset (a name or a .toml file).")
    ] = None,
    json: JsonOption = False,
) -> None:
    """List the presets, or show all values of one.

    [dim]Examples:[/dim]

    lofid presets

    lofid presets rain

    lofid presets --json
    """
    if name is not None:
        _show(load_preset(name), json)
        return
    found: list[Preset] = []
    for known in preset_names():
        try:
            found.append(load_preset(known))
        except LofidError as error:  # a file of the user's own
            remark(error)
    if json:
        print_json([_plain(preset) for preset in found])
        return
    table = Table("Preset", "Tempo", "What it is", box=None, pad_edge=False)
    for preset in found:
        tempo = f"{preset.settings.music.tempo:g}"
        description = escape(escaped(preset.description)) + (
            " [dim](your own)[/dim]" if preset.own else ""
        )
        table.add_row(f"[bold]{escape(escaped(preset.name))}[/bold]", tempo, description)
    OUT.print(table)


def _show(preset: Preset, json: bool) -> None:
    if json:
        print_json(_plain(preset))
        return
    about = f": {escape(escaped(preset.description))}" if preset.description else ""
    OUT.print(f"[bold]{escape(escaped(preset.name))}[/bold]{about}\n")
    table = Table("Parameter", "Value", "Takes", "What it does", box=None, pad_edge=False)
    for path, parameter in PARAMETERS.items():
        value = parameter.plain(preset.settings.value(path))
        texts = path, in_words(value), parameter.allowed, parameter.description
        table.add_row(*map(escape, texts))
    OUT.print(table)


def _plain(preset: Preset) -> dict[str, object]:
    values = {
        path: parameter.plain(preset.settings.value(path)) for path, parameter in PARAMETERS.items()
    }
    return {
        "name": preset.name,
        "description": preset.description,
        "own": preset.own,
        "parameters": values,
    }
