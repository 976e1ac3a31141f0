"""The rectified linear unit."""

from allconv.functional.masking import masked
from allconv.functional.rectify import positive_part
from allconv.layers.joining import Overwriting
from allconv.parallel.pool import elementwise_into
from allconv.typing import Array, Cache
from allconv.validation import check_batch, check_gradient


class ReLU(Overwriting):
    r"""Rectified linear unit, element by element.

    .. math:: y = \max(x, 0)

    Raises
    ------
    TypeError, ValueError
        From `forward`, if x is not floating or holds no example; from `backward`, if dy has another shape than y.

    Notes
    -----
    Input and output have the same shape, ``(N, ...)``. The derivative at the kink x = 0 is taken to be 0.
    Nair and Hinton (2010), Rectified linear units improve restricted Boltzmann machines.

    Examples
    --------
    >>> ReLU()(np.array([-1.0, 0.0, 2.0]))
    array([0., 0., 2.])
    """

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:  # noqa: ARG002
        """Return y for x of shape ``(N, ...)``."""
        x = check_batch("x", x)
        y = elementwise_into(self.write, x)
        return y, y

    def backward(self, dy: Array, cache: Cache) -> Array:
        """Return dL/dx = dL/dy where y > 0, 0 elsewhere, for any dL/dy: the output is all it needs."""
        y: Array = cache
        dy = check_gradient(dy, y)
        return elementwise_into(self.write_gradient, dy, y)

    def write(self, x: Array, y: Array) -> None:
        """Write max(x, 0) to y."""
        positive_part(x, out=y)

    def write_gradient(self, dy: Array, y: Array, dx: Array) -> None:
        """Write dy to dx where y > 0, and 0 elsewhere."""
        # y is never negative. Where it is NaN the gradient passes, so that what is wrong stays visible.
        masked(dy, y != 0, out=dx)

    def __repr__(self) -> str:
        return "ReLU()"
