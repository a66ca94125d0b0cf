"""From the options of a command to a station: preset, overrides, seed, models, players."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lofid.compose.preset import DEFAULT, Preset, load_preset, preset_names

if TYPE_CHECKING:
    from lofid.compose.station import Station


def _complete_preset(typed: str) -> list[str]:
    return [name for name in preset_names() if name.startswith(typed)]


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
        max=2**64 - 1,
        help="The same seed gives the same music. Default: any.",
    ),
]
TempoOption = Annotated[
    float | None, typer.Option("--tempo", "-t", help="Beats a minute, for every song.")
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
DEFAULT_PRESET = DEFAULT


def chosen_seed(seed: int | None) -> int:
    """The seed asked for, or a fresh one."""
    return secrets.randbelow(2**32) if seed is None else seed


def chosen_preset(name: str, tempo: float | None, key: str | None) -> Preset:
    """The preset with what the options override; raises LofidError for values not allowed."""
    preset = load_preset(name)
    settings = preset.settings
    if tempo is not None:
        settings = settings.with_value("music.tempo", tempo, "--tempo")
        settings = settings.with_value("music.tempo_spread", 0)
    if key is not None:
        settings = settings.with_value("music.keys", [key], "--key")
    return Preset(preset.name, preset.description, settings)


@contextmanager
def opened_station(keys_model: Path | None, drums_model: Path | None) -> Iterator["Station"]:
    """A station on the CPU engine with the models that come with lofid, or the given ones.

    Raises LofidError where a model file cannot be used.
    """
    from lofid.compose.player import drums_player, keys_player
    from lofid.compose.station import Station
    from lofid.rwkv.shipped import shipped_engine
    from lofid.tokens import drums, keys

    players = (
        keys_player(shipped_engine("pocket-keys", keys.VOCABULARY.hash, keys_model)),
        drums_player(shipped_engine("pocket-drums", drums.VOCABULARY.hash, drums_model)),
    )
    with Station(*players) as station:
        yield station
