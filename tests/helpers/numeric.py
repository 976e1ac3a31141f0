"""Numeric gradients: the plain definition, element by element."""

import numpy as np


def numeric_gradient(function, x, h=1e-6):
    """Return the central differences of the scalar ``function(x)`` with respect to each element of x, in float64."""
    gradient = np.empty_like(x)
    for index in np.ndindex(x.shape):
        above, below = x.copy(), x.copy()
        above[index] += h
        below[index] -= h
        gradient[index] = (function(above) - function(below)) / (2 * h)
    return gradient
