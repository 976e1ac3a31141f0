"""Limits on gradients, applied between the backward pass and the optimizer's step."""

import math
import numbers
from collections.abc import Iterable

import numpy as np

from allconv.optimizers.checking import check_parameters, gradient_of, path_of
from allconv.parameter import Parameter
from allconv.typing import Array
from allconv.validation import check_positive

# The smallest sum of squares whose terms have all their digits in float64.
_SMALLEST_SQUARE = 1e-290


def clip_grad_norm(parameters: Iterable[Parameter], max_norm: float) -> float:
    r"""Scale all gradients together so that their joint Euclidean norm is at most `max_norm`.

    .. math:: g \leftarrow g \cdot \min\left(1, \frac{\text{max norm}}{\lVert g \rVert + 10^{-6}}\right)

    Parameters
    ----------
    parameters : iterable of Parameter
        The parameters whose gradients are clipped. Those that are not trainable are left out.
    max_norm : float
        The largest joint norm, above 0. ``math.inf`` measures the norm and changes nothing.

    Returns
    -------
    float
        The joint norm before clipping.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range, or the parameters are not distinct.
    RuntimeError
        If a trainable parameter has no gradient.
    FloatingPointError
        If a gradient is not finite; the message names the parameter, and nothing is changed.

    Notes
    -----
    Pascanu, Mikolov and Bengio (2013), On the difficulty of training recurrent neural networks, section 3.2. The
    number 1e-6 in the denominator is PyTorch's.

    Examples
    --------
    >>> p = Parameter(np.zeros(2)); p.add_grad(np.array([30.0, 40.0]))
    >>> clip_grad_norm([p], 5.0)
    50.0
    >>> p.grad.round(3)
    array([3., 4.])
    """
    parameters = check_parameters(parameters)
    if not (isinstance(max_norm, numbers.Real) and max_norm == math.inf):
        max_norm = check_positive("max_norm", max_norm)
    gradients = {index: gradient_of(p, index) for index, p in enumerate(parameters) if p.trainable}
    norms = {index: _norm(grad) for index, grad in gradients.items()}
    for index, part in norms.items():
        if not math.isfinite(part):
            raise FloatingPointError(
                f"gradients must be finite to be clipped by their norm, got a norm of {part} "
                f"for {path_of(parameters[index], index)}"
            )
    norm = math.hypot(*norms.values())
    scale = max_norm / (norm + 1e-6)
    if scale < 1:
        for index, grad in gradients.items():
            # A new array, since the caller may still own the old one. A tiny scale would be 0 in float32.
            parameters[index].grad = np.multiply(grad, scale, dtype=np.float64).astype(grad.dtype)
    return norm


def _norm(grad: Array) -> float:
    """Return the Euclidean norm of a gradient, which neither overflows nor underflows on the way.

    BLAS is not used, because its sums depend on its number of threads.
    """
    with np.errstate(over="ignore"):
        square = float(np.square(grad, dtype=np.float64).sum())
    if _SMALLEST_SQUARE <= square < math.inf:
        return math.sqrt(square)
    largest = float(np.abs(grad).max(initial=0.0))
    if largest == 0 or not math.isfinite(largest):
        return largest
    return largest * math.sqrt(float(np.square(grad / largest, dtype=np.float64).sum()))


def clip_grad_value(parameters: Iterable[Parameter], clip_value: float) -> None:
    """Limit every element of every gradient to [-clip_value, clip_value].

    Parameters
    ----------
    parameters : iterable of Parameter
        The parameters whose gradients are clipped. Those that are not trainable are left out.
    clip_value : float
        The largest absolute value of an element, above 0.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range, or the parameters are not distinct.
    RuntimeError
        If a trainable parameter has no gradient; nothing is changed then.

    Examples
    --------
    >>> p = Parameter(np.zeros(3)); p.add_grad(np.array([-30.0, 0.5, 40.0]))
    >>> clip_grad_value([p], 1.0); p.grad
    array([-1. ,  0.5,  1. ])
    """
    parameters = check_parameters(parameters)
    clip_value = check_positive("clip_value", clip_value)
    gradients = {index: gradient_of(p, index) for index, p in enumerate(parameters) if p.trainable}
    for index, grad in gradients.items():
        parameters[index].grad = np.clip(grad, -clip_value, clip_value)
