"""Downloads from a real server on this machine: resumed, tried again, checked."""

import hashlib
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedReader
from pathlib import Path

import numpy as np
import pytest

from lofid.errors import LofidError
from lofid.learn.download import download

CONTENT = np.random.default_rng(1).bytes(600_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """A file behind HTTP, as servers have it on good days and bad ones."""

    def __init__(self) -> None:
        self.content = CONTENT
        self.tag: str | None = '"one"'
        self.ranges = True
        self.length = True
        self.breaks: list[int] = []  # after so many bytes each next answer ends
        self.statuses: list[int] = []  # what each next answer is instead of a file
        self.pause = 0.0
        self.asked: list[str | None] = []  # the Range of each request
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}/set.tar.xz"
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers["Range"]
        self.asked.append(wanted)
        request.close_connection = True
        if self.statuses:
            request.send_response(self.statuses.pop(0))
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        begin = 0
        match = re.fullmatch(r"bytes=(\d+)-", wanted or "")
        same = request.headers["If-Range"] in (None, self.tag)
        if match and self.ranges and same:
            begin = int(match[1])
            if begin >= len(self.content):
                request.send_response(416)
                request.send_header("Content-Length", "0")
                request.end_headers()
                return
            request.send_response(206)
            whole = len(self.content)
            request.send_header("Content-Range", f"bytes {begin}-{whole - 1}/{whole}")
        else:
            request.send_response(200)
        body = self.content[begin:]
        if self.tag:
            request.send_header("ETag", self.tag)
        if self.length:
            request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if self.breaks:
            body = body[: self.breaks.pop(0)]
        for place in range(0, len(body), 50_000):
            request.wfile.write(body[place : place + 50_000])
            time.sleep(self.pause)

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def _alone(path: Path) -> bool:
    return [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_file_comes_whole_with_its_progress(server: Server, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    goal = tmp_path / "new" / "set.tar.xz"
    download(server.url, goal, SHA256, lambda have, whole: told.append((have, whole)))
    assert goal.read_bytes() == CONTENT
    assert _alone(goal)
    assert told[0] == (0, 600_000)
    assert told[-1] == (600_000, 600_000)


def test_a_lost_connection_is_taken_up_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.breaks = [100_000, 200_000]
    goal = tmp_path / "set"
    download(server.url, goal, SHA256, waits=(0,))
    assert goal.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-", "bytes=300000-"]


def test_what_came_is_kept_when_the_connection_stays_lost(server: Server, tmp_path: Path) -> None:
    server.breaks = [100_000, 0, 0]
    goal = tmp_path / "set"
    with pytest.raises(LofidError, match=r"127\.0\.0\.1.* was lost .*0\.1 MB.*goes on"):
        download(server.url, goal, SHA256, waits=(0,))
    assert not goal.exists()
    server.asked.clear()
    server.breaks.clear()
    download(server.url, goal, SHA256)
    assert server.asked == ["bytes=100000-"]
    assert goal.read_bytes() == CONTENT
    assert _alone(goal)


@pytest.mark.parametrize("change", ["tag", "ranges", "no tag"])
def test_a_part_of_another_version_is_not_continued(
    server: Server, tmp_path: Path, change: str
) -> None:
    server.tag = None if change == "no tag" else server.tag
    server.breaks = [100_000]
    goal = tmp_path / "set"
    with pytest.raises(LofidError, match="lost"):
        download(server.url, goal, waits=())
    server.content = CONTENT[::-1]
    server.tag = '"two"' if change == "tag" else server.tag
    server.ranges = change != "ranges"
    download(server.url, goal, waits=())
    assert goal.read_bytes() == CONTENT[::-1]


def test_a_part_of_another_address_is_not_continued(server: Server, tmp_path: Path) -> None:
    server.breaks = [100_000]
    with pytest.raises(LofidError, match="lost"):
        download(server.url, tmp_path / "set", waits=())
    server.asked.clear()
    download(f"{server.url}?other", tmp_path / "set", SHA256, waits=())
    assert server.asked == [None]


def test_a_part_that_is_too_long_begins_anew(server: Server, tmp_path: Path) -> None:
    server.breaks = [100_000]
    with pytest.raises(LofidError, match="lost"):
        download(server.url, tmp_path / "set", waits=())
    (tmp_path / "set.part").write_bytes(bytes(700_000))
    download(server.url, tmp_path / "set", SHA256, waits=(0,))
    assert (tmp_path / "set").read_bytes() == CONTENT


def test_a_length_that_nobody_says_is_no_matter(server: Server, tmp_path: Path) -> None:
    server.length = False
    told: list[int | None] = []
    download(server.url, tmp_path / "set", SHA256, lambda _have, whole: told.append(whole))
    assert (tmp_path / "set").read_bytes() == CONTENT
    assert set(told) == {None}


def test_a_checksum_that_differs_removes_what_came(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[:-1] + b"x"
    with pytest.raises(LofidError, match="another checksum"):
        download(server.url, tmp_path / "set", SHA256)
    assert not list(tmp_path.iterdir())
    server.content = CONTENT
    download(server.url, tmp_path / "set", SHA256)


@pytest.mark.parametrize("says_length", [True, False])
def test_more_than_there_may_be_is_refused_and_removed(
    server: Server, tmp_path: Path, says_length: bool
) -> None:
    server.length = says_length
    told: list[int] = []
    with pytest.raises(LofidError, match=r"127\.0\.0\.1.* more than the 300,000 bytes.*--from"):
        download(
            server.url, tmp_path / "set", None, lambda have, _whole: told.append(have), most=300_000
        )
    assert not list(tmp_path.iterdir())
    assert max(told) == 0 if says_length else 300_000 < max(told) < 600_000
    download(server.url, tmp_path / "set", SHA256, most=600_000)
    assert (tmp_path / "set").read_bytes() == CONTENT


def test_a_busy_server_is_asked_again_and_a_missing_file_is_not(
    server: Server, tmp_path: Path
) -> None:
    server.statuses = [503, 429]
    download(server.url, tmp_path / "set", SHA256, waits=(0, 0))
    server.statuses, server.asked = [404], []
    with pytest.raises(LofidError, match=r"404.*--from"):
        download(server.url, tmp_path / "other", waits=(0, 0))
    assert len(server.asked) == 1


def test_no_server_is_one_sentence(server: Server, tmp_path: Path) -> None:
    server.close()
    with pytest.raises(LofidError, match="could not be reached"):
        download(server.url, tmp_path / "set", waits=(0,))
    assert not list(tmp_path.iterdir())


@pytest.fixture
def little_room() -> Iterator[Callable[[], None]]:
    """As on a disk with 250 kB left; call it to make room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (250_000, hard))

    def make_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    yield make_room
    make_room()


def test_a_full_disk_keeps_what_came(
    server: Server, tmp_path: Path, little_room: Callable[[], None]
) -> None:
    goal = tmp_path / "set"
    with pytest.raises(LofidError, match=r"could not be written.*make room"):
        download(server.url, goal, SHA256)
    assert not goal.exists()
    little_room()
    server.asked.clear()
    download(server.url, goal, SHA256)
    assert server.asked == ["bytes=250000-"]
    assert goal.read_bytes() == CONTENT


def test_a_killed_download_goes_on(server: Server, tmp_path: Path) -> None:
    server.pause = 0.05
    goal = tmp_path / "set"
    code = (
        "import sys; from pathlib import Path; from lofid.learn.download import download;"
        "download(sys.argv[1], Path(sys.argv[2]))"
    )
    child = subprocess.Popen([sys.executable, "-c", code, server.url, str(goal)])
    part = tmp_path / "set.part"
    while not (part.exists() and part.stat().st_size > 100_000):
        assert child.poll() is None
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    have = part.stat().st_size
    server.asked.clear()
    download(server.url, goal, SHA256)
    assert server.asked == [f"bytes={have}-"]
    assert goal.read_bytes() == CONTENT


def test_nobody_else_has_the_part_until_it_has_its_name(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goal = tmp_path / "set"
    refused: list[str] = []
    digest = hashlib.file_digest

    def meanwhile(file: BufferedReader, name: str) -> object:
        with pytest.raises(LofidError, match="another lofid") as error:
            download(server.url, goal, SHA256)
        refused.append(str(error.value))
        return digest(file, name)

    monkeypatch.setattr("hashlib.file_digest", meanwhile)
    download(server.url, goal, SHA256)
    assert len(refused) == 1
    assert goal.read_bytes() == CONTENT


def test_two_at_once_do_not_mix(server: Server, tmp_path: Path) -> None:
    server.pause = 0.05
    goal = tmp_path / "set"
    refused: list[str] = []

    def second(have: int, _whole: int | None) -> None:
        if have and not refused:
            with pytest.raises(LofidError, match="another lofid") as error:
                download(server.url, goal)
            refused.append(str(error.value))

    download(server.url, goal, SHA256, second)
    assert refused
    assert goal.read_bytes() == CONTENT
