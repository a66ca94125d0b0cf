"""Presets: musical and sound choices under a name, as TOML files.

Those that come with lofid lie in the package, the user's own in a folder; the user's go first.
"""

import json
import re
import tomllib
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from importlib import resources
from pathlib import Path

from lofid.errors import LofidError
from lofid.files import is_text, read_file, sync_folder, user_path, write_durably, xdg_folder
from lofid.music.parameters import GROUPS, PARAMETERS, Settings

DEFAULT = "study"

_MOST_BYTES = 2**16
"""Of a preset's file; one with all parameters has a tenth of that."""
_MOST_MISTAKES = 20
"""Told at once: the place of each is sought in the whole text."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Preset:
    """A preset that has been read: its name, one sentence about it, and all settings.

    ``own`` says that it is the user's; ``style`` names the tuned style that it is played in, None
    where the models play as they are.
    """

    name: str
    description: str
    settings: Settings
    own: bool = False
    style: str | None = None


class PresetMistake(LofidError):
    """What is wrong in a preset file; ``line`` and ``key`` are None where it has no such place."""

    def __init__(self, message: str, line: int | None = None, key: str | None = None) -> None:
        super().__init__(message)
        self.line = line
        self.key = key


def own_presets() -> Path:
    """The folder of the user's own presets, ``NAME.toml``; it need not be there."""
    return xdg_folder("XDG_CONFIG_HOME", Path.home() / ".config") / "lofid" / "presets"


def preset_names(folder: Path | None = None) -> list[str]:
    """The presets that come with lofid, the default one first, then the user's own.

    ``folder`` is where these lie, :func:`own_presets` where it is None.
    """
    shipped = sorted(path.stem for path in _shipped().iterdir() if path.suffix == ".toml")
    return list(dict.fromkeys([DEFAULT, *shipped, *own_names(folder or own_presets())]))


def own_names(folder: Path) -> list[str]:
    """The user's own presets, which lie in ``folder``; one whose name is no text has none."""
    return sorted(path.stem for path in folder.glob("*.toml") if is_text(path.stem))


def all_presets(folder: Path | None = None) -> list[Preset]:
    """Every preset of :func:`preset_names` that can be read."""
    found = []
    for name in preset_names(folder):
        with suppress(LofidError):
            found.append(load_preset(name, folder))
    return found


def _shipped() -> Path:
    return Path(str(resources.files("lofid.presets")))


def load_preset(name_or_path: str, folder: Path | None = None) -> Preset:
    """The preset of that name, or the one in that file (anything with a / or ending in .toml).

    The user's own presets lie in ``folder``, :func:`own_presets` where it is None. Parameters that
    a file does not set keep their defaults. Raises :class:`LofidError` for an unknown name, an
    unreadable file, an unknown table or key, or a value that is not allowed.
    """
    if "/" in name_or_path or name_or_path.endswith(".toml"):
        path = user_path(name_or_path)
        return parse_preset(read_preset(path), path.stem, str(path))
    own = (folder or own_presets()) / f"{name_or_path}.toml"
    names = preset_names(folder)
    if name_or_path not in names:
        near = get_close_matches(name_or_path, names, n=2)
        known = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}."
        raise LofidError(
            f"There is no preset '{name_or_path}'; {known} "
            "A file of your own is given by its path, such as ./mine.toml."
        )
    if own.exists():
        return replace(parse_preset(read_preset(own), name_or_path, str(own)), own=True)
    shipped = _shipped() / f"{name_or_path}.toml"
    return parse_preset(read_preset(shipped), name_or_path, shipped.name)


def named_preset(name: str, settings: Settings, folder: Path | None = None) -> Preset:
    """The preset that settings were made from; these themselves where it has gone since."""
    try:
        return load_preset(name, folder)
    except LofidError:
        return Preset(name, "", settings)


def read_preset(path: Path) -> str:
    """The text of a preset file; raises :class:`LofidError` where it cannot be read."""
    try:
        return read_file(path, "preset", _MOST_BYTES).decode(
            "utf-8-sig"
        )  # some editors begin with a mark
    except UnicodeDecodeError as error:
        raise LofidError(
            f"The preset '{path}' cannot be read: it is not UTF-8 text; save it as UTF-8."
        ) from error


def parse_preset(text: str, name: str, source: str) -> Preset:
    """A preset from the text of a TOML file; ``source`` names the file in error messages.

    Raises the first :class:`PresetMistake`.
    """
    preset, mistakes = checked_preset(text, name, source)
    if mistakes:
        raise mistakes[0]
    return preset


def checked_preset(text: str, name: str, source: str) -> tuple[Preset, list[PresetMistake]]:
    """What can be made of the text of a TOML file, and what is wrong in it.

    After ``_MOST_MISTAKES`` of them the rest is not looked at.
    """
    settings = Settings()
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number may be too long, a list too deep
        message = f"The preset '{source}' is not valid TOML: {error}."
        line = re.search(r"at line (\d+)", str(error))
        mistake = PresetMistake(message, int(line[1]) if line else None)
        return Preset(name, "", settings), [mistake]
    mistakes: list[PresetMistake] = []
    description = document.pop("description", "")
    if not isinstance(description, str):
        message = f"The description of preset '{source}' must be a text in quotes."
        mistakes.append(PresetMistake(message, line_of(text, "description"), "description"))
        description = ""
    style = document.pop("style", None)
    if style is not None and not (isinstance(style, str) and style):
        message = f"The style of preset '{source}' must be a name in quotes."
        mistakes.append(PresetMistake(message, line_of(text, "style"), "style"))
        style = None
    for group, table in document.items():
        if len(mistakes) >= _MOST_MISTAKES:
            break
        if not isinstance(table, dict) or group not in GROUPS:
            line_number = line_of(text, group)
            message = (
                f"'{group}' ({_place(source, line_number)}) is no table of parameters; "
                f"the tables are {', '.join(f'[{known}]' for known in GROUPS)}."
            )
            mistakes.append(PresetMistake(message, line_number, group))
            continue
        for key, value in table.items():
            if len(mistakes) >= _MOST_MISTAKES:
                break
            path, line_number = f"{group}.{key}", line_of(text, key, group)
            try:
                settings = settings.with_value(path, value, _place(source, line_number))
            except LofidError as error:
                mistakes.append(PresetMistake(str(error), line_number, path))
    return Preset(name, description, settings, style=style), mistakes


def preset_text(description: str, settings: Settings, style: str | None = None) -> str:
    """The TOML file of a preset: what differs from the defaults; the inverse of reading it."""
    lines = [f"description = {_toml(description)}"]
    if style is not None:
        lines.append(f"style = {_toml(style)}")
    for group in GROUPS:
        rows = [row for row in PARAMETERS.values() if row.group == group]
        changed = [row for row in rows if settings.value(row.path) != row.default]
        if changed:
            lines += ["", f"[{group}]"]
            lines += [
                f"{row.name} = {_toml(row.plain(settings.value(row.path)))}" for row in changed
            ]
    return "\n".join(lines) + "\n"


def save_preset(
    folder: Path, name: str, description: str, settings: Settings, style: str | None = None
) -> Path:
    """Write a preset of the user's own, instead of what had the name; returns its file.

    Raises :class:`LofidError` for a name that is none, and where the disk refuses.
    """
    if not _NAME.fullmatch(name):
        raise LofidError(
            f"A preset cannot be called {name[:60]!r}; use 1 to 32 letters without accents, "
            "digits, - and _, beginning with a letter or digit."
        )
    path = folder / f"{name}.toml"
    try:
        content = preset_text(description, settings, style).encode()
        folder.mkdir(parents=True, exist_ok=True)
    except UnicodeEncodeError as error:
        raise LofidError("The description holds half a character; write it anew.") from error
    except OSError as error:
        raise LofidError(
            f"The folder '{folder}' cannot be made ({error.strerror}); check who owns it."
        ) from error
    if len(content) > _MOST_BYTES:
        raise LofidError(
            f"A preset of over {_MOST_BYTES:,} bytes is not read; describe it in less."
        )
    write_durably(path, content)
    return path


def remove_preset(folder: Path, name: str) -> None:
    """Remove a preset of the user's own; one of lofid's that it hid is there again.

    Raises :class:`LofidError` for one of lofid's, for an unknown name, and where the disk refuses.
    """
    own = own_names(folder)
    if name not in own:
        if name in preset_names(folder):
            raise LofidError(
                f"The preset '{name}' comes with lofid and stays; only your own can be removed."
            )
        near = get_close_matches(name, own, n=2)
        known = f"did you mean {' or '.join(near)}?" if near else "'lofid presets' names them."
        raise LofidError(f"You have no preset '{name[:60]}' of your own; {known}")
    try:
        (folder / f"{name}.toml").unlink()
        sync_folder(folder)
    except OSError as error:
        raise LofidError(
            f"The preset '{name}' cannot be removed ({error.strerror}); check its folder "
            f"'{folder}'."
        ) from error


def _toml(value: object) -> str:
    """A plain value as TOML writes it."""
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    # JSON's texts are TOML's, but for one control character; numbers and flags are the same.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _place(source: str, line: int | None) -> str:
    return source if line is None else f"{source}, line {line}"


def line_of(text: str, key: str, group: str | None = None) -> int | None:
    """The line where a key (of a group), or a group, is written; tomllib does not tell."""
    table: str | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[\s*([\w.-]+)\s*\]", line)
        table = header[1] if header else table
        if group is None and table == key:
            return number
        if table == group and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
            return number
    return None
