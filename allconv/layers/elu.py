"""The exponential linear unit."""

import numpy as np

from allconv.functional.rectify import negative_part, positive_part
from allconv.layers.base import Layer
from allconv.parallel.pool import elementwise_into
from allconv.typing import Array, Cache
from allconv.validation import check_batch, check_gradient, check_positive


class ELU(Layer):
    r"""Exponential linear unit, element by element.

    .. math:: y = x \quad (x > 0), \qquad y = \alpha (e^x - 1) \quad (x \le 0)

    Parameters
    ----------
    alpha : float, default 1.0
        The positive scale of the negative part: the output approaches ``-alpha`` for very negative inputs.

    Raises
    ------
    TypeError, ValueError
        If `alpha` is not positive; from `forward`, if x is not floating or holds no example; from `backward`,
        if dy has another shape than y.

    Notes
    -----
    Input and output have the same shape, ``(N, ...)``. Clevert et al. (2016), equation 1.

    Examples
    --------
    >>> ELU()(np.array([-1.0, 0.0, 2.0])).round(3)
    array([-0.632,  0.   ,  2.   ])
    """

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = check_positive("alpha", alpha)

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:  # noqa: ARG002
        """Return y = max(x, 0) + alpha (exp(min(x, 0)) - 1) for x of shape ``(N, ...)``."""
        x = check_batch("x", x)
        y = elementwise_into(self._value, x)
        return y, y

    def backward(self, dy: Array, cache: Cache) -> Array:
        r"""Return dL/dx = dL/dy where y > 0, dL/dy (y + alpha) elsewhere: the output is all it needs."""
        y: Array = cache
        dy = check_gradient(dy, y)
        return elementwise_into(self._input_grad, dy, y)

    # Both parts together are faster than np.where, whose branches follow the signs of the numbers.

    def _value(self, x: Array, y: Array) -> None:
        np.expm1(negative_part(x, out=y), out=y)
        y *= self.alpha
        y += positive_part(x)

    def _input_grad(self, dy: Array, y: Array, dx: Array) -> None:
        negative_part(y, out=dx)
        dx += self.alpha
        if self.alpha != 1:
            dx += (y > 0) * y.dtype.type(1 - self.alpha)
        dx *= dy

    def __repr__(self) -> str:
        return f"ELU(alpha={self.alpha:g})"
