"""From the options of a command to a station: preset, overrides, seed, models, players."""

import secrets
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lofid.cli._terminal import ERR, finite
from lofid.compose.preset import DEFAULT, Preset, load_preset, preset_names
from lofid.music.parameters import HIGHEST_SEED, as_meant
from lofid.rwkv.choice import EngineName

if TYPE_CHECKING:
    from lofid.compose.relay import Relay


def _complete_preset(typed: str) -> list[str]:
    return [name for name in preset_names() if name.startswith(typed)]


def _complete_model(typed: str) -> list[str]:
    from lofid.rwkv.styles import installed_names

    return [name for name in installed_names() if name.startswith(typed)]


def _complete_style(typed: str) -> list[str]:
    from lofid.rwkv.styles import style_names

    return [name for name in style_names() if name.startswith(typed)]


PresetOption = Annotated[
    str,
    typer.Option(
        "--preset",
        "-p",
        help="A name from `lofid presets`, or the path of a .toml file.",
        autocompletion=_complete_preset,
    ),
]
SeedOption = Annotated[
    int | None,
    typer.Option(
        "--seed",
        "-s",
        min=0,
        max=HIGHEST_SEED,
        help="The same seed gives the same music. Default: any.",
    ),
]
TempoOption = Annotated[
    float | None,
    typer.Option("--tempo", "-t", callback=finite, help="Beats a minute, for every song."),
]
KeyOption = Annotated[
    str | None, typer.Option("--key", "-k", help="One key for every song: C, Eb, F#m.")
]
KeysModelOption = Annotated[
    Path | None, typer.Option("--keys-model", help="Weights of the keys, as `lofid train` wrote.")
]
DrumsModelOption = Annotated[
    Path | None, typer.Option("--drums-model", help="Weights of the drums, likewise.")
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="An installed model, from `lofid models`; default: the one of lofid.",
        autocompletion=_complete_model,
    ),
]
StyleOption = Annotated[
    str | None,
    typer.Option(
        "--style",
        help="A style that `lofid tune` made, by name or path.",
        autocompletion=_complete_style,
    ),
]
EngineOption = Annotated[
    EngineName,
    typer.Option(
        "--engine",
        "-e",
        help="What computes the models. auto: triton on a GPU that can, else the CPU engine.",
    ),
]
DEFAULT_PRESET = DEFAULT


def chosen_seed(seed: int | None) -> int:
    """The seed asked for, or a fresh one."""
    return secrets.randbelow(2**32) if seed is None else seed


def chosen_preset(name: str, tempo: float | None, key: str | None) -> Preset:
    """The preset with what the options override; raises LofidError for values not allowed."""
    preset = load_preset(name)
    settings = preset.settings
    if tempo is not None:
        for path, value in as_meant({"music.tempo": tempo}).items():
            settings = settings.with_value(path, value, "--tempo")
    if key is not None:
        settings = settings.with_value("music.keys", [key], "--key")
    return replace(preset, settings=settings)


def opened_station(
    engine: EngineName,
    model: str | None,
    keys_model: Path | None,
    drums_model: Path | None,
    style: str | None,
) -> "Relay":
    """A station with the models of these options; to be closed.

    Changes of the engine are told on the terminal. Raises LofidError where a model or the style
    cannot be used.
    """
    from lofid.compose.relay import opened_relay
    from lofid.compose.voices import load_voices

    return opened_relay(
        load_voices({"keys": keys_model, "drums": drums_model}, model, style),
        engine,
        lambda remark: ERR.print(remark, style="yellow", highlight=False, markup=False),
    )
