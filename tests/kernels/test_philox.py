"""The device's random numbers against numpy's, bit for bit."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("triton")

from lofid.kernels.philox import draw_kernel, draws_reference

WORD = st.integers(0, 2**64 - 1) | st.sampled_from([0, 2**64 - 1, 2**64 - 2])


@settings(deadline=None, max_examples=25)
@given(
    key=st.tuples(WORD, WORD),
    counter=st.tuples(WORD, WORD, WORD, WORD),
    drawn=st.lists(st.integers(0, 2**30), min_size=1, max_size=3),
)
def test_draws_are_those_of_numpy(
    key: tuple[int, ...], counter: tuple[int, ...], drawn: list[int]
) -> None:
    numbers = np.array([(*key, *counter)] * len(drawn), np.uint64).view(np.int64)
    before = np.array(drawn, np.int32)
    out = torch.full((len(drawn),), torch.nan, dtype=torch.float64)
    draw_kernel[(len(drawn),)](torch.from_numpy(numbers), torch.from_numpy(before), out)
    assert out.tolist() == draws_reference(numbers, before).tolist()


@settings(deadline=None)
@given(key=st.tuples(WORD, WORD), counter=st.tuples(WORD, WORD, WORD, WORD))
def test_the_reference_goes_on_where_a_generator_stands(
    key: tuple[int, ...], counter: tuple[int, ...]
) -> None:
    philox = np.random.Philox(key=np.array(key, np.uint64), counter=np.array(counter, np.uint64))
    generator = np.random.Generator(philox)
    numbers = np.array([(*key, *counter)], np.uint64).view(np.int64)
    for drawn in range(4, 14):
        expected = draws_reference(numbers, np.array([drawn], np.int32))
        assert generator.random() == expected[0]
