"""The exponential linear unit."""

import numpy as np

from allconv.functional.threads import elementwise
from allconv.layers.base import Cache, Layer
from allconv.validation import Array, check_batch, check_gradient, check_positive


class ELU(Layer):
    r"""Exponential linear unit, element by element.

    .. math:: y = x \quad (x > 0), \qquad y = \alpha (e^x - 1) \quad (x \le 0)

    Parameters
    ----------
    alpha : float, default 1.0
        Very negative inputs approach ``-alpha``; must be positive.

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
        """Return y for x of shape ``(N, ...)``."""
        x = check_batch("x", x)
        y = elementwise(lambda x: np.where(x > 0, x, self.alpha * np.expm1(np.minimum(x, 0))), x)
        return y, y

    def backward(self, dy: Array, cache: Cache) -> Array:
        r"""Return dL/dx = dL/dy where y > 0, dL/dy (y + alpha) elsewhere: the output is all it needs."""
        y: Array = cache
        dy = check_gradient(dy, y)
        return elementwise(lambda dy, y: dy * np.where(y > 0, 1, y + self.alpha), dy, y)

    def __repr__(self) -> str:
        return f"ELU(alpha={self.alpha:g})"
