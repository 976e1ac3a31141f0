"""Average pooling to a size of output."""

import numpy as np

from allconv.functional.rounding import ceil_div
from allconv.layers.base import Layer
from allconv.layers.shapes import check_image_shape
from allconv.layers.short import short_pair
from allconv.typing import Array, Cache, Pair
from allconv.validation import check_gradient_shape, check_images, check_pair


class AdaptiveAveragePool2D(Layer):
    r"""Average pooling to an output of a given size, whatever the size of the input.

    .. math:: y_{n,i,j,c} = \frac{1}{|R_i|\,|S_j|} \sum_{h \in R_i,\, w \in S_j} x_{n,h,w,c}, \qquad
        R_i = \left\{ \left\lfloor \frac{i H}{P} \right\rfloor, \dots, \left\lceil \frac{(i + 1) H}{P} \right\rceil - 1
        \right\}

    P is the number of output rows. The columns :math:`S_j` follow in the same way from W. The windows overlap where P
    does not divide H.

    Parameters
    ----------
    output_size : int or pair of int
        The height and the width of the output.

    Raises
    ------
    TypeError, ValueError
        If `output_size` is no positive int or pair of them; from `forward`, if x is not floating images (N, H, W, C);
        from `backward`, if dy has another shape than y.

    Notes
    -----
    Input ``(N, H, W, C)``, output ``(N, *output_size, C)``. Sums are made in float64. He et al. (2014), Spatial
    pyramid pooling in deep convolutional networks for visual recognition, section 2.2, with the mean in the place of
    the maximum.

    Examples
    --------
    >>> AdaptiveAveragePool2D((1, 2))(np.arange(3.0).reshape(1, 1, 3, 1)).ravel()
    array([0.5, 1.5])
    """

    def __init__(self, output_size: int | Pair) -> None:
        self.output_size = check_pair("output_size", output_size)

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:  # noqa: ARG002
        """Return y for x of shape ``(N, H, W, C)``."""
        x = check_images("x", x)
        rows, columns = self._windows(*x.shape[1:3])
        tall = np.stack([x[:, window].mean(axis=1, dtype=np.float64) for window in rows], axis=1)
        y = np.stack([tall[:, :, window].mean(axis=2) for window in columns], axis=2).astype(x.dtype)
        return y, (x.shape, x.dtype)

    def backward(self, dy: Array, cache: Cache) -> Array:
        r"""Return dL/dx: each input gets :math:`dL/dy / (|R_i|\,|S_j|)` from every window that it lies in."""
        (N, H, W, C), dtype = cache
        dy = check_gradient_shape(dy, (N, *self.output_size, C), dtype)
        rows, columns = self._windows(H, W)
        tall = np.zeros((N, self.output_size[0], W, C))
        for j, window in enumerate(columns):
            tall[:, :, window] += dy[:, :, j, None] / (window.stop - window.start)
        dx = np.zeros((N, H, W, C))
        for i, window in enumerate(rows):
            dx[:, window] += tall[:, i, None] / (window.stop - window.start)
        return dx.astype(dtype)

    def _windows(self, *sizes: int) -> list[list[slice]]:
        """Return where the windows lie along each axis."""
        return [
            [slice(i * size // out, ceil_div((i + 1) * size, out)) for i in range(out)]
            for size, out in zip(sizes, self.output_size, strict=True)
        ]

    def output_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return ``(H_out, W_out, C)`` for ``(H, W, C)``."""
        return (*self.output_size, check_image_shape(in_shape)[2])

    def __repr__(self) -> str:
        return f"AdaptiveAveragePool2D({short_pair(self.output_size)})"
