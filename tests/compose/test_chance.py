from hypothesis import given
from hypothesis import strategies as st

from lofid.compose.chance import RandomStream, generator

SEEDS = st.integers(0, 2**64 - 1)


@given(seed=SEEDS, stream=st.sampled_from(RandomStream), place=st.integers(0, 2**40))
def test_the_same_place_gives_the_same_numbers(seed: int, stream: RandomStream, place: int) -> None:
    first, again = (generator(seed, stream, place).random(4) for _ in range(2))
    assert (first == again).all()


@given(seed=SEEDS)
def test_streams_places_and_attempts_are_independent(seed: int) -> None:
    draws = {
        generator(seed, stream, place, attempt).random()
        for stream in RandomStream
        for place in (0, 1)
        for attempt in (0, 1)
    }
    assert len(draws) == 4 * len(RandomStream)
