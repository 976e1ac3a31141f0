"""Layer normalization."""

import numpy as np
from numpy.typing import DTypeLike

from allconv.functional.standardize import standardize, standardize_input_grad
from allconv.layers.base import Layer
from allconv.layers.batchnorm import check_eps
from allconv.layers.shapes import check_channels, check_channels_shape
from allconv.parallel.reductions import column_sum
from allconv.parameter import Parameter
from allconv.typing import Array, Cache
from allconv.validation import check_dtype, check_gradient, check_size


class LayerNorm(Layer):
    r"""Layer normalization: bring the channels at each position to mean 0 and variance 1, then scale and shift them.

    .. math:: y_c = \gamma_c\, \hat x_c + \beta_c, \qquad \hat x_c = \frac{x_c - \mu}{\sqrt{\sigma^2 + \varepsilon}},
        \qquad \mu = \frac1C \sum_c x_c, \qquad \sigma^2 = \frac1C \sum_c (x_c - \mu)^2

    No example sees another, so training and inference do the same.

    Parameters
    ----------
    channels : int
        The number of channels C, which is the length of the last axis.
    eps : float, default 1e-5
        The positive number :math:`\varepsilon` that is added to the variance.
    dtype : float32 or float64, default float32
        The dtype of the parameters, and so of the computation.

    Attributes
    ----------
    weight, bias : Parameter, shape (C,)
        The scale gamma, which starts at 1, and the shift beta, which starts at 0.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range; from `forward`, if x is not floating or not (N, ..., C); from `backward`, if
        dy has another shape than y.

    Notes
    -----
    Input and output have the same shape, ``(N, ..., C)``. `GroupNorm` with one group normalizes all positions of an
    image together. Ba et al. (2016), Layer normalization, equations 3 and 4.

    Examples
    --------
    >>> LayerNorm(2, dtype=np.float64)(np.array([[1.0, 3.0], [20.0, 10.0]])).round(3)
    array([[-1.,  1.],
           [ 1., -1.]])
    """

    def __init__(self, channels: int, *, eps: float = 1e-5, dtype: DTypeLike = np.float32) -> None:
        self.channels = check_size("channels", channels)
        kind = check_dtype("dtype", dtype)
        self.eps = check_eps(eps, kind)
        self.weight = Parameter(np.ones(self.channels, kind))
        self.bias = Parameter(np.zeros(self.channels, kind))

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:  # noqa: ARG002
        """Return y for x of shape ``(N, ..., C)``."""
        x = check_channels(x, self.channels, self.weight.value.dtype)
        x_hat, inv_std = standardize(x, -1, self.eps)
        return x_hat * self.weight.value + self.bias.value, (x_hat, inv_std)

    def backward(self, dy: Array, cache: Cache) -> Array:
        r"""Return dL/dx, and add dL/dgamma and dL/dbeta, summed over all positions m of all examples.

        .. math::

            d\gamma_c &= \sum_m dy_{m,c}\, \hat x_{m,c}, \qquad d\beta_c = \sum_m dy_{m,c}, \qquad
                d\hat x_{m,c} = \gamma_c\, dy_{m,c} \\
            dx_{m,c} &= \frac{1}{\sqrt{\sigma_m^2 + \varepsilon}} \left(d\hat x_{m,c}
                - \frac1C \sum_k d\hat x_{m,k} - \hat x_{m,c}\, \frac1C \sum_k d\hat x_{m,k}\, \hat x_{m,k}\right)
        """
        x_hat, inv_std = cache
        dy = check_gradient(dy, x_hat)
        if self.weight.trainable:
            self.weight.add_grad(column_sum((dy * x_hat).reshape(-1, self.channels)))
        if self.bias.trainable:
            self.bias.add_grad(column_sum(dy.reshape(-1, self.channels)))
        return standardize_input_grad(dy * self.weight.value, x_hat, inv_std, -1)

    def output_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the input, (..., C)."""
        return check_channels_shape(in_shape, self.channels)

    def __repr__(self) -> str:
        text = f"{self.channels}" + ("" if self.eps == 1e-5 else f", eps={self.eps!r}")
        text += "" if self.weight.value.dtype == np.float32 else f", dtype=np.{self.weight.value.dtype}"
        return f"LayerNorm({text})"
