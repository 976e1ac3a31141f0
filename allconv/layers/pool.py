"""Pooling layers."""

import numpy as np

from allconv.functional.padding import Padding, check_padding, resolve_padding
from allconv.functional.pool import (
    Windows,
    max_pool,
    max_pool_input_grad,
    mean_pool,
    mean_pool_input_grad,
    pool_windows,
)
from allconv.layers.base import Layer
from allconv.typing import Array, Cache, Pair
from allconv.validation import check_bool, check_gradient, check_gradient_shape, check_images, check_pair


class _Pool2D(Layer):
    """What the two window poolings share: the arguments that say where the windows lie."""

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None,
        padding: Padding,
        dilation: int | Pair,
        ceil_mode: bool,
    ) -> None:
        self.kernel_size = check_pair("kernel_size", kernel_size)
        self.stride = self.kernel_size if stride is None else check_pair("stride", stride)
        self.padding = check_padding("padding", padding)
        self.dilation = check_pair("dilation", dilation)
        self.ceil_mode = check_bool("ceil_mode", ceil_mode)

    def _windows(self, size: Pair) -> Windows:
        pads = resolve_padding(self.padding, size, self.kernel_size, self.stride, self.dilation)
        return pool_windows(size, self.kernel_size, self.stride, pads, self.dilation, self.ceil_mode)

    def output_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return (H_out, W_out, C) for (H, W, C)."""
        height, width, channels = in_shape
        return (*self._windows((height, width)).out, channels)

    def __repr__(self) -> str:
        def short(pair: Pair) -> int | Pair:
            return pair[0] if pair[0] == pair[1] else pair

        text = f"{short(self.kernel_size)}"
        text += "" if self.stride == self.kernel_size else f", stride={short(self.stride)}"
        text += "" if self.padding == "valid" else f", padding={self.padding!r}"
        text += "" if self.dilation == (1, 1) else f", dilation={short(self.dilation)}"
        text += ", count_padding=True" if getattr(self, "count_padding", False) else ""
        text += ", ceil_mode=True" if self.ceil_mode else ""
        return f"{type(self).__name__}({text})"


class MeanPool2D(_Pool2D):
    r"""The mean of each window.

    .. math:: y_{n,i,j,c} = \frac{1}{D_{i,j}} \sum_{u,v} x_{n,\; i s + u - p,\; j s + v - p,\; c}

    over the kernel's positions (u, v) that lie over the input, with stride s and padding p; :math:`D_{i,j}` is their
    number.

    Parameters
    ----------
    kernel_size : int or pair of int
        (K_h, K_w).
    stride : int or pair of int, optional
        The distance between windows; the kernel's size by default, so that they tile the input.
    padding : {"valid", "same", "same_lower"}, int, pair or four of int, default "valid"
        "same" gives ceil(H / stride) x ceil(W / stride) outputs, TensorFlow's rule. A pair is (vertical, horizontal),
        four are (top, left, bottom, right).
    count_padding : bool, default False
        Whether D counts the padding too, as if it held zeros: PyTorch's default.
    ceil_mode : bool, default False
        Whether rows and columns at the end that fill no window get one that hangs over the padded input; D never
        counts that overhang. A window that would start in the end padding is dropped.

    Raises
    ------
    TypeError, ValueError
        For an argument outside its range; from `forward` and `output_shape`, where no window fits the input or one
        would hold padding only.

    Notes
    -----
    Input ``(N, H, W, C)``, output ``(N, H_out, W_out, C)``. LeCun et al. (1998), section II.B, without its weights.

    Examples
    --------
    >>> MeanPool2D(2)(np.arange(4.0).reshape(1, 2, 2, 1))
    array([[[[1.5]]]])
    """

    def __init__(
        self,
        kernel_size: int | Pair,
        *,
        stride: int | Pair | None = None,
        padding: Padding = "valid",
        count_padding: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, 1, ceil_mode)
        self.count_padding = check_bool("count_padding", count_padding)

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:  # noqa: ARG002
        """Return y for x of shape ``(N, H, W, C)``."""
        x = check_images("x", x)
        windows = self._windows(x.shape[1:3])
        y = mean_pool(x, windows, count_padding=self.count_padding)
        return y, (windows, y.shape, y.dtype)

    def backward(self, dy: Array, cache: Cache) -> Array:
        r"""Return dL/dx: each input gets dL/dy / D from every window that it lies in."""
        windows, shape, dtype = cache
        dy = check_gradient_shape(dy, shape, dtype)
        return mean_pool_input_grad(dy, windows, count_padding=self.count_padding)


class MaxPool2D(_Pool2D):
    r"""The maximum of each window.

    .. math:: y_{n,i,j,c} = \max_{u,v} x_{n,\; i s + u d - p,\; j s + v d - p,\; c}

    with stride s, dilation d and padding p; the padding holds :math:`-\infty`. A NaN in a window is its maximum.

    Parameters
    ----------
    kernel_size : int or pair of int
        (K_h, K_w).
    stride : int or pair of int, optional
        The distance between windows; the kernel's size by default, so that they tile the input.
    padding : {"valid", "same", "same_lower"}, int, pair or four of int, default "valid"
        "same" gives ceil(H / stride) x ceil(W / stride) outputs, TensorFlow's rule. A pair is (vertical, horizontal),
        four are (top, left, bottom, right).
    dilation : int or pair of int, default 1
        The distance between the positions of a window.
    ceil_mode : bool, default False
        Whether rows and columns at the end that fill no window get one that hangs over the padded input. A window
        that would start in the end padding is dropped.

    Raises
    ------
    TypeError, ValueError
        For an argument outside its range; from `forward` and `output_shape`, where no window fits the input or one
        would hold padding only.

    Notes
    -----
    Input ``(N, H, W, C)``, output ``(N, H_out, W_out, C)``. Riesenhuber and Poggio (1999); Scherer et al. (2010).

    Examples
    --------
    >>> MaxPool2D(2)(np.arange(4.0).reshape(1, 2, 2, 1))
    array([[[[3.]]]])
    """

    def __init__(
        self,
        kernel_size: int | Pair,
        *,
        stride: int | Pair | None = None,
        padding: Padding = "valid",
        dilation: int | Pair = 1,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:  # noqa: ARG002
        """Return y for x of shape ``(N, H, W, C)``."""
        x = check_images("x", x)
        y = max_pool(x, self._windows(x.shape[1:3]))
        return y, (x, y)

    def backward(self, dy: Array, cache: Cache) -> Array:
        """Return dL/dx: each dL/dy goes to the maximum of its window, of equal ones to the first, row by row."""
        x, y = cache
        dy = check_gradient(dy, y)
        return max_pool_input_grad(dy, x, y, self._windows(x.shape[1:3]))


class GlobalAveragePool2D(Layer):
    r"""The mean over all positions of each channel.

    .. math:: y_{n,c} = \frac{1}{H W} \sum_{h,w} x_{n,h,w,c}

    Parameters
    ----------
    keepdims : bool, default False
        Whether the output is ``(N, 1, 1, C)`` in place of ``(N, C)``.

    Notes
    -----
    Input ``(N, H, W, C)``. Lin et al. (2014), section 3.2.

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
        y = x.mean(axis=(1, 2), keepdims=self.keepdims)
        return y, (x.shape, y.dtype)

    def backward(self, dy: Array, cache: Cache) -> Array:
        """Return dL/dx = dL/dy / (H W) at every position."""
        (N, H, W, C), dtype = cache
        dy = check_gradient_shape(dy, (N, *self.output_shape((H, W, C))), dtype)
        share = (dy / (H * W)).reshape(N, 1, 1, C)
        return np.broadcast_to(share, (N, H, W, C)).copy()

    def output_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return (C,) for (H, W, C), or (1, 1, C) with `keepdims`."""
        _, _, channels = in_shape
        return (1, 1, channels) if self.keepdims else (channels,)

    def __repr__(self) -> str:
        return "GlobalAveragePool2D(keepdims=True)" if self.keepdims else "GlobalAveragePool2D()"
