"""A Python that finds only what playing needs, as somebody has it who only listens.

A virtual environment of links to what is installed here. Where the extras are, numba loads SciPy
and processes hold more; whoever plays has none of it.
"""

import re
import venv
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import lofid


def player_python(folder: Path) -> Path:
    """Make the environment in ``folder``; returns its interpreter."""
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "lofid").symlink_to(Path(lofid.__file__).parent)
    for found in _needed("lofid", set()):
        for top in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            place = Path(str(found.locate_file(top)))
            if not (site / top).exists():
                (site / top).symlink_to(place)
    return folder / "bin" / "python"


def _needed(name: str, seen: set[str]) -> Iterator[Distribution]:
    """The distributions that one requires without its extras, and so on."""
    for requirement in distribution(name).requires or ():
        package, _, marker = requirement.partition(";")
        match = re.match(r"[\w.-]+", package.strip())
        if match is None or "extra" in marker or match[0].lower() in seen:
            continue
        seen.add(match[0].lower())
        try:
            yield distribution(match[0])
            yield from _needed(match[0], seen)
        except PackageNotFoundError:  # for another system or version, as its marker says
            continue
