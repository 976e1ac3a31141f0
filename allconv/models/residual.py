"""Residual networks for CIFAR-10, composed of `Skip` and `Sequential`."""

import numpy as np
from numpy.typing import DTypeLike

from allconv.functional.padding import Padding
from allconv.functional.rounding import ceil_div
from allconv.layers.base import Layer
from allconv.layers.batchnorm import BatchNorm
from allconv.layers.conv import Conv2D
from allconv.layers.global_average_pool import GlobalAveragePool2D
from allconv.layers.linear import Linear
from allconv.layers.relu import ReLU
from allconv.layers.sequential import Sequential
from allconv.layers.shapes import check_image_shape
from allconv.layers.skip import Skip
from allconv.typing import Array, Cache
from allconv.validation import check_choice, check_dtype, check_generator, check_gradient_shape, check_images, check_int

_MOST_BLOCKS = 1_000  # The deepest network of the paper has 200.


def resnet20(
    option: str = "A",
    *,
    classes: int = 10,
    channels: int = 3,
    dtype: DTypeLike = np.float32,
    rng: np.random.Generator | None = None,
) -> Sequential:
    """Return the ResNet-20 of He et al. for CIFAR-10: `residual_net` with 3 blocks in a stage.

    Parameters
    ----------
    option : {"A", "B"}, default "A"
        The shortcut where the shape changes: zeros for the new channels, or a projection.
    classes : int, default 10
        The number of classes.
    channels : int, default 3
        The number of channels of the images.
    dtype : float32 or float64, default float32
        The dtype of the parameters, and so of the computation.
    rng : numpy.random.Generator, optional
        The generator that draws the weights, by `he_normal`. The default is a new, unseeded one.

    Returns
    -------
    Sequential
        The network, which maps images ``(N, 32, 32, channels)``, or of any other size, to logits ``(N, classes)``.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    Notes
    -----
    He et al. (2015), section 4.2 and table 6, where it has an error of 8.75 % on CIFAR-10 with option A.

    Examples
    --------
    >>> resnet20(option="A").summary((32, 32, 3)).trainable
    269722
    >>> resnet20(option="B").summary((32, 32, 3)).trainable
    272474
    """
    return residual_net(3, option=option, classes=classes, channels=channels, dtype=dtype, rng=rng)


def residual_net(
    blocks: int = 3,
    *,
    width: int = 16,
    option: str = "A",
    classes: int = 10,
    channels: int = 3,
    dtype: DTypeLike = np.float32,
    rng: np.random.Generator | None = None,
) -> Sequential:
    r"""Return the residual network of He et al. for CIFAR-10, of any depth and width.

    ::

        conv 3x3, width                                   BatchNorm, ReLU
        blocks x residual block of width
        blocks x residual block of 2 width, the first of stride 2
        blocks x residual block of 4 width, the first of stride 2
        global average pool, linear -> classes

    A residual block has a shortcut around two convolutions and a ReLU after the sum:

    .. math:: y = \max(0,\; g(x) + f(x)), \qquad
        f = \text{BatchNorm} \circ \text{conv} \circ \text{ReLU} \circ \text{BatchNorm} \circ \text{conv}

    The shortcut g is the identity, but for a block of stride 2. There, with option A, it takes every other pixel and
    fills the new channels with zeros. With option B it is a 1x1 convolution of stride 2 and a BatchNorm.

    Parameters
    ----------
    blocks : int, default 3
        The number n of residual blocks in a stage, from 1 to 1,000. The network has 6 n + 2 layers with weights,
        projections aside.
    width : int, default 16
        The number of maps in the first stage.
    option : {"A", "B"}, default "A"
        The shortcut where the shape changes: zeros for the new channels, or a projection.
    classes : int, default 10
        The number of classes.
    channels : int, default 3
        The number of channels of the images.
    dtype : float32 or float64, default float32
        The dtype of the parameters, and so of the computation.
    rng : numpy.random.Generator, optional
        The generator that draws the weights, by `he_normal`. The default is a new, unseeded one.

    Returns
    -------
    Sequential
        The network, which maps images ``(N, 32, 32, channels)``, or of any other size, to logits ``(N, classes)``. The
        convolutions have no bias, because the BatchNorm after each would remove it again.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    Notes
    -----
    He et al. (2015), section 4.2; the options are those of section 3.3. A convolution of stride 2 has a row and a
    column of zeros on each side, as in the published code, where "same" puts a single one at the bottom and right.

    Examples
    --------
    >>> residual_net(1).summary((32, 32, 3)).trainable  # ResNet-8
    75290
    """
    blocks, width = check_int("blocks", blocks, maximum=_MOST_BLOCKS), check_int("width", width)
    option = check_choice("option", option, ("A", "B"))
    classes, channels = check_int("classes", classes), check_int("channels", channels)
    dtype, rng = check_dtype("dtype", dtype), check_generator("rng", rng)

    def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> list[Layer]:
        padding: Padding = "same" if stride == 1 else kernel // 2
        layer = Conv2D(inputs, outputs, kernel, stride=stride, padding=padding, bias=False, dtype=dtype, rng=rng)
        return [layer, BatchNorm(outputs, dtype=dtype)]

    def block(inputs: int, outputs: int, stride: int) -> list[Layer]:
        body = Sequential(*conv(inputs, outputs, stride=stride), ReLU(), *conv(outputs, outputs))
        if stride == 1:
            return [Skip(body), ReLU()]
        shortcut: Layer = ZeroFill(inputs, outputs, stride)
        if option == "B":
            shortcut = Sequential(*conv(inputs, outputs, 1, stride))
        return [Skip(body, shortcut=shortcut), ReLU()]

    layers = [*conv(channels, width), ReLU()]
    for stage in range(3):
        outputs = 2**stage * width
        for index in range(blocks):
            halves = stage > 0 and index == 0
            layers += block(outputs // 2, outputs, 2) if halves else block(outputs, outputs, 1)
    return Sequential(*layers, GlobalAveragePool2D(), Linear(4 * width, classes, dtype=dtype, rng=rng))


class ZeroFill(Layer):
    """Option A's shortcut: take every so many pixels, and fill new channels with zeros."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        self.in_channels, self.out_channels, self.stride = in_channels, out_channels, stride

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:  # noqa: ARG002
        """Return every so many pixels of x, with the new channels at 0."""
        x = check_images("x", x, channels=self.in_channels)
        y = np.zeros((len(x), *self.output_shape(x.shape[1:])), x.dtype)
        y[..., : self.in_channels] = x[:, :: self.stride, :: self.stride]
        return y, (x.shape, y.shape, x.dtype)

    def backward(self, dy: Array, cache: Cache) -> Array:
        """Return dL/dx: dL/dy at the pixels that were taken, and 0 elsewhere."""
        x_shape, y_shape, dtype = cache
        dx = np.zeros(x_shape, dtype)
        dx[:, :: self.stride, :: self.stride] = check_gradient_shape(dy, y_shape, dtype)[..., : self.in_channels]
        return dx

    def output_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return (H_out, W_out, out_channels) for (H, W, in_channels)."""
        height, width, _ = check_image_shape(in_shape, self.in_channels)
        return (ceil_div(height, self.stride), ceil_div(width, self.stride), self.out_channels)

    def __repr__(self) -> str:
        return f"ZeroFill({self.in_channels}, {self.out_channels}, stride={self.stride})"
