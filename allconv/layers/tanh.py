"""The hyperbolic tangent."""

import numpy as np

from allconv.layers.base import Layer
from allconv.parallel.pool import elementwise
from allconv.typing import Array, Cache
from allconv.validation import check_batch, check_gradient


class Tanh(Layer):
    r"""Hyperbolic tangent, element by element.

    .. math:: y = \tanh(x)

    Raises
    ------
    TypeError, ValueError
        From `forward`, if x is not floating or holds no example; from `backward`, if dy has another shape than y.

    Notes
    -----
    Input and output have the same shape, ``(N, ...)``. LeCun et al. (1998), Efficient backprop,
    section 4.4.

    Examples
    --------
    >>> Tanh()(np.array([-1000.0, 0.0, 1.0])).round(3)
    array([-1.   ,  0.   ,  0.762])
    """

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:  # noqa: ARG002
        """Return y for x of shape ``(N, ...)``."""
        x = check_batch("x", x)
        y = elementwise(np.tanh, x)
        return y, y

    def backward(self, dy: Array, cache: Cache) -> Array:
        """Return dL/dx = dL/dy (1 - y^2): the output is all it needs."""
        y: Array = cache
        dy = check_gradient(dy, y)
        return elementwise(lambda dy, y: dy * (1 - y * y), dy, y)

    def __repr__(self) -> str:
        return "Tanh()"
