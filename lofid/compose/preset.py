"""Presets: musical and sound choices under a name, as TOML files."""

import re
import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import resources

from lofid.errors import LofidError
from lofid.files import user_path
from lofid.music.parameters import GROUPS, Settings

DEFAULT = "study"


@dataclass(frozen=True, slots=True)
class Preset:
    """A preset that has been read: its name, one sentence about it, and all settings."""

    name: str
    description: str
    settings: Settings


def preset_names() -> list[str]:
    """The presets that come with lofid, the default one first."""
    files = (entry.name for entry in resources.files("lofid.presets").iterdir())
    names = sorted(name.removesuffix(".toml") for name in files if name.endswith(".toml"))
    return [DEFAULT, *(name for name in names if name != DEFAULT)]


def load_preset(name_or_path: str) -> Preset:
    """The preset of that name, or the one in that file (anything with a / or ending in .toml).

    Parameters that a file does not set keep their defaults. Raises :class:`LofidError` for an
    unknown name, an unreadable file, an unknown table or key, or a value that is not allowed.
    """
    if "/" in name_or_path or name_or_path.endswith(".toml"):
        path = user_path(name_or_path)
        try:
            text = path.read_text("utf-8-sig")  # some editors begin a file with a mark
        except (OSError, UnicodeDecodeError) as error:
            reason = (
                f"{error.strerror}; check the path"
                if isinstance(error, OSError)
                else "it is not UTF-8 text; save it as UTF-8"
            )
            raise LofidError(f"The preset file '{path}' cannot be read: {reason}.") from error
        return parse_preset(text, path.stem, str(path))
    names = preset_names()
    if name_or_path not in names:
        near = get_close_matches(name_or_path, names, n=2)
        known = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}."
        raise LofidError(
            f"There is no preset '{name_or_path}'; {known} "
            "A file of your own is given by its path, such as ./mine.toml."
        )
    text = resources.files("lofid.presets").joinpath(f"{name_or_path}.toml").read_text("utf-8")
    return parse_preset(text, name_or_path, f"{name_or_path}.toml")


def parse_preset(text: str, name: str, source: str) -> Preset:
    """A preset from the text of a TOML file; ``source`` names the file in error messages."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise LofidError(f"The preset '{source}' is not valid TOML: {error}.") from error
    description = document.pop("description", "")
    if not isinstance(description, str):
        raise LofidError(f"The description of preset '{source}' must be a text in quotes.")
    settings = Settings()
    for group, table in document.items():
        if not isinstance(table, dict) or group not in GROUPS:
            raise LofidError(
                f"'{group}' in preset '{source}'{_line(text, None, group)} is no table of "
                f"parameters; the tables are {', '.join(f'[{known}]' for known in GROUPS)}."
            )
        for key, value in table.items():
            where = source + _line(text, group, key)
            settings = settings.with_value(f"{group}.{key}", value, where)
    return Preset(name, description, settings)


def _line(text: str, group: str | None, key: str) -> str:
    """``, line 12``: where a key of a group, or a group (None), is written; tomllib tells not."""
    table: str | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[\s*([\w.-]+)\s*\]", line)
        table = header[1] if header else table
        if group is None and table == key:
            return f", line {number}"
        if table == group and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
            return f", line {number}"
    return ""
