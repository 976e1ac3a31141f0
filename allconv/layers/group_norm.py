"""Group normalization."""

import numpy as np
from numpy.typing import DTypeLike

from allconv.functional.standardize import standardize, standardize_input_grad
from allconv.layers.base import Layer
from allconv.layers.batchnorm import check_eps
from allconv.layers.shapes import check_channels, check_channels_shape
from allconv.parallel.reductions import column_sum
from allconv.parameter import Parameter
from allconv.typing import Array, Cache
from allconv.validation import check_dtype, check_gradient_shape, check_int, check_size


class GroupNorm(Layer):
    r"""Group normalization: bring groups of channels of each example to mean 0 and variance 1, then scale and shift.

    .. math:: y_{p,c} = \gamma_c\, \hat x_{p,c} + \beta_c, \qquad
        \hat x_{p,c} = \frac{x_{p,c} - \mu_g}{\sqrt{\sigma_g^2 + \varepsilon}}

    The mean and the biased variance are those of one example: over all positions p, and over the C / G neighbouring
    channels of the group g that c belongs to. No example sees another, so training and inference do the same.

    Parameters
    ----------
    groups : int
        The number of groups G, which divides the channels. 1 normalizes an example as a whole, and `channels` each
        channel alone, as instance normalization does.
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
    Input and output have the same shape, ``(N, ..., C)``. Wu and He (2018), Group normalization,
    section 3.1, equations 1, 2, 6 and 7.

    Examples
    --------
    >>> GroupNorm(2, 4, dtype=np.float64)(np.array([[1.0, 3.0, 20.0, 10.0]])).round(3)
    array([[-1.,  1.,  1., -1.]])
    """

    def __init__(self, groups: int, channels: int, *, eps: float = 1e-5, dtype: DTypeLike = np.float32) -> None:
        self.groups = check_int("groups", groups)
        self.channels = check_size("channels", channels)
        if channels % groups:
            raise ValueError(f"groups must divide channels, got {groups} for {channels}")
        kind = check_dtype("dtype", dtype)
        self.eps = check_eps(eps, kind)
        self.weight = Parameter(np.ones(self.channels, kind))
        self.bias = Parameter(np.zeros(self.channels, kind))

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:  # noqa: ARG002
        """Return y for x of shape ``(N, ..., C)``."""
        x = check_channels(x, self.channels, self.weight.value.dtype)
        x_hat, inv_std = standardize(self._grouped(x), (1, 3), self.eps)
        y = x_hat.reshape(x.shape) * self.weight.value + self.bias.value
        return y, (x_hat, inv_std, x.shape)

    def backward(self, dy: Array, cache: Cache) -> Array:
        r"""Return dL/dx, and add dL/dgamma and dL/dbeta, summed over all positions of all examples.

        .. math::

            d\gamma_c &= \sum_{n,p} dy_{n,p,c}\, \hat x_{n,p,c}, \qquad d\beta_c = \sum_{n,p} dy_{n,p,c}, \qquad
                d\hat x_{n,p,c} = \gamma_c\, dy_{n,p,c} \\
            dx_{n,p,c} &= \frac{1}{\sqrt{\sigma_{n,g}^2 + \varepsilon}} \left(d\hat x_{n,p,c}
                - \overline{d\hat x}_{n,g} - \hat x_{n,p,c}\; \overline{\hat x\, d\hat x}_{n,g}\right)

        The bars are means over the positions and the channels of a group.
        """
        x_hat, inv_std, shape = cache
        dy = check_gradient_shape(dy, shape, x_hat.dtype)
        if self.weight.trainable:
            self.weight.add_grad(column_sum((dy * x_hat.reshape(shape)).reshape(-1, self.channels)))
        if self.bias.trainable:
            self.bias.add_grad(column_sum(dy.reshape(-1, self.channels)))
        dx_hat = self._grouped(dy * self.weight.value)
        return standardize_input_grad(dx_hat, x_hat, inv_std, (1, 3)).reshape(shape)

    def _grouped(self, x: Array) -> Array:
        """Return x as (N, positions, groups, channels of a group)."""
        return x.reshape(len(x), -1, self.groups, self.channels // self.groups)

    def output_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the input, (..., C)."""
        return check_channels_shape(in_shape, self.channels)

    def __repr__(self) -> str:
        text = f"{self.groups}, {self.channels}" + ("" if self.eps == 1e-5 else f", eps={self.eps!r}")
        text += "" if self.weight.value.dtype == np.float32 else f", dtype=np.{self.weight.value.dtype}"
        return f"GroupNorm({text})"
