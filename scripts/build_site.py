"""Build the pages as a site, strictly: a link that leads nowhere fails.

The pages are written to be read in the repository, so the site has its layout: README.md is its
first page, and everything that a page links to is copied beside it. Needs MkDocs
(``pip install 'lofid[docs]'``).
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

ROOT = Path(__file__).parents[1]

CONTENT = (
    *("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "LICENSE", "NOTICE"),
    *("docs", "examples", "presets"),
)
"""What the site consists of."""


def main(
    out: Annotated[Path, typer.Argument(help="The folder to write the site to.")],
) -> None:
    """Write the site; its errors and MkDocs' exit code are passed on."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder)
        for name in CONTENT:
            if (ROOT / name).is_dir():
                leave = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
                shutil.copytree(ROOT / name, source / name, ignore=leave)
            else:
                shutil.copy2(ROOT / name, source / name)
        config = source.with_suffix(".yml")
        shutil.copy2(ROOT / "mkdocs.yml", config)
        with config.open("a", encoding="utf-8") as lines:
            lines.write(f"docs_dir: {source}\nsite_dir: {out.resolve()}\n")
        try:
            build = [sys.executable, "-m", "mkdocs", "build", "-q", "--strict", "-f", str(config)]
            code = subprocess.run(build, check=False).returncode
        finally:
            config.unlink()
    raise typer.Exit(code)


if __name__ == "__main__":
    typer.run(main)
