"""A residual network, composed of `Skip` and `Sequential`."""

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
        The number n of residual blocks in a stage. The network has 6 n + 4 layers with weights.
    width : int, default 16
        The number of maps in the first stage.
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
    He et al. (2016), section 4.2. One thing differs: a `Skip` keeps the shape of its input, so a plain strided
    convolution between two stages halves the maps. In the paper the first block of a stage does so, with a shortcut
    that drops pixels and adds maps of zeros. The two convolutions are the difference to the paper's 6 n + 2 layers.

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
