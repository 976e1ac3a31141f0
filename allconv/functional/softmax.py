"""Softmax and its logarithm, stable for scores of any size."""

import numpy as np

from allconv.typing import Array


def softmax(x: Array, axis: int = -1) -> Array:
    """Return exp(x) / sum exp(x) along an axis.

    Parameters
    ----------
    x : array
        Scores; any shape, float32 or float64.
    axis : int, default -1
        Where the classes are.

    Returns
    -------
    array
        Of the shape and dtype of x; along the axis the sum is 1.

    Notes
    -----
    The maximum is subtracted first, so that exp cannot overflow: the quotient stays the same.

    Examples
    --------
    >>> softmax(np.array([0.0, np.log(3.0)]))
    array([0.25, 0.75])
    """
    exponentials = np.exp(x - x.max(axis, keepdims=True))
    y: Array = exponentials / _sum(exponentials, axis)
    return y


def softmax_input_grad(dy: Array, y: Array, axis: int = -1) -> Array:
    r"""Return the gradient for the scores, from the output.

    .. math:: dx_i = y_i \left( dy_i - \sum_j dy_j\, y_j \right)

    Parameters
    ----------
    dy : array
        dL/dy.
    y : array
        The output of `softmax`, of the shape of dy.
    axis : int, default -1
        Where the classes are.

    Returns
    -------
    array
        dL/dx, of the shape of dy.

    Examples
    --------
    >>> softmax_input_grad(np.array([1.0, 0.0]), np.array([0.25, 0.75]))
    array([ 0.1875, -0.1875])
    """
    dx: Array = y * (dy - _sum(dy * y, axis))
    return dx


def log_softmax(x: Array, axis: int = -1) -> Array:
    """Return x - log(sum exp(x)) along an axis.

    Parameters
    ----------
    x : array
        Scores; any shape, float32 or float64.
    axis : int, default -1
        Where the classes are.

    Returns
    -------
    array
        Of the shape and dtype of x: log-probabilities, at most 0.

    Notes
    -----
    log(softmax(x)) would be -inf where the probability is too small for the dtype; this form is exact there.

    Examples
    --------
    >>> log_softmax(np.array([0.0, -1000.0]))
    array([    0., -1000.])
    """
    shifted = x - x.max(axis, keepdims=True)
    y: Array = shifted - np.log(_sum(np.exp(shifted), axis))
    return y


def log_softmax_input_grad(dy: Array, y: Array, axis: int = -1) -> Array:
    r"""Return the gradient for the scores, from the output.

    .. math:: dx_i = dy_i - e^{y_i} \sum_j dy_j

    Parameters
    ----------
    dy : array
        dL/dy.
    y : array
        The output of `log_softmax`, of the shape of dy.
    axis : int, default -1
        Where the classes are.

    Returns
    -------
    array
        dL/dx, of the shape of dy.

    Examples
    --------
    >>> log_softmax_input_grad(np.array([1.0, 0.0]), np.log([0.25, 0.75]))
    array([ 0.75, -0.75])
    """
    dx: Array = dy - np.exp(y) * _sum(dy, axis)
    return dx


def _sum(x: Array, axis: int) -> Array:
    """Return the sum along an axis, which stays there with the length 1.

    NumPy's sums are pairwise only where the numbers lie one after another in memory. Others are made in float64, since
    float32 would lose digits.
    """
    if x.strides[axis] == x.itemsize:
        pairwise: Array = x.sum(axis, keepdims=True)
        return pairwise
    total: Array = x.sum(axis, keepdims=True, dtype=np.result_type(x.dtype, np.float64))
    return total.astype(x.dtype)
