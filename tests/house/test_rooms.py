"""The table of rooms in docs/architecture.md, held against what the code imports."""

import ast
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
ROW = re.compile(r"^\| `(lofid/|)(\w+)(?:/|\.py)`[^|]*\|[^|]*\|([^|]*)\|([^|]*)\|$", re.MULTILINE)


def words(cell: str) -> set[str]:
    return set(re.findall(r"[a-z]\w+", re.sub(r"\(.*?\)", "", cell)))


ROOMS = {name: (words(rooms), words(never)) for _, name, rooms, never in ROW.findall(PAGE)}
FREE = {"cli", "bench"}
"""Rooms that may import all others."""

SOURCES = sorted(
    name
    for name in subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    .stdout.rstrip("\0")
    .split("\0")
    if name.split("/")[0] in {"lofid", "kernels", "presets", "systemd", "bench"}
    and (ROOT / name).exists()
)


def room_of(name: str) -> str:
    """The room of a source file; "" for the modules beside the rooms."""
    parts = name.removeprefix("lofid/").split("/")
    room = parts[0].removesuffix(".py")
    return room if len(parts) > 1 or room in ROOMS else ""


def imported(tree: ast.Module) -> Iterator[str]:
    """Every module that is imported, wherever in the file, but for the type checker alone."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body.clear()
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            if node.module == "lofid":
                yield from (f"lofid.{alias.name}" for alias in node.names)


def test_the_table_names_every_room() -> None:
    assert {room_of(name) for name in SOURCES} - {"", "__init__", "__main__"} <= set(ROOMS)
    assert len(ROOMS) >= 15


@pytest.mark.parametrize("name", SOURCES)
def test_no_module_imports_what_its_room_must_not(name: str) -> None:
    room = room_of(name)
    may, never = ROOMS.get(room, (set(), set()))
    for module in imported(ast.parse((ROOT / name).read_text("utf-8"))):
        top, _, rest = module.partition(".")
        assert top not in never, f"{room} must never import {top}"
        if top == "bench":
            assert room == "bench", "nothing of lofid may import what measures it"
        other = rest.split(".")[0]
        if top != "lofid" or other not in ROOMS or room in FREE | {other} or "__" in name:
            continue
        assert other in may, f"{room or name} must not import {other}"
        if (room, other) == ("kernels", "rwkv"):
            assert module == "lofid.rwkv.config"


def test_no_public_class_has_the_name_of_another() -> None:
    places = defaultdict(list)
    for name in SOURCES:
        for node in ast.parse((ROOT / name).read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(name)
    assert {name: files for name, files in places.items() if len(files) > 1} == {}
