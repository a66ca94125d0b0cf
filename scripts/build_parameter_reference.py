"""Write ``docs/parameters.md`` from the table of parameters.

Usage: ``python scripts/build_parameter_reference.py``. A test fails when the file is out of date.
"""

from pathlib import Path

from lofid.music.parameters import GROUPS, PARAMETERS, Parameter

TARGET = Path(__file__).resolve().parent.parent / "docs" / "parameters.md"
HEAD = """# Parameters

What a preset file may set, and `lofid render` and `lofid play` with it. Written by
`scripts/build_parameter_reference.py` from `lofid/music/parameters.py`. A preset is a TOML file; a
parameter that it leaves out keeps its default. The fourth column tells when a change is heard that
is made while the music plays.

`[midi]` is the rig that the music is played on, not a part of its mood: it counts where `play`,
`render` or a new session begins with the preset. A preset that is loaded, or morphed into, while
the daemon plays, and a snapshot, leave it as it is.
"""


def _row(parameter: Parameter) -> str:
    plain = parameter.plain(parameter.default)
    default = ", ".join(map(str, plain)) if isinstance(plain, list) else _shown(plain)
    cells = (
        f"`{parameter.name}`",
        parameter.allowed,
        default or "empty",
        parameter.effect,
        parameter.description,
    )
    return f"| {' | '.join(cells)} |"


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def reference() -> str:
    """The whole page."""
    pages = [HEAD]
    for group, members in GROUPS.items():
        rows = [_row(row) for row in PARAMETERS.values() if row.group == group]
        summary = (members.__doc__ or "").partition(": ")[2].strip().rstrip(".")
        pages.append(
            f"## [{group}]: {summary}\n\n"
            "| key | takes | default | heard | |\n|---|---|---|---|---|\n" + "\n".join(rows) + "\n"
        )
    return "\n".join(pages)


if __name__ == "__main__":
    TARGET.write_text(reference(), "utf-8")
