"""The exponential linear unit."""

import numpy as np

from allconv.functional.rectify import LARGEST_SLOPE, negative_part, positive_part
from allconv.layers.joining import Overwriting
from allconv.parallel.pool import elementwise_into
from allconv.typing import Array, Cache
from allconv.validation import check_batch, check_gradient, check_real


class ELU(Overwriting):
    r"""Exponential linear unit, element by element.

    .. math:: y = x \quad (x > 0), \qquad y = \alpha (e^x - 1) \quad (x \le 0)

    Parameters
    ----------
    alpha : float, default 1.0
        The scale of the negative part, in (0, 65504]: the output approaches ``-alpha`` for very negative inputs.

    Raises
    ------
    TypeError, ValueError
        If `alpha` is out of its range; from `forward`, if x is not floating or holds no example; from `backward`,
        if dy has another shape than y.

    Notes
    -----
    Input and output have the same shape, ``(N, ...)``. Clevert et al. (2016), Fast and accurate deep
    network learning by exponential linear units, section 3.

    Examples
    --------
    >>> ELU()(np.array([-1.0, 0.0, 2.0])).round(3)
    array([-0.632,  0.   ,  2.   ])
    """

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = check_real("alpha", alpha, minimum=0.0, maximum=LARGEST_SLOPE, open_below=True)

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:  # noqa: ARG002
        """Return y = max(x, 0) + alpha (exp(min(x, 0)) - 1) for x of shape ``(N, ...)``."""
        x = check_batch("x", x)
        y = elementwise_into(self.write, x)
        return y, y

    def backward(self, dy: Array, cache: Cache) -> Array:
        r"""Return dL/dx = dL/dy where y > 0, dL/dy (y + alpha) elsewhere: the output is all it needs."""
        y: Array = cache
        dy = check_gradient(dy, y)
        return elementwise_into(self.write_gradient, dy, y)

    # Both parts together are faster than np.where, whose branches follow the signs of the numbers.

    def write(self, x: Array, y: Array) -> None:
        """Write max(x, 0) + alpha (exp(min(x, 0)) - 1) to y."""
        positive = positive_part(x)  # before y, which may be x, changes
        np.expm1(negative_part(x, out=y), out=y)
        y *= self.alpha
        y += positive

    def write_gradient(self, dy: Array, y: Array, dx: Array) -> None:
        """Write dy times the slope at y to dx."""
        slope = negative_part(y)
        slope += self.alpha
        if self.alpha != 1:
            positive = y > 0
            slope *= ~positive
            slope += positive
        np.multiply(dy, slope, out=dx)

    def __repr__(self) -> str:
        return f"ELU(alpha={self.alpha:g})"
