"""Name the first value that is not finite: its layer, its pass."""

from contextlib import AbstractContextManager

import numpy as np

from allconv.layers.base import Layer
from allconv.layers.intercept import Call
from allconv.layers.observe import observe
from allconv.typing import Array, Cache


class NonFiniteError(FloatingPointError):
    """A NaN or an infinity in training; the message names the layer and the pass."""


def check_finite_array(what: str, array: Array | float) -> None:
    """Raise NonFiniteError unless every value of an array is finite.

    Parameters
    ----------
    what : str
        The name of the array in the message.
    array : array or float
        The values.
    """
    if not np.all(np.isfinite(array)):
        bad = np.count_nonzero(~np.isfinite(array))
        raise NonFiniteError(f"{what} must be finite, got {bad} of {np.size(array)} values NaN or infinite")


def checked_layers(model: Layer, where: str) -> AbstractContextManager[None]:
    """Return a context in which each layer's output and dL/dx are checked.

    Parameters
    ----------
    model : Layer
        All its layers are checked. The innermost one is checked first, so the error names the layer in which the value
        arose.
    where : str
        The place in training, for the message.

    Raises
    ------
    NonFiniteError
        In the block, by the first layer whose output or dL/dx has a NaN or an infinity.
    """

    def forward(call: Call, x: Array) -> tuple[Array, Cache]:
        y, cache = call(x)
        check(call, "forward pass", "the output", y)
        return y, cache

    def backward(call: Call, dy: Array, cache: Cache) -> Array | None:
        dx: Array | None = call(dy, cache)
        if dx is not None:  # None where only the parameters' gradients were asked for
            check(call, "backward pass", "the gradient", dx)
        return dx

    def check(call: Call, direction: str, what: str, array: Array) -> None:
        if not np.all(np.isfinite(array)):
            name = f"layer {call.path or '(the model)'}: {call.layer!r}"
            check_finite_array(f"{name}, {direction}, {where}: {what}", array)

    return observe(model, forward=forward, backward=backward)
