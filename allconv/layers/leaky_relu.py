"""The leaky rectified linear unit."""

import numpy as np

from allconv.functional.rectify import LARGEST_SLOPE, negative_part, positive_part
from allconv.layers.joining import Overwriting
from allconv.parallel.pool import elementwise_into
from allconv.typing import Array, Cache
from allconv.validation import check_batch, check_gradient, check_real


class LeakyReLU(Overwriting):
    r"""Leaky rectified linear unit, element by element.

    .. math:: y = x \quad (x > 0), \qquad y = a x \quad (x \le 0)

    Parameters
    ----------
    negative_slope : float, default 0.01
        The slope a for negative inputs, in [0, 65504].

    Raises
    ------
    TypeError, ValueError
        If `negative_slope` is out of its range; from `forward`, if x is not floating or holds no example; from
        `backward`, if dy has another shape than y.

    Notes
    -----
    Input and output have the same shape, ``(N, ...)``. The derivative at the kink x = 0 is taken to be a.
    Maas et al. (2013), Rectifier nonlinearities improve neural network acoustic models.

    Examples
    --------
    >>> LeakyReLU(0.1)(np.array([-1.0, 0.0, 2.0]))
    array([-0.1,  0. ,  2. ])
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = check_real("negative_slope", negative_slope, minimum=0.0, maximum=LARGEST_SLOPE)

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:  # noqa: ARG002
        """Return y for x of shape ``(N, ...)``."""
        x = check_batch("x", x)
        y = elementwise_into(self.write, x)
        return y, y

    def backward(self, dy: Array, cache: Cache) -> Array:
        """Return dL/dx = dL/dy where y > 0, a dL/dy elsewhere: the output is all it needs."""
        y: Array = cache
        dy = check_gradient(dy, y)
        return elementwise_into(self.write_gradient, dy, y)

    def write(self, x: Array, y: Array) -> None:
        """Write max(x, 0) + a min(x, 0) to y."""
        # One of the two terms is 0. Their sum is faster than np.where, whose branches follow the signs of the numbers.
        np.add(positive_part(x), self.negative_slope * negative_part(x), out=y)

    def write_gradient(self, dy: Array, y: Array, dx: Array) -> None:
        """Write dy times the slope at y to dx: one product, so that an infinite dy stays infinite."""
        slope = y.dtype.type(self.negative_slope)
        slopes = np.maximum(y > 0, slope) if slope <= 1 else np.maximum(~(y > 0) * slope, 1)
        np.multiply(dy, slopes, out=dx)

    def __repr__(self) -> str:
        return "LeakyReLU()" if self.negative_slope == 0.01 else f"LeakyReLU({self.negative_slope!r})"
