"""The logistic function."""

import numpy as np

from allconv.typing import Array


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)), to full relative precision and without overflow for x of any size."""
    e = np.exp(-np.abs(x))
    y: Array = np.maximum(e, x > 0) / (1 + e)  # 1 / (1 + e) for positive x, e / (1 + e) for the others
    return y
