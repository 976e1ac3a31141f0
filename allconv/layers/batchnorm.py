"""Batch normalization."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from allconv.layers.joining import Finishing, Overwriting
from allconv.layers.shapes import check_image_shape, check_shape
from allconv.parallel.buffers import empty
from allconv.parallel.process_group import sum_over_batch
from allconv.parallel.reductions import (
    SUM_ELEMENTS,
    added,
    group_mean_and_variance,
    long_rows,
    map_slices,
    repeated,
    slice_sum,
)
from allconv.parameter import Parameter
from allconv.typing import Array, Cache
from allconv.validation import (
    check_batch,
    check_bool,
    check_dtype,
    check_gradient_shape,
    check_images,
    check_positive,
    check_real,
    check_size,
    describe,
)


# Longer than 150 lines because its docstrings hold the contract and the equations; the code is short.
class BatchNorm(Finishing):
    r"""Batch normalization: bring each channel to mean 0 and variance 1 over the batch, then scale and shift it.

    .. math:: y = \gamma\, \hat x + \beta, \qquad \hat x = \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}}

    In training, the mean and the biased variance are taken over the M values that the channel has in the batch:

    .. math:: \mu_c = \frac1M \sum_m x_{m,c}, \qquad \sigma_c^2 = \frac1M \sum_m (x_{m,c} - \mu_c)^2

    M is N for rows, and N H W for images. Training also moves the running statistics towards the batch's mean and its
    unbiased variance, as PyTorch does. Inference uses the running statistics in place of the batch's. Where several
    processes share a batch (`allconv.distributed`), the mean and the variance are taken over the whole batch.

    Parameters
    ----------
    channels : int
        The number of channels C, which is the length of the last axis.
    eps : float, default 1e-5
        The positive number :math:`\varepsilon` that is added to the variance.
    momentum : float, default 0.1
        The weight in [0, 1] of the new value: running <- (1 - momentum) running + momentum new.
    frozen : bool, default False
        Whether training uses the running statistics too, and leaves them unchanged. That is how a pretrained layer
        stays what it was while the rest trains, and how a batch of one value per channel can train. gamma and beta
        are still trained, unless ``trainable = False`` says otherwise.
    dtype : float32 or float64, default float32
        The dtype of the parameters, and so of the computation.

    Attributes
    ----------
    weight, bias : Parameter, shape (C,)
        The scale gamma, which starts at 1, and the shift beta, which starts at 0.
    running_mean, running_var : Parameter, shape (C,)
        The running mean, which starts at 0, and the running variance, which starts at 1. Neither is trainable. A
        variance that does not fit into the dtype counts as the largest number that does.
    frozen : bool
        The argument `frozen`, which may be assigned at any time. Checkpoints do not save it.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range; from `forward`, if x is neither (N, C) nor (N, H, W, C), or holds a single
        value per channel in training and is not frozen; from `backward`, if dy has another shape than y.

    Notes
    -----
    Input and output have the same shape, ``(N, C)`` or ``(N, H, W, C)``. Ioffe and Szegedy (2015), Batch
    normalization, algorithms 1 and 2.

    Examples
    --------
    >>> y, cache = BatchNorm(1, dtype=np.float64).forward(np.array([[1.0], [3.0]]), training=True)
    >>> y.round(3)
    array([[-1.],
           [ 1.]])
    """

    def __init__(
        self,
        channels: int,
        *,
        eps: float = 1e-5,
        momentum: float = 0.1,
        frozen: bool = False,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.channels = check_size("channels", channels)
        self.momentum = check_real("momentum", momentum, minimum=0.0, maximum=1.0)
        self.frozen = frozen
        kind = check_dtype("dtype", dtype)
        self.eps = check_eps(eps, kind)
        self.weight = Parameter(np.ones(self.channels, kind))
        self.bias = Parameter(np.zeros(self.channels, kind))
        self.running_mean = Parameter(np.zeros(self.channels, kind), trainable=False)
        self.running_var = Parameter(np.ones(self.channels, kind), trainable=False)

    @property
    def frozen(self) -> bool:
        """Whether training uses the running statistics too, and leaves them unchanged."""
        return self._frozen

    @frozen.setter
    def frozen(self, value: bool) -> None:
        self._frozen = check_bool("frozen", value)

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:
        """Return y for x of shape ``(N, C)`` or ``(N, H, W, C)``; training moves the running statistics."""
        return self._normalize(x, training)

    def forward_with(self, x: Array, activation: Overwriting, *, training: bool = False) -> tuple[Array, Cache]:
        """Return the activation of the normalized x; training moves the running statistics."""
        return self._normalize(x, training, activation)

    def _normalize(self, x: Array, training: bool, activation: Overwriting | None = None) -> tuple[Array, Cache]:
        x, training = self._check_input(x), check_bool("training", training)
        rows = np.ascontiguousarray(x).reshape(-1, self.channels)
        M = 0
        if training and not self.frozen:
            mean, var, M = group_mean_and_variance(rows)
            if M == 1:
                raise ValueError(f"x must hold more than one value per channel in training, got {describe(x)}")
            self.running_mean.value += self.momentum * (mean - self.running_mean.value)
            with np.errstate(over="ignore"):
                unbiased = var * (M / (M - 1))
            # An infinite running variance would stay infinite. The largest finite one is forgotten in later steps.
            unbiased = np.minimum(unbiased, np.finfo(rows.dtype).max)
            self.running_var.value += self.momentum * (unbiased - self.running_var.value)
        else:
            mean, var = self.running_mean.value.copy(), self.running_var.value
        inv_std = (1 / np.sqrt(var + self.eps)).astype(rows.dtype, copy=False)
        rows = long_rows(rows)
        scale, bias, center = repeated(rows, self.weight.value * inv_std, self.bias.value, mean)
        y = empty(rows.shape, rows.dtype)

        def normalize(part: slice) -> None:
            out = y[part]
            np.subtract(rows[part], center, out=out)
            out *= scale
            out += bias
            if activation is not None:
                activation.write(out, out)

        map_slices(normalize, rows)
        return y.reshape(x.shape), (rows, x.shape, mean, inv_std, M)

    def backward(self, dy: Array, cache: Cache) -> Array:
        r"""Return dL/dx, and add dL/dgamma and dL/dbeta.

        .. math::

            d\gamma_c &= \sum_m dy_{m,c}\, \hat x_{m,c}, \qquad d\beta_c = \sum_m dy_{m,c} \\
            dx_{m,c} &= \frac{\gamma_c}{\sqrt{\sigma_c^2 + \varepsilon}}
                \left(dy_{m,c} - \frac{d\beta_c}{M} - \hat x_{m,c} \frac{d\gamma_c}{M}\right)

        The two subtracted terms are the gradient through the mean and the variance. In a frozen layer and at
        inference both are constants, and the terms are absent. Where several processes share the batch, the sums in dx
        run over the whole batch. gamma and beta get the sums over the rows of this process alone, as every parameter
        does.
        """
        x, shape, mean, inv_std, M = cache  # M counts the rows of the whole batch; 0: fixed statistics.
        of_batch = M > 0
        dy = np.ascontiguousarray(check_gradient_shape(dy, shape, x.dtype)).reshape(x.shape)

        def sums(part: slice) -> Array:
            products = x[part] - center
            products *= dy[part]
            return np.stack([slice_sum(values.reshape(-1, self.channels)) for values in (products, dy[part])])

        (center,) = repeated(x, mean)
        if of_batch or self.weight.trainable or self.bias.trainable:
            own = added(map_slices(sums, x, SUM_ELEMENTS))
            own[0] *= inv_std
            d_weight, d_bias = own
        if self.weight.trainable:
            self.weight.add_grad(d_weight.astype(x.dtype, copy=False))
        if self.bias.trainable:
            self.bias.add_grad(d_bias.astype(x.dtype, copy=False))

        if of_batch:
            d_weight, d_bias = sum_over_batch(own)
            shift, slope = repeated(x, d_bias / M, inv_std * d_weight / M)
        (scale,) = repeated(x, self.weight.value * inv_std)
        dx = empty(x.shape, x.dtype)

        def input_grad(part: slice) -> None:
            out = dx[part]
            if of_batch:
                np.subtract(x[part], center, out=out)
                out *= slope
                np.subtract(dy[part], out, out=out)
                out -= shift
                out *= scale
            else:
                np.multiply(dy[part], scale, out=out)

        map_slices(input_grad, x)
        return dx.reshape(shape)

    def _check_input(self, x: Array) -> Array:
        x = check_batch("x", x, self.weight.value.dtype)
        if x.ndim == 4:
            return check_images("x", x, channels=self.channels)
        if x.ndim != 2 or x.shape[1] != self.channels:
            raise ValueError(f"x must have shape (N, {self.channels}) or (N, H, W, {self.channels}), got {describe(x)}")
        return x

    def output_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the input, (C,) or (H, W, C)."""
        shape = check_shape(in_shape)
        if len(shape) > 2:
            return check_image_shape(shape, self.channels)
        if shape != (self.channels,):
            C = self.channels
            raise ValueError(f"in_shape must be ({C},) or (H, W, {C}), got {shape}")
        return shape

    def __repr__(self) -> str:
        text = f"{self.channels}"
        text += "" if self.eps == 1e-5 else f", eps={self.eps!r}"
        text += "" if self.momentum == 0.1 else f", momentum={self.momentum!r}"
        text += ", frozen=True" if self.frozen else ""
        text += "" if self.weight.value.dtype == np.float32 else f", dtype=np.{self.weight.value.dtype}"
        return f"BatchNorm({text})"


def check_eps(eps: object, dtype: np.dtype[Any]) -> float:
    """Return eps, which must not vanish in the dtype of the computation: a constant channel would become NaN."""
    value, smallest = check_positive("eps", eps), float(np.finfo(dtype).tiny)
    if value < smallest:
        raise ValueError(f"eps must be at least {smallest:.3g}, the smallest normal {dtype}, got {describe(eps)}")
    return value
