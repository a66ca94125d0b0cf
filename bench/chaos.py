"""What a real daemon does when its processes are killed, it is steered without pause, or attacked.

Every run starts a daemon of its own, does one bad thing to it many times at moments drawn from a
seed, and measures from outside what was heard: from the audio that JACK played, or from the bars
that it told. Needs psutil and, for what is measured on audio, jackd.
"""

import itertools
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import soundfile
import zmq

from bench.capture import Captured, jack_server, longest_silence, recording
from bench.daemon import DESK, Daemon, Listener
from bench.soak import MEGABYTE, Bars
from lofid.client import Address, Client
from lofid.compose.player import drums_player, keys_player
from lofid.compose.preset import load_preset
from lofid.compose.station import Station
from lofid.judge.figures import Figure, Target
from lofid.music.notes import TICKS_PER_BAR, Part
from lofid.outputs.output import SAMPLE_RATE
from lofid.protocol.curve import KeyStore
from lofid.protocol.messages import BarEvent, NotesEvent
from lofid.rwkv.shipped import shipped_engine
from lofid.tokens import drums, keys

PRESET = "study"
SEED = 1

_NONE = Target(high=0)
_DEVICE = ("--output", "device:system")
_STEADY = ("--preset", PRESET, "--seed", str(SEED))


def writer_killed(folder: Path, times: int, chance: random.Random) -> list[Figure]:
    """SIGKILL to the process that writes, at random moments; the gap is measured on JACK's audio.

    Longest silence at the output, against the shortest bar that was heard.
    """
    bars = Bars()
    shortest = float("inf")
    with _through_jack(folder, (*_STEADY, *_DEVICE)) as (daemon, listener, stop_recording):
        bars.hear(listener.bar())
        for _ in range(times):
            for event in listener.waiting(chance.uniform(0.1, 4.0)):
                bars.hear(event)
                if isinstance(event, BarEvent):
                    shortest = min(shortest, event.bar.seconds)
            with suppress(psutil.NoSuchProcess):
                daemon.process("writer").kill()
        bars.hear(listener.bar())
        status = listener.client.status()
        captured = stop_recording()
    group = f"{times} x SIGKILL of the writer"
    return [
        Figure(group, "started anew", float(status.writer.restarts)),
        Figure(group, "bars", float(bars.heard)),
        Figure(group, "bars that the loop stood in for", float(bars.stood_in)),
        Figure(group, "bars out of order or missing", float(bars.out_of_order), "", _NONE),
        Figure(
            group,
            "longest silence, in bars",
            longest_silence(captured.path) / shortest,
            target=Target(high=1),
            note="at JACK's output, below -60 dBFS",
        ),
        Figure(group, "stage started anew", float(status.stage.restarts), "", _NONE),
    ]


@dataclass
class _Life:
    """What was heard of one life of a daemon."""

    bars: list[int] = field(default_factory=list)
    notes: list[NotesEvent] = field(default_factory=list)
    stood_in: int = 0

    def hear(self, event: object) -> None:
        match event:
            case BarEvent(bar=bar):
                self.bars.append(bar.index)
                self.stood_in += bool(bar.stand_in)
            case NotesEvent():
                self.notes.append(event)


def daemon_killed(folder: Path, times: int, chance: random.Random) -> list[Figure]:
    """SIGKILL to the whole daemon at random moments, and started again as systemd would.

    The bars that were heard are compared with those that the station writes from the same seed
    without interruption, here.
    """
    lives: list[_Life] = []
    waits: list[float] = []
    left_behind = 0
    with Daemon(folder, (*_STEADY, "--output", "null")) as daemon:
        for _ in range(times + 1):
            life = _Life()
            with daemon.listening("bar", "notes") as listener:
                began = time.monotonic()
                daemon.start()
                life.hear(listener.bar())
                waits.append(time.monotonic() - began)
                for event in listener.waiting(chance.uniform(0.0, 5.0)):
                    life.hear(event)
                left_behind += len(daemon.kill())
            lives.append(life)
    heard = [notes for life in lives for notes in life.notes]
    expected = _uninterrupted(1 + max(notes.index for notes in heard))
    different = sum(notes != expected[notes.index] for notes in heard)
    lost = 0
    for before, after in itertools.pairwise(lives):
        lost += max(0, after.bars[0] - before.bars[-1] - 1)
    for life in lives:
        lost += sum(
            after not in (before, before + 1)
            for before, after in zip(life.bars, life.bars[1:], strict=False)
        )
    group = f"{times} x SIGKILL of the daemon"
    return [
        Figure(group, "bars", float(sum(len(life.bars) for life in lives))),
        Figure(group, "bars lost", float(lost), "", _NONE),
        Figure(group, "bars that differ", float(different), "", _NONE, note="from a run unbroken"),
        Figure(group, "bars that the loop stood in for", float(sum(x.stood_in for x in lives))),
        Figure(group, "processes left behind", float(left_behind), "", _NONE, note="after 5 s"),
        Figure(group, "from start to the next bar, median", float(np.median(waits)), "s"),
        Figure(group, "from start to the next bar, longest", max(waits), "s"),
    ]


def musical_controls(folder: Path, times: int, chance: random.Random) -> list[Figure]:
    """The tempo set at random moments, at least 250 ms before a bar line: the bar there has it."""
    missed = 0
    answers: list[float] = []
    spare: list[float] = []
    with Daemon(folder, (*_STEADY, "--output", "null")) as daemon, ExitStack() as stack:
        daemon.start()
        listener = stack.enter_context(daemon.listening("bar"))
        listener.bar()
        listener.client.set({"music.tempo_spread": 0})
        bar, moment = listener.bar().bar, time.monotonic()
        for number in range(times):
            time.sleep(chance.uniform(0, bar.seconds - _BEFORE_LINE))
            wanted = 70.0 + (number * 7) % 30  # never twice the same in a row
            asked = time.monotonic()
            left = moment + bar.seconds - asked
            listener.client.set({"music.tempo": wanted})
            answers.append(time.monotonic() - asked)
            bar, moment = listener.bar().bar, time.monotonic()
            if left >= _BEFORE_LINE:  # else the machine overslept: not what was to be tried
                spare.append(left)
                missed += bar.tempo != wanted
    group = f"{times} musical controls"
    return [
        Figure(group, "sent in time", float(len(spare)), note="≥ 250 ms before a line"),
        Figure(group, "not heard from that line on", float(missed), "", _NONE),
        Figure(group, "shortest time before a line", 1000 * min(spare, default=0), "ms"),
        Figure(group, "answered, p99", 1000 * float(np.percentile(answers, 99)), "ms"),
    ]


_BEFORE_LINE = 0.25


def mix_controls(folder: Path, times: int, chance: random.Random) -> list[Figure]:
    """From sending a control of the mix until it is heard, on JACK's audio.

    Rain alone sounds; its level is turned down by 40 dB and counts as heard when 20 of them are
    gone. What JACK itself takes is in it.
    """
    moments: list[float] = []
    with _through_jack(folder, ("--preset", "rain", "--seed", str(SEED), *_DEVICE)) as run:
        _, listener, stop_recording = run
        client = listener.client
        listener.bar()
        for part in Part:
            client.mute(part)
        client.set({"sound.rain": 1, "sound.vinyl": 0, "mix.texture": 6})
        time.sleep(4.0)
        for _ in range(times):
            time.sleep(chance.uniform(1.0, 5.0))  # while somebody steers, and out of the blue
            moments.append(time.monotonic())
            client.set({"mix.texture": -34})
            time.sleep(0.4)
            client.set({"mix.texture": 6})
        time.sleep(0.5)
        xruns = client.status().stage.xruns
        captured = stop_recording()
    delays = [delay for moment in moments if (delay := _until_softer(captured, moment)) is not None]
    group = f"{times} controls of the mix"
    return [
        Figure(group, "heard", float(len(delays)), "", Target(low=times)),
        Figure(group, "from sending to hearing, median", 1000 * _at(delays, 50), "ms"),
        Figure(group, "p99", 1000 * _at(delays, 99), "ms", Target(high=60)),
        Figure(group, "xruns meanwhile", float(xruns)),
    ]


def _at(values: Sequence[float], share: float) -> float:
    return float(np.percentile(values, share)) if values else float("nan")


_HOP = SAMPLE_RATE // 500  # frames of 2 ms


def _until_softer(captured: Captured, moment: float) -> float | None:
    """Seconds from ``moment`` until the capture is 20 dB softer than before; None if it is not."""
    start = captured.frame(moment)
    before, after = SAMPLE_RATE // 2, SAMPLE_RATE // 3
    audio, _ = soundfile.read(captured.path, start=start - before, stop=start + after)
    power = np.mean(audio[: len(audio) // _HOP * _HOP].reshape(-1, _HOP * 2) ** 2, axis=1)
    first = before // _HOP
    threshold = 0.01 * float(np.median(power[:first]))
    soft = np.flatnonzero(power[first:] < threshold)
    if not len(soft):
        return None
    heard = captured.moments([start - before + (first + int(soft[0]) + 1) * _HOP])
    return float(heard[0]) - moment


@dataclass(frozen=True, slots=True)
class Siege:
    """How hard the daemon is attacked."""

    subscribers: int = 1_000
    messages: int = 100_000
    connections: int = 50
    strangers: int = 2_000
    """Connections over tcp with keys that the daemon does not know."""


def besieged(folder: Path, siege: Siege, chance: random.Random) -> list[Figure]:
    """Listeners that never read, hostile messages, wrong keys: memory, music, honest clients."""
    port = _free_ports()
    bars = Bars()
    with ExitStack() as stack:
        options = (*_STEADY, "--output", "null", "--tcp", f"127.0.0.1:{port}")
        daemon = stack.enter_context(Daemon(folder, options))
        KeyStore(daemon.config / "keys").create()
        daemon.start()
        listener = stack.enter_context(daemon.listening("bar", "warning"))
        bars.hear(listener.bar())
        for event in listener.waiting(_CALM):
            bars.hear(event)
        desk = daemon.process(DESK)
        before = desk.memory_info().rss / MEGABYTE
        calm = _honest(daemon.address, 200)
        stack.enter_context(_deaf(daemon.address.events, siege.subscribers))
        attack = _Attack(daemon.address, f"tcp://127.0.0.1:{port}", siege, chance.getrandbits(64))
        stack.enter_context(attack)
        answers: list[float] = []
        most = before
        while attack.going:
            answers += _honest(daemon.address, 20)
            most = max(most, desk.memory_info().rss / MEGABYTE)
            for event in listener.waiting(0.2):
                bars.hear(event)
        for event in listener.waiting(_CALM):
            bars.hear(event)
        after = desk.memory_info().rss / MEGABYTE
        status = listener.client.status()
    group = f"{siege.subscribers} deaf listeners, {siege.messages} hostile messages, wrong keys"
    return [
        Figure(group, "hostile messages", float(attack.sent)),
        Figure(group, "connections with wrong keys", float(attack.knocked)),
        Figure(group, "honest client, p99, before", 1000 * _at(calm, 99), "ms"),
        Figure(group, "honest client, p99, meanwhile", 1000 * _at(answers, 99), "ms", _PROMPT),
        Figure(group, "honest requests", float(len(answers))),
        Figure(group, "desk's memory, before", before, "MB"),
        Figure(group, "desk's memory, most", max(most, after), "MB", Target(high=before + 100)),
        Figure(group, "desk's memory, after", after, "MB"),
        *bars.figures(group)[1:],
        Figure(group, "xruns", float(status.stage.xruns), "", _NONE),
    ]


_PROMPT = Target(high=50)
_CALM = 6.0  # seconds without an attack, before it and after


def _honest(address: Address, requests: int) -> list[float]:
    """Seconds that a client's requests took."""
    taken: list[float] = []
    with Client(address) as client:
        client.status()
        for _ in range(requests):
            began = time.monotonic()
            client.status()
            taken.append(time.monotonic() - began)
    return taken


@contextmanager
def _deaf(events: str, count: int) -> Iterator[None]:
    """Subscribers to everything that never read."""
    code = (
        "import sys, zmq, resource\n"
        "limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))\n"
        "context = zmq.Context()\n"
        "context.set(zmq.MAX_SOCKETS, int(sys.argv[2]) + 10)\n"
        "sockets = []\n"
        "for _ in range(int(sys.argv[2])):\n"
        "    socket = context.socket(zmq.SUB)\n"
        "    socket.rcvhwm = 1\n"
        "    socket.rcvbuf = 4096\n"
        "    socket.subscribe('')\n"
        "    socket.connect(sys.argv[1])\n"
        "    sockets.append(socket)\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"
        "context.destroy(linger=0)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", code, events, str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield
    finally:
        process.kill()
        process.communicate()


class _Attack:
    """Hostile messages and wrong keys from threads of ours, as a context manager."""

    def __init__(self, address: Address, tcp: str, siege: Siege, seed: int) -> None:
        self.sent = 0
        self.knocked = 0
        self._address = address
        self._tcp = tcp
        self._siege = siege
        self._seed = seed
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._shout), threading.Thread(target=self._knock)]

    @property
    def going(self) -> bool:
        """Whether it is not over yet."""
        return any(thread.is_alive() for thread in self._threads)

    def __enter__(self) -> "_Attack":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _shout(self) -> None:
        chance = random.Random(self._seed)
        path = self._address.requests.removeprefix("ipc://")
        with zmq.Context() as context:
            sockets = []
            for _ in range(self._siege.connections):
                one = context.socket(zmq.DEALER)
                one.linger = 0
                one.sndtimeo = 1000
                one.connect(self._address.requests)
                sockets.append(one)
            while self.sent < self._siege.messages and not self._ending.is_set():
                speaker = chance.choice(sockets)
                with suppress(zmq.Again):
                    speaker.send_multipart(hostile(chance))
                    self.sent += 1
                if chance.random() < 0.001:
                    _garbage(path, chance)
                with suppress(zmq.Again):
                    while chance.random() < 0.5:  # half of the answers are never read
                        speaker.recv(zmq.DONTWAIT)
            for one in sockets:
                one.close(linger=0)

    def _knock(self) -> None:
        with zmq.Context() as context:
            public, secret = zmq.curve_keypair()
            server, _ = zmq.curve_keypair()
            while self.knocked < self._siege.strangers and not self._ending.is_set():
                knocking = context.socket(zmq.DEALER)
                knocking.linger = 0
                knocking.curve_serverkey = server
                knocking.curve_publickey = public
                knocking.curve_secretkey = secret
                knocking.connect(self._tcp)
                with suppress(zmq.Again):
                    knocking.send(b'{"v": 1, "do": "status"}', zmq.DONTWAIT)
                time.sleep(0.005)
                knocking.close(linger=0)
                self.knocked += 1


_ALMOST = (
    b'{"v": 1, "id": "1", "do": "set", "values": {"music.tempo": %s}}',
    b'{"v": 1, "id": "1", "do": "%s"}',
    b'{"v": %s, "id": "1", "do": "status"}',
    b'{"v": 1, "id": %s, "do": "status"}',
    b'{"v": 1, "id": "1", "do": "preset_load", "name": %s}',
    b'{"v": 1, "id": "1", "do": "get", "path": %s}',
    b'{"v": 1, "id": "1", "do": "rewind", "bars": %s}',
)
_WORSE = (
    b"1e999", b"-1", b"NaN", b"null", b"[]", b"{}", b'""', b'"\\u0000"', b'"../../../etc/passwd"',
    b"99999999999999999999999", b'"\xff\xfe"', b"true", b'"' + b"A" * 5000 + b'"', b"[" * 3000,
)  # fmt: skip


def hostile(chance: random.Random) -> list[bytes]:
    """The frames of a message that no honest client would send; none changes the music."""
    kind = chance.randrange(6)
    if kind == 0:
        return [chance.randbytes(chance.randrange(2000))]
    if kind == 1:
        return [chance.choice(_ALMOST).replace(b"%s", chance.choice(_WORSE))]
    if kind == 2:
        return [chance.randbytes(20) for _ in range(chance.randrange(2, 30))]
    if kind == 3:
        return [b"{" * chance.randrange(10_000)]
    if kind == 4:
        whole = bytearray(chance.choice(_ALMOST).replace(b"%s", b"72"))
        for _ in range(1 + chance.randrange(4)):
            whole[chance.randrange(len(whole))] = chance.randrange(256)
        return [b"\x00" + bytes(whole)]  # whatever was hit: never a request that is obeyed
    return [b'{"v": 1, "id": "1", "do": "status", "x": "' + b"B" * chance.randrange(30_000) + b'"}']


def _garbage(path: str, chance: random.Random) -> None:
    """Bytes that are no ZeroMQ at all, straight to the socket."""
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as raw:
        raw.settimeout(0.2)
        raw.connect(path)
        raw.sendall(chance.randbytes(chance.randrange(200)))


def _free_ports() -> int:
    """A port of this machine that is free, and so is the next."""
    while True:
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            with suppress(OSError, OverflowError):
                two.bind(("127.0.0.1", port + 1))
                return port


@contextmanager
def _through_jack(
    folder: Path, options: Sequence[str]
) -> "Iterator[tuple[Daemon, Listener, Callable[[], Captured]]]":
    """A daemon that plays on a JACK server of its own, and a recorder there."""
    name = f"lofid-chaos-{os.getpid()}"
    with ExitStack() as stack:
        environment = stack.enter_context(jack_server(name))
        recorder = stack.enter_context(recording(name, folder / "captured.wav"))
        daemon = stack.enter_context(Daemon(folder, options, environment))
        daemon.start()
        listener = stack.enter_context(daemon.listening("bar", "warning"))
        yield daemon, listener, recorder.stop


def _uninterrupted(bars: int) -> list[NotesEvent]:
    """The notes of the first bars of the session, as written in one go."""
    players = (
        keys_player(shipped_engine("pocket-keys", keys.VOCABULARY.hash)),
        drums_player(shipped_engine("pocket-drums", drums.VOCABULARY.hash)),
    )
    settings = load_preset(PRESET).settings
    with Station(*players) as station:
        written = station.bars(settings, SEED)
        return [NotesEvent.of(next(written), TICKS_PER_BAR) for _ in range(bars)]
