"""Softmax and its logarithm as layers."""

from allconv.functional.softmax import log_softmax, log_softmax_input_grad, softmax, softmax_input_grad
from allconv.layers.base import Layer
from allconv.layers.precision import for_sums
from allconv.layers.shapes import check_shape
from allconv.typing import Array, Cache
from allconv.validation import check_batch, check_gradient, describe, is_int


class _AlongAxis(Layer):
    """A layer whose output has the shape of its input, and whose values are normalized along one axis."""

    def __init__(self, axis: int = -1) -> None:
        if not is_int(axis):
            raise TypeError(f"axis must be an int, got {describe(axis)}")
        self.axis = int(axis)

    def _checked(self, x: object) -> Array:
        array = check_batch("x", x)
        if not -array.ndim <= self.axis < array.ndim:
            raise ValueError(f"x must have an axis {self.axis}, got {describe(array)}")
        return array

    def output_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the input, which must have the axis."""
        shape = check_shape(in_shape)
        axes = 1 + len(shape)
        if not -axes <= self.axis < axes:
            raise ValueError(f"in_shape must have an axis {self.axis}, counted with the batch axis, got {shape}")
        return shape

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'' if self.axis == -1 else f'axis={self.axis}'})"


class Softmax(_AlongAxis):
    r"""Softmax: turn scores into probabilities, which are positive and have the sum 1 along an axis.

    .. math:: y_k = \frac{e^{x_k}}{\sum_j e^{x_j}}

    A network that is trained with `SoftmaxCrossEntropy` ends without this layer, since the loss contains it.

    Parameters
    ----------
    axis : int, default -1
        The axis of the classes, counted with the batch axis. The default is the last axis.

    Raises
    ------
    TypeError, ValueError
        If `axis` is not an int; from `forward`, if x is not floating, holds no example or lacks that axis; from
        `backward`, if dy has another shape than y.

    Notes
    -----
    Input and output have the same shape, ``(N, ...)``. Bridle (1990), Probabilistic interpretation of
    feedforward classification network outputs. Goodfellow et al. (2016), Deep learning, section 6.2.2.3.

    Examples
    --------
    >>> Softmax()(np.array([[0.0, np.log(3.0)]]))
    array([[0.25, 0.75]])
    """

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:  # noqa: ARG002
        """Return y for x of shape ``(N, ...)``."""
        x = self._checked(x)
        y = softmax(for_sums(x), self.axis).astype(x.dtype, copy=False)
        return y, y

    def backward(self, dy: Array, cache: Cache) -> Array:
        r"""Return dL/dx_k = y_k (dL/dy_k - sum_j dL/dy_j y_j): the output is all it needs."""
        y: Array = cache
        dy = check_gradient(dy, y)
        return softmax_input_grad(for_sums(dy), for_sums(y), self.axis).astype(y.dtype, copy=False)


class LogSoftmax(_AlongAxis):
    r"""Logarithm of the softmax, which stays finite where the softmax itself underflows to 0.

    .. math:: y_k = x_k - \log \sum_j e^{x_j}

    Parameters
    ----------
    axis : int, default -1
        The axis of the classes, counted with the batch axis. The default is the last axis.

    Raises
    ------
    TypeError, ValueError
        If `axis` is not an int; from `forward`, if x is not floating, holds no example or lacks that axis; from
        `backward`, if dy has another shape than y.

    Notes
    -----
    Input and output have the same shape, ``(N, ...)``. Goodfellow et al. (2016), Deep learning,
    section 6.2.2.3.

    Examples
    --------
    >>> LogSoftmax()(np.array([[0.0, 1000.0]]))
    array([[-1000.,     0.]])
    """

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:  # noqa: ARG002
        """Return y for x of shape ``(N, ...)``."""
        x = self._checked(x)
        y = log_softmax(for_sums(x), self.axis).astype(x.dtype, copy=False)
        return y, y

    def backward(self, dy: Array, cache: Cache) -> Array:
        r"""Return dL/dx_k = dL/dy_k - e^(y_k) sum_j dL/dy_j: the output is all it needs."""
        y: Array = cache
        dy = check_gradient(dy, y)
        return log_softmax_input_grad(for_sums(dy), for_sums(y), self.axis).astype(y.dtype, copy=False)
