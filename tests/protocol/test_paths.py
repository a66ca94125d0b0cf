import os
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lofid.errors import LofidError
from lofid.protocol.paths import LONGEST_SOCKET, Hold, SessionPaths, is_served


@pytest.mark.parametrize("name", ["", "a/b", "..", "-x", "ä", "a" * 33, "a b", "a\n"])
def test_a_session_has_a_name_that_can_be_a_folder(name: str) -> None:
    with pytest.raises(LofidError, match="cannot be called"):
        SessionPaths.of(name)


def test_folders_are_open_to_nobody_else(places: SessionPaths) -> None:
    places.prepare()
    for folder in (places.runtime, places.runtime.parent, places.state):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert places.runtime == Path(os.environ["XDG_RUNTIME_DIR"]) / "lofid" / "main"


def test_without_a_runtime_folder_there_is_one_for_the_user(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "relative")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert SessionPaths.of().runtime == tmp_path / f"lofid-{os.getuid()}" / "main"


def test_a_folder_that_is_a_link_is_refused(places: SessionPaths, tmp_path: Path) -> None:
    places.runtime.parent.parent.mkdir(parents=True)
    places.runtime.parent.symlink_to(tmp_path)
    with pytest.raises(LofidError, match="belongs to somebody else"):
        places.prepare()


def test_a_path_too_long_for_a_socket_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / ("x" * LONGEST_SOCKET)))
    with pytest.raises(LofidError, match="shorter"):
        SessionPaths.of().prepare()


def test_the_second_daemon_says_who_holds_the_session(places: SessionPaths) -> None:
    hold = Hold(places)
    with pytest.raises(LofidError, match=f"by process {os.getpid()} already"):
        Hold(places)
    hold.release()
    Hold(places).release()


def test_a_daemon_that_was_killed_holds_nothing(places: SessionPaths) -> None:
    program = (
        "import time; from lofid.protocol.paths import Hold, SessionPaths; "
        "hold = Hold(SessionPaths.of()); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LofidError, match=f"by process {holder.pid} already"):
            Hold(places)
        holder.kill()
    Hold(places).release()


def test_a_socket_file_alone_is_nobody(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("s") / "x"
    assert not is_served(path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        assert is_served(path)
    assert path.exists()
    assert not is_served(path)


def test_state_and_sockets_may_lie_in_one_folder(
    places: SessionPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", os.environ["XDG_RUNTIME_DIR"])
    together = SessionPaths.of()
    assert together.state == together.runtime
    hold = Hold(together)
    with pytest.raises(LofidError, match="already"):
        Hold(together)
    hold.release()


def test_the_lock_is_where_the_state_is(
    places: SessionPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = Hold(places)
    monkeypatch.setenv("XDG_RUNTIME_DIR", os.environ["XDG_RUNTIME_DIR"] + "2")
    elsewhere = SessionPaths.of()
    assert elsewhere.runtime != places.runtime
    with pytest.raises(LofidError, match=f"by process {os.getpid()} already"):
        Hold(elsewhere)
    shutil.rmtree(places.runtime)
    monkeypatch.undo()
    with pytest.raises(LofidError, match="already"):
        Hold(places)
    hold.release()
    Hold(elsewhere).release()


def test_the_sockets_have_one_owner_wherever_the_state_is(
    places: SessionPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = Hold(places)
    monkeypatch.setenv("XDG_STATE_HOME", os.environ["XDG_STATE_HOME"] + "2")
    with pytest.raises(LofidError, match="already"):
        Hold(SessionPaths.of())
    hold.release()
    Hold(SessionPaths.of()).release()


@pytest.mark.skipif(os.getuid() != 0, reason="only root could leave what others cannot use")
@pytest.mark.parametrize("folder", ["XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME"])
def test_root_leaves_nothing_in_the_folders_of_others(places: SessionPaths, folder: str) -> None:
    theirs = Path(os.environ[folder])
    theirs.mkdir(parents=True)
    os.chown(theirs, 12345, 12345)
    with pytest.raises(LofidError, match="belongs to 12345, and lofid runs as root"):
        places.prepare()
    assert list(theirs.iterdir()) == []
