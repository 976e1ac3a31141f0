"""The logistic function as a layer."""

from allconv.functional.sigmoid import sigmoid
from allconv.layers.base import Layer
from allconv.parallel.pool import elementwise
from allconv.typing import Array, Cache
from allconv.validation import check_batch, check_gradient


class Sigmoid(Layer):
    r"""Logistic function, element by element, without overflow for any x.

    .. math:: y = \sigma(x) = \frac{1}{1 + e^{-x}}

    Raises
    ------
    TypeError, ValueError
        From `forward`, if x is not floating or holds no example; from `backward`, if dy has another shape than y.

    Notes
    -----
    Input and output have the same shape, ``(N, ...)``. Goodfellow et al. (2016), Deep learning,
    section 3.10.

    Examples
    --------
    >>> Sigmoid()(np.array([-1000.0, 0.0, 1000.0]))
    array([0. , 0.5, 1. ])
    """

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:  # noqa: ARG002
        """Return y for x of shape ``(N, ...)``."""
        x = check_batch("x", x)
        y = elementwise(sigmoid, x)
        return y, y

    def backward(self, dy: Array, cache: Cache) -> Array:
        """Return dL/dx = dL/dy y (1 - y): the output is all it needs."""
        y: Array = cache
        dy = check_gradient(dy, y)
        return elementwise(lambda dy, y: dy * y * (1 - y), dy, y)

    def __repr__(self) -> str:
        return "Sigmoid()"
