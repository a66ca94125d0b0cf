"""Matrices as whole numbers of one byte: the one place that says how, for every engine.

All engines round alike, so the same model file is the same model on each of them.
"""

import numpy as np
from numpy.typing import NDArray


def quantised(matrix: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """A matrix [outputs, inputs] as steps of -127 to 127 and one scale an output.

    ``matrix[o, i]`` is nearly ``steps[o, i] * scales[o]``; returns (steps [outputs, inputs],
    scales [outputs]). The largest weight of an output is exact; an output of zeros has scale 0.
    """
    scales = np.abs(matrix).max(1) / np.float32(127)
    steps = np.rint(matrix / np.where(scales > 0, scales, 1)[:, None]).astype(np.int8)
    return steps, scales
