"""The fully connected layer."""

import numpy as np
from numpy.typing import DTypeLike

from allconv.functional import tuning
from allconv.functional.products import multiply
from allconv.initializers import he_normal
from allconv.layers.base import Layer
from allconv.layers.shapes import check_shape
from allconv.layers.weight import initial_weight
from allconv.parallel.blas import single_threaded_blas
from allconv.parallel.pool import run, slices
from allconv.parallel.reductions import column_sum
from allconv.parameter import Parameter
from allconv.typing import Array, Cache, Initializer
from allconv.validation import (
    check_batch,
    check_bool,
    check_dtype,
    check_generator,
    check_gradient_shape,
    check_int,
    describe,
)


class Linear(Layer):
    r"""Fully connected layer: every output is a weighted sum of all inputs, plus a bias.

    .. math:: y_{n,o} = b_o + \sum_i x_{n,i} W_{i,o}, \qquad Y = X W + b

    Parameters
    ----------
    in_features, out_features : int
        The lengths of an input row and of an output row.
    bias : bool, default True
        Whether the layer adds a bias b.
    initializer : callable, default he_normal
        The function ``(rng, shape, dtype) -> array`` that draws the weight; see `allconv.initializers`. The bias starts
        at zero.
    dtype : float32 or float64, default float32
        The dtype of the parameters, and so of the computation.
    rng : numpy.random.Generator, optional
        The generator that draws the weight. The default is a new, unseeded one.

    Attributes
    ----------
    weight : Parameter, shape (in_features, out_features)
        The matrix W.
    bias : Parameter, shape (out_features,), or None
        The bias b.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range; from `forward`, if x is not floating rows (N, in_features); from `backward`,
        if dy has another shape than y.

    Notes
    -----
    Input ``(N, in_features)``, output ``(N, out_features)``. Images go through `Flatten` first.
    Goodfellow et al. (2016), Deep learning, section 6.1.

    Examples
    --------
    >>> Linear(4, 2, rng=np.random.default_rng(0))(np.ones((5, 4), np.float32)).shape
    (5, 2)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        initializer: Initializer = he_normal,
        dtype: DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.in_features = check_int("in_features", in_features)
        self.out_features = check_int("out_features", out_features)
        kind = check_dtype("dtype", dtype)
        with_bias = check_bool("bias", bias)
        shape = (self.in_features, self.out_features)
        self.weight = Parameter(initial_weight(initializer, check_generator("rng", rng), shape, kind))
        self.bias = Parameter(np.zeros(self.out_features, kind)) if with_bias else None

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:  # noqa: ARG002
        """Return Y = X W + b for X of shape ``(N, in_features)``."""
        x = check_batch("x", x, self.weight.value.dtype)
        if x.ndim != 2 or x.shape[1] != self.in_features:
            hint = "; put a Flatten before it" if x.ndim > 2 else ""
            if x.ndim == 2:
                hint = f"; an example has {x.shape[1]} numbers, and the layer's in_features is {self.in_features}"
            if x.ndim == 1:
                hint = "; N single numbers are x[:, None]" if self.in_features == 1 else "; one example is x[None]"
            raise ValueError(f"x must have shape (N, {self.in_features}), got {describe(x)}{hint}")
        y = _matmul(x, self.weight.value)
        if self.bias is not None:
            y += self.bias.value
        return y, x

    def backward(self, dy: Array, cache: Cache) -> Array:
        r"""Return dL/dx, and add dL/dW and dL/db.

        .. math:: dX = dY\, W^\top, \qquad dW = X^\top dY, \qquad db = \sum_n dY_n
        """
        return _matmul(self._add_gradients(dy, cache), self.weight.value.T)

    def backward_parameters(self, dy: Array, cache: Cache) -> None:
        """Add dL/dW and dL/db alone."""
        self._add_gradients(dy, cache)

    def _add_gradients(self, dy: Array, x: Array) -> Array:
        """Add dL/dW and dL/db, and return dL/dy in the dtype of the layer."""
        dy = check_gradient_shape(dy, (len(x), self.out_features), x.dtype)
        if self.weight.trainable:
            self.weight.add_grad(_weight_grad(x, dy))
        if self.bias is not None and self.bias.trainable:
            self.bias.add_grad(column_sum(dy))
        return dy

    def output_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return (out_features,)."""
        shape = check_shape(in_shape)
        if shape != (self.in_features,):
            hint = "; put a Flatten before it" if len(shape) > 1 else ""
            if len(shape) == 2 and shape[1] == self.in_features:
                hint = f"; leave the batch axis out: {shape[1:]}"
            raise ValueError(f"in_shape must be ({self.in_features},), got {shape}{hint}")
        return (self.out_features,)

    def multiply_adds(self, in_shape: tuple[int, ...]) -> int:
        """Return in_features x out_features."""
        self.output_shape(in_shape)
        return self.weight.value.size

    def __repr__(self) -> str:
        return f"Linear({self.in_features}, {self.out_features}{'' if self.bias is not None else ', bias=False'})"


# The smallest product that is shared among threads, in multiply-adds (80 us). Handing a smaller one to other threads
# costs about as much time as it saves.
_SHARED = 1 << 22

# Bounds the rows of a piece of a smaller product from below, in rows. A batch of 32 is then two pieces.
LEAST_ROWS = 16

# The number of rows of one product of a weight gradient. BLAS adds blocks of a few hundred rows one after another in
# float32, and a product of so many rows keeps its error near 3e-6.
_GRADIENT_ROWS = 1 << 14
# The number of rows of such a product where the layer is narrow, all of which BLAS adds one after another. OpenBLAS
# does so with one input or one output, and on AVX-512 up to `tuning.PRODUCT.small` multiply-adds.
_NARROW_ROWS = 1 << 8


def _weight_grad(x: Array, dy: Array) -> Array:
    """Return X^T dY; the products of many rows are added in float64."""
    small = x.shape[1] * dy.shape[1] * _GRADIENT_ROWS <= tuning.PRODUCT.small
    rows = _NARROW_ROWS if small or 1 in (x.shape[1], dy.shape[1]) else _GRADIENT_ROWS
    if len(x) <= rows:
        return _matmul(x.T, dy)
    total = np.zeros((x.shape[1], dy.shape[1]))
    for part in slices(len(x), rows):
        total += _matmul(x[part].T, dy[part])
    return total.astype(x.dtype)


def _matmul(a: Array, b: Array) -> Array:
    """Return the matrix product of `a` and `b`; blocks of rows of a large `a` are shared among the threads."""
    work = len(a) * b.size
    if work < _SHARED:
        with single_threaded_blas():
            # OpenBLAS multiplies small matrices slowly where the second one is transposed.
            if work <= tuning.PRODUCT.small or not b.flags.c_contiguous:
                return a @ b
            whole = np.empty((len(a), b.shape[1]), a.dtype)
            multiply(a, b, whole, least_rows=max(LEAST_ROWS, len(a) // 4))
            return whole
    parts = slices(len(a), max(64, _SHARED // 4 * len(a) // work))
    out = np.empty((len(a), b.shape[1]), a.dtype)
    run(lambda k: np.matmul(a[parts[k]], b, out=out[parts[k]]), len(parts))
    return out
