"""Global average pooling."""

import numpy as np

from allconv.layers.base import Layer
from allconv.layers.precision import for_sums
from allconv.layers.shapes import check_image_shape
from allconv.parallel.reductions import position_sum
from allconv.typing import Array, Cache
from allconv.validation import check_bool, check_gradient_shape, check_images


class GlobalAveragePool2D(Layer):
    r"""Global average pooling: the output holds the mean of each channel over all positions.

    .. math:: y_{n,c} = \frac{1}{H W} \sum_{h,w} x_{n,h,w,c}

    Parameters
    ----------
    keepdims : bool, default False
        Whether the output keeps the axes of the positions, with the length 1.

    Raises
    ------
    TypeError, ValueError
        If `keepdims` is not a bool; from `forward`, if x is not floating images (N, H, W, C).

    Notes
    -----
    Input ``(N, H, W, C)``, output ``(N, C)``, or ``(N, 1, 1, C)`` with `keepdims`. Lin et al. (2014), Network in
    network, section 3.2.

    Examples
    --------
    >>> GlobalAveragePool2D()(np.arange(8.0).reshape(1, 2, 2, 2))
    array([[3., 4.]])
    """

    def __init__(self, *, keepdims: bool = False) -> None:
        self.keepdims = check_bool("keepdims", keepdims)

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:  # noqa: ARG002
        """Return y for x of shape ``(N, H, W, C)``."""
        x = check_images("x", x)
        N, H, W, C = x.shape
        y = (position_sum(for_sums(x)) / (H * W)).astype(x.dtype).reshape(N, *self.output_shape((H, W, C)))
        return y, (x.shape, y.dtype)

    def backward(self, dy: Array, cache: Cache) -> Array:
        """Return dL/dx = dL/dy / (H W) at every position."""
        (N, H, W, C), dtype = cache
        dy = check_gradient_shape(dy, (N, *self.output_shape((H, W, C))), dtype)
        share = (for_sums(dy) / (H * W)).astype(dtype, copy=False).reshape(N, 1, 1, C)
        return np.broadcast_to(share, (N, H, W, C)).copy()

    def output_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return (C,) for (H, W, C), or (1, 1, C) with `keepdims`."""
        _, _, channels = check_image_shape(in_shape)
        return (1, 1, channels) if self.keepdims else (channels,)

    def __repr__(self) -> str:
        return "GlobalAveragePool2D(keepdims=True)" if self.keepdims else "GlobalAveragePool2D()"
