"""From images to vectors."""

import math

from allconv.layers.base import Layer
from allconv.layers.shapes import check_shape
from allconv.typing import Array, Cache
from allconv.validation import check_batch, check_gradient_shape


class Flatten(Layer):
    """Write the numbers of each example in one row, in C order: the last axis varies fastest.

    Raises
    ------
    TypeError, ValueError
        From `forward`, if x is not floating or holds no example; from `backward`, if dy has another shape than y.

    Notes
    -----
    Input ``(N, ...)``, output ``(N, D)``. D is the product of the lengths of the other axes, so ``(N,)`` becomes
    ``(N, 1)``.

    Examples
    --------
    >>> Flatten()(np.zeros((2, 4, 4, 3))).shape
    (2, 48)
    """

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:  # noqa: ARG002
        """Return y for x of shape ``(N, ...)``."""
        x = check_batch("x", x)
        return x.reshape(len(x), -1), (x.shape, x.dtype)

    def backward(self, dy: Array, cache: Cache) -> Array:
        """Return dL/dx: dL/dy in the shape of x."""
        shape, dtype = cache
        dy = check_gradient_shape(dy, (shape[0], math.prod(shape[1:])), dtype)
        return dy.reshape(shape)

    def output_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return (D,)."""
        return (math.prod(check_shape(in_shape)),)

    def __repr__(self) -> str:
        return "Flatten()"
