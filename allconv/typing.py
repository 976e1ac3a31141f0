"""The types that the library's signatures are written in."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
"""A NumPy array of any shape and dtype; docstrings state both."""

Pair = tuple[int, int]
"""A height and a width, or a step along each of the two axes."""

Cache = Any
"""What a layer's forward pass returns for its backward pass; each layer unpacks its own kind of value."""

Loss = Callable[[Array, Array], tuple[float, Array]]
"""``loss(scores, target) -> (value, gradient)``: the loss of a batch, and its gradient with respect to the scores."""

Schedule = Callable[[float], float]
"""``schedule(epochs) -> learning rate``, for the epochs elapsed, which are fractional within an epoch."""

Initializer = Callable[[np.random.Generator, tuple[int, ...], np.dtype[Any]], Array]
"""``initializer(rng, shape, dtype) -> array``: the initial value of a parameter."""
