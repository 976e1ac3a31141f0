"""Softmax and its logarithm, stable for scores of any size."""

import numpy as np

from allconv.typing import Array


def softmax(x: Array, axis: int = -1) -> Array:
    """Return exp(x) / sum exp(x) along `axis`; the maximum is subtracted first, so that exp cannot overflow."""
    exponentials = np.exp(x - x.max(axis, keepdims=True))
    y: Array = exponentials / exponentials.sum(axis, keepdims=True)
    return y


def softmax_input_grad(dy: Array, y: Array, axis: int = -1) -> Array:
    """Return dL/dx = y (dL/dy - sum dL/dy y), the sum along `axis`, from the output `y`."""
    dx: Array = y * (dy - (dy * y).sum(axis, keepdims=True))
    return dx


def log_softmax(x: Array, axis: int = -1) -> Array:
    """Return x - log(sum exp(x)) along `axis`, without the underflow of log(softmax(x))."""
    shifted = x - x.max(axis, keepdims=True)
    y: Array = shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))
    return y


def log_softmax_input_grad(dy: Array, y: Array, axis: int = -1) -> Array:
    """Return dL/dx = dL/dy - exp(y) sum dL/dy, the sum along `axis`, from the output `y`."""
    dx: Array = dy - np.exp(y) * dy.sum(axis, keepdims=True)
    return dx
