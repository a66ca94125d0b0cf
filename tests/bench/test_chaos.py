"""Each trial of ``make chaos``, in small: what it measures must be measurable, and hold."""

import json
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import chaos
from lofid.judge.figures import Figure
from lofid.system import JACK

needs_jack = pytest.mark.skipif(not JACK.present, reason="needs jackd (Debian: jackd2)")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose name leaves room for the names of sockets."""
    with tempfile.TemporaryDirectory(prefix="lofid-") as name:
        yield Path(name)


@pytest.fixture
def chance() -> random.Random:
    return random.Random(1)


def missed(figures: list[Figure], *but: str) -> list[Figure]:
    return [one for one in figures if one.verdict == "missed" and one.name not in but]


@needs_jack
def test_the_writer_may_die(folder: Path, chance: random.Random) -> None:
    assert not missed(chaos.writer_killed(folder, 2, chance))


def test_the_daemon_may_die(folder: Path, chance: random.Random) -> None:
    assert not missed(chaos.daemon_killed(folder, 2, chance))


def test_what_is_asked_in_time_is_heard_from_the_next_line_on(
    folder: Path, chance: random.Random
) -> None:
    assert not missed(chaos.musical_controls(folder, 3, chance))


@needs_jack
def test_the_mix_is_heard_to_change(folder: Path, chance: random.Random) -> None:
    # How soon is a matter of the machine: `make chaos` measures that.
    assert not missed(chaos.mix_controls(folder, 3, chance), "p99")


def test_a_siege_is_not_heard(folder: Path, chance: random.Random) -> None:
    siege = chaos.Siege(subscribers=20, messages=2_000, connections=10, strangers=40)
    assert not missed(chaos.besieged(folder, siege, chance), "honest client, p99, meanwhile")


def test_nothing_hostile_is_a_request_that_is_obeyed(chance: random.Random) -> None:
    for _ in range(2_000):
        try:
            said = json.loads(chaos.hostile(chance)[-1])
        except (ValueError, RecursionError):
            continue
        # All that is well-formed asks for nothing, or for something that there cannot be.
        if isinstance(said, dict) and said.get("do") in ("set", "preset_load", "rewind"):
            asked = [*said.get("values", {}).values(), said.get("name"), said.get("bars")]
            assert not any(type(value) is int and 0 < value < 1_000 for value in asked)
