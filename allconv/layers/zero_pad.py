"""Zeros around images."""

import numpy as np

from allconv.functional.padding import check_padding, resolve_padding
from allconv.layers.base import Layer
from allconv.layers.shapes import check_image_shape
from allconv.typing import Array, Cache, Pair
from allconv.validation import check_gradient_shape, check_images, describe


class ZeroPad2D(Layer):
    r"""Rows and columns of zeros around images.

    .. math:: y_{n,h,w,c} = x_{n,\; h - \text{top},\; w - \text{left},\; c}, \qquad x = 0 \text{ outside the image}

    Parameters
    ----------
    padding : int, pair or four of int
        The rows and columns of zeros. A pair is (vertical, horizontal); four numbers are (top, left, bottom, right).

    Raises
    ------
    TypeError, ValueError
        If `padding` is something else; from `forward`, if x is not floating images (N, H, W, C); from `backward`, if dy
        has another shape than y.

    Notes
    -----
    Input ``(N, H, W, C)``, output ``(N, H + top + bottom, W + left + right, C)``.
    Goodfellow et al. (2016), Deep learning, section 9.5.

    Examples
    --------
    >>> ZeroPad2D((0, 1))(np.ones((1, 1, 2, 1))).ravel()
    array([0., 1., 1., 0.])
    """

    def __init__(self, padding: int | Pair | tuple[int, int, int, int]) -> None:
        if isinstance(padding, str):
            raise TypeError(f"padding must be numbers, since there is no window to fit, got {describe(padding)}")
        self.padding = check_padding("padding", padding)
        (self._top, self._bottom), (self._left, self._right) = resolve_padding(self.padding, (0, 0), (1, 1), (1, 1))

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:  # noqa: ARG002
        """Return y for x of shape ``(N, H, W, C)``."""
        x = check_images("x", x)
        N, H, W, C = x.shape
        y = np.zeros((N, *self.output_shape((H, W, C))), x.dtype)
        y[self._inside(H, W)] = x
        return y, (x.shape, x.dtype)

    def backward(self, dy: Array, cache: Cache) -> Array:
        """Return dL/dx: dL/dy without what belongs to the zeros."""
        (N, H, W, C), dtype = cache
        dy = check_gradient_shape(dy, (N, *self.output_shape((H, W, C))), dtype)
        return dy[self._inside(H, W)].copy()

    def _inside(self, height: int, width: int) -> tuple[slice, slice, slice]:
        """Return where the input lies in the output."""
        return slice(None), slice(self._top, self._top + height), slice(self._left, self._left + width)

    def output_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return (H + top + bottom, W + left + right, C) for (H, W, C)."""
        height, width, channels = check_image_shape(in_shape)
        return (height + self._top + self._bottom, width + self._left + self._right, channels)

    def __repr__(self) -> str:
        return f"ZeroPad2D({self.padding!r})"
