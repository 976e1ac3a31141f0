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

Loss = Callable[..., tuple[float, Array]]
"""``loss(scores, target) -> (value, gradient)``: the loss of a batch, and its gradient with respect to the scores.

The value is a number. `train` and `evaluate` need no more, and then take it as a mean over the examples of the batch. A
loss may tell more by these attributes, each of which may be missing:

- ``divisor(target)`` returns the number D that the mean over this batch divides by: the number of the examples that
  count, or the sum of their weights. The mean over several batches is then the sum of all losses divided by the sum of
  all D, which does not depend on the batch size. A batch with D = 0 is left out of an evaluation.
- ``reduction`` is "sum" if the value is not divided by D.
- ``ignore_index`` is the label of the examples that do not count, neither in a loss nor in an accuracy.

Where a data set has a weight for each example, the loss is called as ``loss(scores, target, weights)``, with weights
(N,), and its divisor as ``divisor(target, weights)``. Without a divisor of its own, D is then the sum of the weights.
"""

Schedule = Callable[[float], float]
"""``schedule(epochs) -> learning rate``, for the epochs elapsed, which are fractional within an epoch."""

Initializer = Callable[[np.random.Generator, tuple[int, ...], np.dtype[Any]], Array]
"""``initializer(rng, shape, dtype) -> array``: the initial value of a parameter."""
