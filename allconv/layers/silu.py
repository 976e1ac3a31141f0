"""The sigmoid linear unit."""

from allconv.functional.sigmoid import sigmoid
from allconv.layers.base import Layer
from allconv.parallel.pool import elementwise
from allconv.typing import Array, Cache
from allconv.validation import check_batch, check_gradient


class SiLU(Layer):
    r"""Sigmoid linear unit, also called swish, element by element.

    .. math:: y = x\, \sigma(x), \qquad \sigma(x) = \frac{1}{1 + e^{-x}}

    Raises
    ------
    TypeError, ValueError
        From `forward`, if x is not floating or holds no example; from `backward`, if dy has another shape than y.

    Notes
    -----
    Input and output have the same shape, ``(N, ...)``. Hendrycks and Gimpel (2016), Gaussian error
    linear units, section 2. Elfwing et al. (2018), Sigmoid-weighted linear units for neural network function
    approximation in reinforcement learning.

    Examples
    --------
    >>> SiLU()(np.array([-1000.0, 0.0, 1.0])).round(3)
    array([-0.   ,  0.   ,  0.731])
    """

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:  # noqa: ARG002
        """Return y for x of shape ``(N, ...)``."""
        x = check_batch("x", x)
        return elementwise(lambda x: x * sigmoid(x), x), x

    def backward(self, dy: Array, cache: Cache) -> Array:
        r"""Return dL/dx = dL/dy s (1 + x (1 - s)), where s is the logistic function of x."""
        x: Array = cache
        dy = check_gradient(dy, x)

        def gradient(dy: Array, x: Array) -> Array:
            s = sigmoid(x)
            dx: Array = dy * s * (1 + x * (1 - s))
            return dx

        return elementwise(gradient, dy, x)

    def __repr__(self) -> str:
        return "SiLU()"
