"""Two-dimensional transposed convolution."""

import numpy as np
from numpy.typing import DTypeLike

from allconv.functional import conv
from allconv.functional.geometry import Geometry, geometry_of
from allconv.functional.padding import Padding, check_padding, resolve_padding
from allconv.initializers import he_normal
from allconv.layers.base import Layer
from allconv.layers.shapes import check_image_shape
from allconv.layers.short import short_pair
from allconv.layers.weight import initial_weight
from allconv.parameter import Parameter
from allconv.typing import Array, Cache, Initializer, Pair
from allconv.validation import (
    check_bool,
    check_dtype,
    check_generator,
    check_gradient_shape,
    check_images,
    check_int,
    check_pair,
)


# Longer than 150 lines because its docstrings hold the contract and the equations; the code is short.
class ConvTranspose2D(Layer):
    r"""Two-dimensional transposed convolution: the input gradient of a `Conv2D`, as a forward pass.

    .. math:: y_{n,h,w,o} = b_o + \sum_{i s + u d - p = h,\; j s + v d - p = w,\; c} x_{n,i,j,c}\; W_{u,v,o,c}

    with stride s, dilation d and padding p. Each input adds a kernel times its value to the output, at a distance of s
    from the next. A stride of 2 thus doubles the maps.

    Parameters
    ----------
    in_channels, out_channels : int
        The numbers of input channels C and of output channels O.
    kernel_size : int or pair of int
        The height and the width of the kernel, (K_h, K_w).
    stride : int or pair of int, default 1
        The distance in the output between the kernels of two neighbouring inputs.
    padding : {"same", "same_lower", "valid"}, int, pair or four of int, default "same"
        The rows and columns that are cut off the output: the padding of the convolution that leads back. "same" and
        "same_lower" leave (H stride) x (W stride) outputs, "valid" cuts nothing off. A pair is (vertical, horizontal);
        four numbers are (top, left, bottom, right).
    output_padding : int or pair of int, default 0
        The rows and columns that the output has more at the bottom and the right, fewer than `stride`. Inputs of
        several sizes lead to one size in a strided convolution; this says which of them the output has.
    dilation : int or pair of int, default 1
        The distance between the taps of the kernel.
    groups : int, default 1
        The number of groups G, which divides both channel counts. An input channel reaches only the O / G output
        channels of its own group.
    bias : bool, default True
        Whether the layer adds a bias b.
    initializer : callable, default he_normal
        The function ``(rng, shape, dtype) -> array`` that draws the weight; see `allconv.initializers`, which says what
        its fans are here. The bias starts at zero.
    dtype : float32 or float64, default float32
        The dtype of the parameters, and so of the computation.
    rng : numpy.random.Generator, optional
        The generator that draws the weight. The default is a new, unseeded one.

    Attributes
    ----------
    weight : Parameter, shape (K_h, K_w, O / groups, C)
        The kernel W: that of a convolution from O to C channels.
    bias : Parameter, shape (O,), or None
        The bias b.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range; from `forward` and `output_shape`, if x is not floating images (N, H, W, C)
        or the padding leaves no output; from `backward`, if dy has another shape than y.

    Notes
    -----
    Input ``(N, H, W, C)``, output ``(N, H_out, W_out, O)`` with H_out = (H - 1) s - top - bottom + d (K_h - 1) + 1 +
    output_padding for padding in numbers. Dumoulin and Visin (2016), A guide to convolution arithmetic for deep
    learning, chapter 4.

    Examples
    --------
    >>> layer = ConvTranspose2D(8, 3, 4, stride=2, rng=np.random.default_rng(0))
    >>> layer(np.ones((1, 16, 16, 8), np.float32)).shape
    (1, 32, 32, 3)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        *,
        stride: int | Pair = 1,
        padding: Padding = "same",
        output_padding: int | Pair = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        bias: bool = True,
        initializer: Initializer = he_normal,
        dtype: DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.in_channels = check_int("in_channels", in_channels)
        self.out_channels = check_int("out_channels", out_channels)
        self.kernel_size = check_pair("kernel_size", kernel_size)
        self.stride = check_pair("stride", stride)
        self.padding = check_padding("padding", padding)
        self.output_padding = check_pair("output_padding", output_padding, minimum=0)
        if any(more >= step for more, step in zip(self.output_padding, self.stride, strict=True)):
            raise ValueError(f"output_padding must be less than stride, got {output_padding} for stride {stride}")
        if max(self.output_padding) and padding in ("same", "same_lower"):
            raise ValueError(f"output_padding must be 0 with padding {padding!r}, got {output_padding}")
        self.dilation = check_pair("dilation", dilation)
        self.groups = check_int("groups", groups)
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"groups must divide in_channels and out_channels, got {groups} for {in_channels} and {out_channels}"
            )
        kind = check_dtype("dtype", dtype)
        shape = (*self.kernel_size, self.out_channels // self.groups, self.in_channels)
        with_bias = check_bool("bias", bias)
        self.weight = Parameter(initial_weight(initializer, check_generator("rng", rng), shape, kind))
        self.bias = Parameter(np.zeros(self.out_channels, kind)) if with_bias else None

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:  # noqa: ARG002
        """Return y for x of shape ``(N, H, W, C)``."""
        weight = self.weight.value
        x = check_images("x", x, weight.dtype, self.in_channels)
        y = conv.conv2d_input_grad(x, weight, self._back(x.shape))
        if self.bias is not None:
            y += self.bias.value
        return y, x

    def backward(self, dy: Array, cache: Cache) -> Array:
        r"""Return dL/dx, which is the convolution of dL/dy with W, and add dL/dW and dL/db.

        .. math::

            dx_{n,i,j,c} &= \sum_{u,v,o} dy_{n,\; i s + u d - p,\; j s + v d - p,\; o}\; W_{u,v,o,c} \\
            dW_{u,v,o,c} &= \sum_{n,i,j} dy_{n,\; i s + u d - p,\; j s + v d - p,\; o}\; x_{n,i,j,c} \\
            db_o &= \sum_{n,h,w} dy_{n,h,w,o}
        """
        self.backward_parameters(dy, cache)
        x: Array = cache
        return conv.conv2d(np.asarray(dy, x.dtype), self.weight.value, self._back(x.shape))

    def backward_parameters(self, dy: Array, cache: Cache) -> None:
        """Add dL/dW and dL/db alone."""
        x: Array = cache
        geometry = self._back(x.shape)
        dy = check_gradient_shape(dy, geometry.x_shape, x.dtype)
        if self.weight.trainable:
            self.weight.add_grad(conv.conv2d_weight_grad(dy, x, geometry))
        if self.bias is not None and self.bias.trainable:
            self.bias.add_grad(conv.conv2d_bias_grad(dy))

    def _back(self, x_shape: tuple[int, ...]) -> Geometry:
        """Return the sizes of the convolution that leads from the output back to the input."""
        N, *size, _ = x_shape
        if self.padding in ("same", "same_lower"):
            out = [n * s for n, s in zip(size, self.stride, strict=True)]
        else:
            pads = resolve_padding(self.padding, (0, 0), self.kernel_size, self.stride)
            out = [
                (n - 1) * s - before - after + d * (k - 1) + 1 + more
                for n, s, (before, after), d, k, more in zip(
                    size, self.stride, pads, self.dilation, self.kernel_size, self.output_padding, strict=True
                )
            ]
        if min(out) < 1:
            raise ValueError(f"padding must leave an output, got {self.padding!r} for an input of {tuple(size)}")
        y_shape = (N, *out, self.out_channels)
        return geometry_of(y_shape, self.weight.value.shape, self.stride, self.padding, self.dilation, self.groups)

    def output_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return (H_out, W_out, O) for (H, W, C)."""
        return self._back((1, *check_image_shape(in_shape, self.in_channels))).x_shape[1:]

    def multiply_adds(self, in_shape: tuple[int, ...]) -> int:
        """Return H W K_h K_w (O / groups) C."""
        self.output_shape(in_shape)
        height, width, _ = in_shape
        return height * width * self.weight.value.size

    def __repr__(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, {short_pair(self.kernel_size)}"
        for name, default in (("stride", 1), ("output_padding", 0), ("dilation", 1)):
            if short_pair(getattr(self, name)) != default:
                text += f", {name}={short_pair(getattr(self, name))}"
        text += "" if self.padding == "same" else f", padding={self.padding!r}"
        text += "" if self.groups == 1 else f", groups={self.groups}"
        text += "" if self.bias is not None else ", bias=False"
        return f"ConvTranspose2D({text})"
