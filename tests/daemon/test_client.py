import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from lofid import AsyncClient, Client
from lofid.client import Address
from lofid.daemon.server import Tcp
from lofid.errors import LofidError
from lofid.music.parameters import Effect
from lofid.protocol import messages
from lofid.protocol.curve import KeyStore
from lofid.protocol.messages import Refused


def test_importing_lofid_imports_no_socket() -> None:
    program = "import sys, lofid; assert not {'zmq', 'msgspec', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_each_method_returns_its_result_or_raises(stand_in: Any) -> None:
    with Client() as client:
        assert client.status().preset == "study"
        assert client.rewind(bars=5).bar == 5
        assert client.branch(2).branches == []
        with pytest.raises(Refused) as error:
            client.set({"music.tempo": 1000})
        assert (error.value.problem.field, error.value.problem.allowed) == ("music.tempo", "72")
        with pytest.raises(Refused, match="whole number from 1 to 256"):
            client.rewind(0)


def test_several_threads_may_use_one_client(stand_in: Any) -> None:
    with Client() as client:
        bars: list[int | None] = []
        threads = [
            threading.Thread(target=lambda n=n: bars.append(client.rewind(n).bar))
            for n in range(1, 30)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(bar or 0 for bar in bars) == list(range(1, 30))


@pytest.mark.usefixtures("places")
def test_where_no_daemon_runs_it_is_said_how_to_start_one() -> None:
    with Client() as client, pytest.raises(LofidError, match="start it with 'lofid serve'"):
        client.status()
    with (
        Client(Address.of_session("x")) as client,
        pytest.raises(LofidError, match="'lofid serve --session x'"),
    ):
        client.status()


def test_a_client_stays_good_when_the_daemon_is_started_anew(stand_in: Any) -> None:
    with Client() as client, client.events("chord") as events:
        assert isinstance(next(events), messages.StatusEvent)
        assert client.status().preset == "study"
        stand_in.stop()
        with pytest.raises(LofidError):
            client.next()
        stand_in.seen.clear()
        stand_in.start()
        assert client.status().preset == "study"
        assert stand_in.seen == [messages.GetStatus()], "nothing that was asked of the one before"
        assert isinstance(next(events), messages.StatusEvent)


def test_events_are_those_that_were_asked_for(stand_in: Any) -> None:
    chord = messages.ChordEvent(0, 0.0, "C", [0, 4, 7])
    levels = messages.LevelsEvent({"mix": -6.0}, None)
    with Client() as client, client.events("chord") as some, client.events() as everything:
        assert isinstance(next(some), messages.StatusEvent)
        assert isinstance(next(everything), messages.StatusEvent)
        stand_in.publish += [levels, chord]
        assert next(some) == chord
        assert [next(everything), next(everything)] == [levels, chord]
        assert some.wait(0.01) is None
        with pytest.raises(LofidError, match="there are status, bar"):
            client.events("chords")
    assert list(some) == []


def test_the_asynchronous_client_asks_several_things_at_once(stand_in: Any) -> None:
    async def use() -> None:
        async with AsyncClient() as client:
            branches, rewound, refused = await asyncio.gather(
                client.branch(2),
                client.rewind(3),
                client.set({"music.tempo": 1000}),
                return_exceptions=True,
            )
            assert isinstance(branches, messages.Branches)
            assert rewound == messages.Heard(Effect.MUSICAL, 3)
            assert isinstance(refused, Refused)
            chord = messages.ChordEvent(0, 0.0, "C", [0, 4, 7])
            events = client.events("chord")
            assert isinstance(await anext(events), messages.StatusEvent)
            stand_in.publish.append(chord)
            assert await anext(events) == chord
            await events.aclose()
            stand_in.stop()
            with pytest.raises(LofidError):
                await client.status()

    asyncio.run(use())


def test_over_tcp_with_the_file_that_keys_add_writes(stand_in: Any, tmp_path: Path) -> None:
    stand_in.stop()
    store = KeyStore(stand_in.places.keys)
    store.create()
    store.add("phone").write(tmp_path / "phone.lofidkey", "phone")
    for port in range(17_770, 17_970, 2):
        try:
            stand_in.start(Tcp("127.0.0.1", port))
        except LofidError:
            continue
        break
    address = Address.of_url(f"tcp://127.0.0.1:{port}", tmp_path / "phone.lofidkey")
    with Client(address) as client, client.events() as events:
        assert client.status().preset == "study"
        assert isinstance(next(events), messages.StatusEvent)
    with Client(Address.of_url(f"ipc://{stand_in.places.runtime}")) as client:
        assert client.status().preset == "study"
    stranger = KeyStore(tmp_path / "others")
    stranger.create()
    stranger.add("phone").write(tmp_path / "wrong.lofidkey", "phone")
    wrong = Address.of_url(f"tcp://127.0.0.1:{port}", tmp_path / "wrong.lofidkey")
    with Client(wrong, timeout=0.3) as client, pytest.raises(LofidError, match="knows the key"):
        client.status()


@pytest.mark.parametrize("url", ["", "tcp://", "tcp://x", "tcp://x:y", "ipc://x", "http://x:1"])
def test_an_address_that_is_none_is_told(url: str) -> None:
    with pytest.raises(LofidError, match="no address of a daemon"):
        Address.of_url(url)


def test_tcp_needs_keys() -> None:
    with pytest.raises(LofidError, match="lofid keys add"):
        Address.of_url("tcp://127.0.0.1:7770")
