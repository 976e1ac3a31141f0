"""The logistic function."""

import numpy as np

from allconv.typing import Array


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)), to full relative precision and without overflow for x of any size.

    Parameters
    ----------
    x : array
        Any shape, float32 or float64.

    Returns
    -------
    array
        Of the shape and dtype of x, within [0, 1].

    Examples
    --------
    >>> sigmoid(np.array([-1000.0, 0.0, 1000.0]))
    array([0. , 0.5, 1. ])
    """
    # The quotient below is 1 / (1 + e) for positive x, and e / (1 + e) for the others.
    e = np.exp(-np.abs(x))
    y: Array = np.maximum(e, x > 0) / (1 + e)
    return y
