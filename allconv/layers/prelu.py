"""The rectified linear unit with a slope that is trained."""

import numpy as np
from numpy.typing import DTypeLike

from allconv.functional.masking import masked
from allconv.functional.rectify import negative_part, positive_part
from allconv.layers.base import Layer
from allconv.layers.shapes import check_channels, check_channels_shape, check_shape
from allconv.parallel.pool import elementwise
from allconv.parallel.reductions import column_sum
from allconv.parameter import Parameter
from allconv.typing import Array, Cache
from allconv.validation import check_batch, check_dtype, check_floating, check_gradient, check_real, check_size


class PReLU(Layer):
    r"""Parametric rectified linear unit: a rectifier whose slope for negative inputs is trained.

    .. math:: y_c = x_c \quad (x_c > 0), \qquad y_c = a_c x_c \quad (x_c \le 0)

    Parameters
    ----------
    channels : int, default 1
        The number of slopes: 1 for all channels together, or one for each channel, the last axis.
    initial : float, default 0.25
        The value that the slopes start at.
    dtype : float32 or float64, default float32
        The dtype of the slopes, and so of the computation.

    Attributes
    ----------
    weight : Parameter, shape (channels,)
        The slopes a. Weight decay does not apply to them, since it would turn the layer into a ReLU.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range; from `forward`, if x is not floating, holds no example or has another number
        of channels; from `backward`, if dy has another shape than y.

    Notes
    -----
    Input and output have the same shape, ``(N, ..., C)``. The derivative at the kink x = 0 is taken to be a.
    He et al. (2015), Delving deep into rectifiers, section 2.1, equations 1 to 3.

    Examples
    --------
    >>> PReLU(2, dtype=np.float64)(np.array([[-1.0, 2.0]]))
    array([[-0.25,  2.  ]])
    """

    def __init__(self, channels: int = 1, *, initial: float = 0.25, dtype: DTypeLike = np.float32) -> None:
        self.channels = check_size("channels", channels)
        self.initial = check_real("initial", initial)
        slopes = np.full(self.channels, self.initial)
        self.weight = Parameter(check_floating("initial", slopes, check_dtype("dtype", dtype)), decay=False)

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:  # noqa: ARG002
        """Return y for x of shape ``(N, ..., C)``."""
        a = self.weight.value
        x = check_batch("x", x, a.dtype) if self.channels == 1 else check_channels(x, self.channels, a.dtype)
        return elementwise(lambda x: positive_part(x) + a * negative_part(x), x), x

    def backward(self, dy: Array, cache: Cache) -> Array:
        r"""Return dL/dx = dL/dy where x > 0, a dL/dy elsewhere, and add dL/da.

        .. math:: da_c = \sum_{x_{m,c} \le 0} dy_{m,c}\, x_{m,c}

        The sum is over all positions m of all examples, and over all channels where they share one slope.
        """
        x: Array = cache
        dy = check_gradient(dy, x)
        a = self.weight.value
        if self.weight.trainable:
            products = elementwise(lambda dy, x: masked(dy * x, x <= 0), dy, x)
            sums = column_sum(products.reshape(-1, x.shape[-1]))
            self.weight.add_grad(sums.sum(keepdims=True) if self.channels == 1 else sums)

        def input_grad(dy: Array, x: Array) -> Array:
            positive = x > 0
            return masked(dy, positive) + masked(dy * a, ~positive)

        return elementwise(input_grad, dy, x)

    def output_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the input."""
        return check_shape(in_shape) if self.channels == 1 else check_channels_shape(in_shape, self.channels)

    def __repr__(self) -> str:
        options = [] if self.channels == 1 else [f"{self.channels}"]
        options += [] if self.initial == 0.25 else [f"initial={self.initial!r}"]
        options += [] if self.weight.value.dtype == np.float32 else [f"dtype=np.{self.weight.value.dtype}"]
        return f"PReLU({', '.join(options)})"
