import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from lofid.rwkv.quantise import quantised

MATRICES = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=2, max_side=9),
    elements=st.floats(-1e4, 1e4, width=32).filter(lambda x: x == 0 or abs(x) > 1e-4),
)


@given(MATRICES)
def test_each_weight_is_within_half_a_step(matrix: NDArray[np.float32]) -> None:
    steps, scales = quantised(matrix)
    assert steps.dtype == np.int8 and scales.dtype == np.float32
    assert np.abs(steps.astype(int)).max() <= 127
    error = np.abs(steps * scales[:, None].astype(np.float64) - matrix)
    assert (error <= scales[:, None] * 0.5001).all()
    largest = np.abs(matrix).max(1)
    np.testing.assert_allclose(np.abs(steps * scales[:, None]).max(1), largest, rtol=1e-6)
