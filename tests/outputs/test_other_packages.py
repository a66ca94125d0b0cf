from pathlib import Path

import pytest

from lofid.errors import LofidError
from lofid.outputs import parse


def installed(folder: Path, module: str, *, text: str) -> None:
    """A package in ``folder`` whose entry point names a module of that text."""
    (folder / f"{module}.py").write_text(text)
    info = folder / f"{module}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[lofid.outputs]\n{module} = {module}\n")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("breaks", "raise RuntimeError('no such card')", "RuntimeError: no such card"),
        ("empty", "", "has no attribute 'SYNTAX'"),
        ("unmade", "SYNTAX = DESCRIPTION = ''", "it has no function 'make'"),
    ],
)
def test_a_package_that_cannot_be_used_is_named_in_one_sentence(
    name: str, text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, name, text=text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(LofidError, match=f"of the package '{name}' cannot be used") as raised:
        parse(f"{name}:x")
    assert said in str(raised.value)


def test_lofids_own_kinds_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, "null", text="raise RuntimeError")
    monkeypatch.syspath_prepend(tmp_path)
    assert type(parse("null")).__name__ == "NullOutput"
