"""``lofid data`` as a person runs it."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mido
import pytest

from lofid.cli import main


@dataclass
class Result:
    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Result]


@pytest.fixture
def lofid(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Run:
    """Run ``lofid data`` with these arguments; data and cache lie below ``tmp_path``."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["lofid", "data", *arguments])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        return Result(code, *capsys.readouterr())

    return run


@pytest.fixture
def midi(tmp_path: Path) -> Path:
    """Two songs, of which the second is the first again, and a damaged file."""
    folder = tmp_path / "evenings"
    (folder / "rain").mkdir(parents=True)
    file = mido.MidiFile(ticks_per_beat=480)
    track = mido.MidiTrack()
    for root in (50, 55, 48, 48) * 2:
        for pitch in (root, root + 7, root + 10):
            track.append(mido.Message("note_on", note=pitch, velocity=70))
        track.append(mido.Message("note_off", note=root, time=1900))
        for pitch in (root + 7, root + 10):
            track.append(mido.Message("note_off", note=pitch))
        track.append(mido.MetaMessage("text", text="", time=20))
    file.tracks.append(track)
    file.save(folder / "one.mid")
    file.save(folder / "rain" / "two.mid")
    (folder / "broken.mid").write_bytes(b"MThd")
    return folder


@pytest.mark.parametrize("command", ["get", "list", "add", "prepare"])
def test_every_command_explains_itself_with_examples(lofid: Run, command: str) -> None:
    result = lofid(command, "--help")
    assert result.returncode == 0
    assert f"lofid data {command}" in result.stdout
    assert "Examples" in result.stdout


def test_own_midi_is_added_reported_and_listed(lofid: Run, midi: Path, tmp_path: Path) -> None:
    said = lofid("add", str(midi))
    assert said.returncode == 0, said.stderr
    assert "evenings: 1 song, 8 bars of keys, 0 of drums" in said.stdout
    assert "Left out: 1 damaged, 1 duplicate" in said.stdout
    assert "rain/two.mid: duplicate (the same notes as one.mid)" in said.stdout
    plain = json.loads(lofid("add", str(midi), "--as", "mine", "--json").stdout)
    assert {left["reason"] for left in plain["left_out"]} == {"damaged", "duplicate"}
    listed = json.loads(lofid("list", "--json").stdout)
    assert [own["name"] for own in listed["own"]] == ["evenings", "mine"]
    assert listed["data"] == str(tmp_path / "home" / "lofid" / "data")
    assert {found["short"] for found in listed["public"]} >= {"groove", "pop909", "openewld"}
    table = lofid("list").stdout
    assert "CC BY 4.0" in table
    assert "mine" in table


def test_a_damaged_set_does_not_hide_the_others(lofid: Run, midi: Path, tmp_path: Path) -> None:
    for name in ("broken", "mine"):
        lofid("add", str(midi), "--as", name)
    manifest = tmp_path / "home" / "lofid" / "data" / "own" / "broken" / "own.json"
    manifest.write_bytes(manifest.read_bytes()[:100])
    listed = lofid("list", "--json")
    assert listed.returncode == 0
    assert [own["name"] for own in json.loads(listed.stdout)["own"]] == ["mine"]
    assert str(manifest.parent) in listed.stderr
    assert "is damaged" in listed.stderr
    assert "lofid data add FOLDER --as broken" in listed.stderr
    assert listed.stderr.count("\n") == 1
    table = lofid("list").stdout
    assert "mine" in table
    assert "broken" not in table


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("get", "lakh"), "is not known"),
        (("get", "groove", "--from", "/nowhere"), "has no drums_gmd.tar.xz"),
        (("add", "/nowhere"), "does not exist"),
        (("prepare", "bass"), "choose keys or drums"),
        (("prepare", "keys"), "get it with: lofid data get"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    lofid: Run, arguments: tuple[str, ...], says: str
) -> None:
    result = lofid(*arguments)
    assert result.returncode == 1
    assert says in result.stderr
    assert result.stderr.count("\n") == 1


def test_where_nothing_can_be_used_the_reasons_are_told(lofid: Run, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in ("a.mid", "b\x1b[2J.mid"):
        (folder / name).write_bytes(b"MThd")
    told = lofid("add", str(folder), "--json")
    assert told.returncode == 1
    report = json.loads(told.stdout)
    assert (report["songs"], [item["reason"] for item in report["left_out"]]) == (
        0,
        2 * ["damaged"],
    )
    assert "(2 damaged); export them again" in told.stderr
    told = lofid("add", str(folder))
    assert "a.mid: damaged" in told.stdout
    assert r"b\x1b[2J.mid: damaged" in told.stdout
    assert "\x1b" not in told.stdout + told.stderr
