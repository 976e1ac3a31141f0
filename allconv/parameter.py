"""A trainable array and its gradient."""

import numpy as np

from allconv.typing import Array
from allconv.validation import check_bool, check_floating, describe


class Parameter:
    """An array that an optimizer updates, and the gradient of the loss with respect to it.

    Parameters
    ----------
    value : array of float32 or float64
        The initial value; copied.
    trainable : bool, default True
        Whether optimizers update it and layers compute a gradient for it.
    decay : bool, default True
        Whether weight decay applies to it.

    Attributes
    ----------
    value : array
        Assigning copies into the array that is there, so that every view of it stays valid.
    grad : array or None
        The gradient added since the last optimizer step.
    name : str
        The path in the model that last listed it (``3.body.0.weight``); "" before that.

    Examples
    --------
    >>> p = Parameter(np.zeros(2))
    >>> p.add_grad(np.ones(2)); p.add_grad(np.ones(2)); p.grad
    array([2., 2.])
    """

    def __init__(self, value: Array, *, trainable: bool = True, decay: bool = True) -> None:
        self._value = np.array(check_floating("value", value), order="C")
        self.trainable = check_bool("trainable", trainable)
        self.decay = check_bool("decay", decay)
        self.grad: Array | None = None
        self.name = ""

    @property
    def value(self) -> Array:
        """The array itself."""
        return self._value

    @value.setter
    def value(self, new: Array) -> None:
        array = check_floating("value", new)
        if array.shape != self._value.shape:
            raise ValueError(f"value must have shape {self._value.shape}, got {describe(array)}")
        self._value[...] = array

    def add_grad(self, grad: Array) -> None:
        """Set the gradient, or add to it if there is one; `grad` itself is never written to."""
        if grad.shape != self._value.shape:
            raise ValueError(f"grad must have shape {self._value.shape}, got {describe(grad)}")
        # A first gradient is kept without a copy: layers hand over an array of their own. A second one
        # makes a new array, so neither of the two is changed.
        self.grad = grad if self.grad is None else self.grad + grad

    def __repr__(self) -> str:
        flags = "" if self.trainable else ", trainable=False"
        flags += "" if self.decay else ", decay=False"
        return f"Parameter({self.name or 'unnamed'}, shape={self._value.shape}, dtype={self._value.dtype}{flags})"
