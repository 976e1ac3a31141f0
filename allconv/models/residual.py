"""A residual network: what `Skip` and `Sequential` compose to."""

import numpy as np
from numpy.typing import DTypeLike

from allconv.layers.base import Layer
from allconv.layers.batchnorm import BatchNorm
from allconv.layers.conv import Conv2D
from allconv.layers.global_average_pool import GlobalAveragePool2D
from allconv.layers.linear import Linear
from allconv.layers.relu import ReLU
from allconv.layers.sequential import Sequential
from allconv.layers.skip import Skip
from allconv.validation import check_dtype, check_generator, check_int


def residual_net(
    blocks: int = 3,
    *,
    width: int = 16,
    classes: int = 10,
    channels: int = 3,
    dtype: DTypeLike = np.float32,
    rng: np.random.Generator | None = None,
) -> Sequential:
    r"""Return a small residual network for images, in the style of He et al. for CIFAR-10.

    ::

        conv 3x3, width                                   BatchNorm, ReLU
        blocks x residual block of width
        conv 3x3, 2 width, stride 2                       BatchNorm, ReLU
        blocks x residual block of 2 width
        conv 3x3, 4 width, stride 2                       BatchNorm, ReLU
        blocks x residual block of 4 width
        global average pool, linear -> classes

    A residual block, with the shortcut around the two convolutions and a ReLU after the sum:

    .. math:: y = \max(0,\; x + f(x)), \qquad
        f = \text{BatchNorm} \circ \text{conv} \circ \text{ReLU} \circ \text{BatchNorm} \circ \text{conv}

    Parameters
    ----------
    blocks : int, default 3
        Residual blocks a stage, n; the network has 6 n + 4 layers with weights.
    width : int, default 16
        Maps of the first stage.
    classes : int, default 10
        The output's size.
    channels : int, default 3
        Of the input.
    dtype : float32 or float64, default float32
        Of the parameters.
    rng : numpy.random.Generator, optional
        Draws the weights, by `he_normal`.

    Returns
    -------
    Sequential
        Input ``(N, 32, 32, channels)`` or any other size, output logits ``(N, classes)``. The convolutions have no
        bias, since the BatchNorm after each would take it away again.

    Raises
    ------
    TypeError, ValueError
        For an argument outside its range.

    Notes
    -----
    He et al. (2016), section 4.2. One thing differs: a `Skip` keeps its input's shape, so the halving is left to a
    plain strided convolution between two stages, where theirs is the first block of a stage, with a shortcut that
    drops pixels and adds maps of zeros. That is 2 layers more than their 6 n + 2.

    Examples
    --------
    >>> model = residual_net(1, rng=np.random.default_rng(0))
    >>> model.summary((32, 32, 3)).trainable
    121562
    """
    blocks, width = check_int("blocks", blocks), check_int("width", width)
    classes, channels = check_int("classes", classes), check_int("channels", channels)
    dtype, rng = check_dtype("dtype", dtype), check_generator("rng", rng)

    def conv(in_channels: int, out_channels: int, stride: int = 1) -> list[Layer]:
        layer = Conv2D(in_channels, out_channels, 3, stride=stride, bias=False, dtype=dtype, rng=rng)
        return [layer, BatchNorm(out_channels, dtype=dtype)]

    def stage(width: int) -> list[Layer]:
        layers: list[Layer] = []
        for _ in range(blocks):
            layers += [Skip(Sequential(*conv(width, width), ReLU(), *conv(width, width))), ReLU()]
        return layers

    return Sequential(
        *conv(channels, width),
        ReLU(),
        *stage(width),
        *conv(width, 2 * width, stride=2),
        ReLU(),
        *stage(2 * width),
        *conv(2 * width, 4 * width, stride=2),
        ReLU(),
        *stage(4 * width),
        GlobalAveragePool2D(),
        Linear(4 * width, classes, dtype=dtype, rng=rng),
    )
