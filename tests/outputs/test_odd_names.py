"""Names that file systems take, or do not: written, or refused in one sentence."""

import os
from pathlib import Path

import pytest

from lofid.cli._from_here import named_from_here, output_from_here
from lofid.errors import LofidError
from lofid.music.parameters import Settings
from lofid.outputs import parse
from lofid.protocol import messages

NO_TEXT = os.fsdecode(b"\x83h")


@pytest.mark.parametrize("ending", [".wav", ".flac", ".mid"])
@pytest.mark.parametrize("stem", [NO_TEXT, 250 * "x", 83 * "夜"])
def test_a_name_that_the_system_takes_is_written(stem: str, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"{stem}{ending}"
    output = parse(f"file:{path}")
    output.adopt(Settings())
    assert output.notice() == ""
    output.open()
    output.close()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("ending", [".wav", ".mid"])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (300 * "x", "too long"),
        ("file.wav/x", "Not a directory"),
        ("none/x", "No such file"),
        (f"{300 * 'y'}/x", "too long"),
        ("zero\0", "null"),
    ],
)
def test_one_that_it_does_not_take_is_refused(
    name: str, reason: str, ending: str, tmp_path: Path
) -> None:
    (tmp_path / "file.wav").touch()
    output = parse(f"file:{tmp_path / name}{ending}")
    output.adopt(Settings())
    assert output.notice() == ""
    with pytest.raises(LofidError, match=f"could not be written .*{reason}"):
        output.open()
    output.abort()
    assert [path.name for path in tmp_path.iterdir()] == ["file.wav"]


@pytest.mark.parametrize("ending", [".wav", ".mid"])
def test_what_is_there_stays_where_nothing_was_opened(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"old{ending}"
    path.write_text("kept")
    output = parse(f"file:{path}")
    output.adopt(Settings())
    output.abort()
    assert path.read_text() == "kept"


def test_the_daemon_is_told_only_what_is_text() -> None:
    for name, told in (("rain", named_from_here), (f"file:{NO_TEXT}.wav", output_from_here)):
        assert told(name.replace(NO_TEXT, "x"))
    for spec in (f"file:{NO_TEXT}.wav", f"file:{NO_TEXT}/x.wav"):
        with pytest.raises(LofidError, match=r"\\x83h.*no text in UTF-8"):
            output_from_here(spec)
    for name in (NO_TEXT, f"./{NO_TEXT}.toml"):
        with pytest.raises(LofidError, match=r"\\x83h.*no text in UTF-8"):
            named_from_here(name)
    with pytest.raises(messages.Refused, match="half a character"):
        messages.encode_request(messages.RecordStart(NO_TEXT), "1")
