"""The fuzzer tells refusals from faults; a few hundred damaged inputs of each kind."""

from pathlib import Path

import pytest

from bench.run import fuzz


@pytest.mark.parametrize("target", ["midi", "preset", "style", "model", "protocol"])
def test_what_is_damaged_is_read_or_refused(target: str, tmp_path: Path) -> None:
    assert fuzz.fuzz(target, 200, 3, tmp_path / "kept") == 0
    assert not (tmp_path / "kept").exists()


def test_what_falls_is_counted_and_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(content: bytes) -> None:
        if b"\0" in content:
            raise ZeroDivisionError

    monkeypatch.setitem(fuzz.TARGETS, "odd", lambda: fuzz.FuzzTarget((b"whole",), read))
    fallen = fuzz.fuzz("odd", 300, 1, tmp_path)
    assert 0 < fallen < 300
    assert f"{fallen} x ZeroDivisionError in test_fuzz.py" in capsys.readouterr().out
    (kept,) = tmp_path.iterdir()
    assert b"\0" in kept.read_bytes()
