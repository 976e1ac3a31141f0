"""The rectified linear unit that ends at 6."""

import numpy as np

from allconv.functional.masking import masked
from allconv.layers.joining import Overwriting
from allconv.parallel.pool import elementwise_into
from allconv.typing import Array, Cache
from allconv.validation import check_batch, check_gradient


class ReLU6(Overwriting):
    r"""Rectified linear unit that is cut off at 6, element by element.

    .. math:: y = \min(\max(x, 0),\, 6)

    Raises
    ------
    TypeError, ValueError
        From `forward`, if x is not floating or holds no example; from `backward`, if dy has another shape than y.

    Notes
    -----
    Input and output have the same shape, ``(N, ...)``. The derivative at the kinks x = 0 and x = 6 is taken to be 0.
    Krizhevsky (2010), Convolutional deep belief networks on CIFAR-10. Sandler et al. (2018), MobileNetV2: inverted
    residuals and linear bottlenecks, section 4.

    Examples
    --------
    >>> ReLU6()(np.array([-1.0, 2.0, 8.0]))
    array([0., 2., 6.])
    """

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:  # noqa: ARG002
        """Return y for x of shape ``(N, ...)``."""
        x = check_batch("x", x)
        y = elementwise_into(self.write, x)
        return y, y

    def backward(self, dy: Array, cache: Cache) -> Array:
        """Return dL/dx = dL/dy where 0 < y < 6, 0 elsewhere, for any dL/dy: the output is all it needs."""
        y: Array = cache
        dy = check_gradient(dy, y)
        return elementwise_into(self.write_gradient, dy, y)

    def write(self, x: Array, y: Array) -> None:
        """Write x, cut off at 0 and 6, to y."""
        np.clip(x, 0, 6, out=y)

    def write_gradient(self, dy: Array, y: Array, dx: Array) -> None:
        """Write dy to dx where 0 < y < 6, and 0 elsewhere."""
        masked(dy, (y > 0) & (y < 6), out=dx)

    def __repr__(self) -> str:
        return "ReLU6()"
