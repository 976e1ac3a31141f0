"""The two networks of the 2018 article."""

import numpy as np
from numpy.typing import DTypeLike

from allconv.initializers import normal
from allconv.layers.base import Layer
from allconv.layers.conv import Conv2D
from allconv.layers.elu import ELU
from allconv.layers.global_average_pool import GlobalAveragePool2D
from allconv.layers.mean_pool import MeanPool2D
from allconv.layers.relu import ReLU
from allconv.layers.sequential import Sequential
from allconv.layers.skip import Skip
from allconv.validation import check_bool, check_choice, check_dtype, check_generator

_INITIAL_DILATION = 0.8  # The scale r(0) of the shortcuts in the first epoch.


def article_net(
    kind: str,
    *,
    dilated: bool = False,
    activation: str = "elu",
    dtype: DTypeLike = np.float32,
    rng: np.random.Generator | None = None,
) -> Sequential:
    """Return a network of the 2018 article: nine convolutions and a global average pool.

    ::

        conv 3x3,  96
        conv 3x3,  96                                          shortcut around it, if dilated
        conv 3x3, 192    convpool: mean pool 2x2 after it      allcnn: stride 2 instead
        conv 3x3, 192
        conv 3x3, 192                                          shortcut around it, if dilated
        conv 3x3, 192    convpool: mean pool 2x2 after it      allcnn: stride 2 instead
        conv 3x3, 192
        conv 1x1, 192                                          shortcut around it, if dilated
        conv 1x1,  10, global average pool

    Parameters
    ----------
    kind : {"convpool", "allcnn"}
        The network: "convpool" belongs to the cases a to d, and "allcnn" to the cases e to h.
    dilated : bool, default False
        Whether a `Skip` of scale 0.8 stands around convolutions 2, 5 and 8 with their activations (cases d and h).
    activation : {"elu", "relu"}, default "elu"
        The function after each convolution, the ninth included. The article's code has ELU, the paper ReLU.
    dtype : float32 or float64, default float32
        The dtype of the parameters, and so of the computation.
    rng : numpy.random.Generator, optional
        The generator that draws the weights. The default is a new, unseeded one.

    Returns
    -------
    Sequential
        The network, which maps images ``(N, 32, 32, 3)``, or of any other size, to logits ``(N, 10)``. It has 1,617,312
        parameters and no biases. The weights are drawn from N(0, 0.05^2), and the padding is "same".

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    Notes
    -----
    Springenberg et al. (2015), section 3, tables 1 and 2, models ConvPool-CNN-C and All-CNN-C. In the article the third
    convolution has 192 maps in place of 96, the pools take means of 2x2, and there are no biases.

    Examples
    --------
    >>> model = article_net("allcnn", rng=np.random.default_rng(0))
    >>> model(np.zeros((2, 32, 32, 3), np.float32)).shape
    (2, 10)
    """
    strided = check_choice("kind", kind, ("convpool", "allcnn")) == "allcnn"
    activate = {"elu": ELU, "relu": ReLU}[check_choice("activation", activation, ("elu", "relu"))]
    check_bool("dilated", dilated)
    dtype, rng = check_dtype("dtype", dtype), check_generator("rng", rng)

    def conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> list[Layer]:
        layer = Conv2D(
            in_channels, out_channels, kernel, stride=stride, bias=False, initializer=normal(0.05), dtype=dtype, rng=rng
        )
        return [layer, activate()]

    def shortcut(body: list[Layer]) -> list[Layer]:
        return [Skip(Sequential(*body), scale=_INITIAL_DILATION)] if dilated else body

    def downsample(in_channels: int) -> list[Layer]:
        return conv(in_channels, 192, 3, stride=2) if strided else [*conv(in_channels, 192, 3), MeanPool2D(2)]

    return Sequential(
        *conv(3, 96, 3),
        *shortcut(conv(96, 96, 3)),
        *downsample(96),
        *conv(192, 192, 3),
        *shortcut(conv(192, 192, 3)),
        *downsample(192),
        *conv(192, 192, 3),
        *shortcut(conv(192, 192, 1)),
        *conv(192, 10, 1),
        GlobalAveragePool2D(),
    )
