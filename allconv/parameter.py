"""A trainable array and its gradient."""

from typing import Any

import numpy as np

from allconv.typing import Array
from allconv.validation import Checked, check_bool, check_floating, describe


class Parameter:
    """An array that an optimizer updates, and the gradient of the loss with respect to it.

    Parameters
    ----------
    value : array of float32 or float64
        The initial value, of any shape. The parameter keeps a copy. The range of float16 is too small for training:
        squares of gradients leave it, and small steps round to zero.
    trainable : bool, default True
        Whether optimizers update the value and layers compute a gradient for it.
    decay : bool, default True
        Whether weight decay applies to the value.

    Attributes
    ----------
    value : array
        The value. An assignment copies the new numbers into the same array, so that every view of it stays valid.
    grad : array or None
        The sum of the gradients added since the last optimizer step, or None if there were none.
    name : str
        The path in the model that last listed the parameter, such as ``3.body.0.weight``, and "" before that.

    Raises
    ------
    TypeError
        If `value` is neither float32 nor float64; on assignment, if the new value is not floating; from both, if a flag
        is not a bool.
    ValueError
        On assignment, if the new value has another shape, or a number that the parameter's dtype can't hold.

    Examples
    --------
    >>> p = Parameter(np.zeros(2))
    >>> p.add_grad(np.ones(2)); p.add_grad(np.ones(2)); p.grad
    array([2., 2.])
    """

    trainable = Checked(check_bool)
    decay = Checked(check_bool)

    def __init__(self, value: Array, *, trainable: bool = True, decay: bool = True) -> None:
        array = check_floating("value", value)
        if array.dtype not in (np.float32, np.float64):
            raise TypeError(
                f"value must be float32 or float64 to be trained, got {describe(array)}; "
                "convert it first, e.g. value.astype(np.float32)"
            )
        self._value = np.array(array, order="C")
        self.trainable = trainable
        self.decay = decay
        self.grad: Array | None = None
        self.name = ""

    @property
    def value(self) -> Array:
        """The array of numbers itself, not a copy."""
        return self._value

    @value.setter
    def value(self, new: Array) -> None:
        array = check_floating("value", new, self._value.dtype)
        if array.shape != self._value.shape:
            raise ValueError(f"value must have shape {self._value.shape}, got {describe(array)}")
        self._value[...] = array

    def add_grad(self, grad: Array) -> None:
        """Set the gradient, or add to it if there is one.

        Parameters
        ----------
        grad : array of a floating dtype
            The gradient of the loss, in the shape of `value`. It is kept without a copy and never written to.

        Raises
        ------
        TypeError
            If `grad` is not floating.
        ValueError
            If `grad` has another shape than `value`.
        """
        grad = check_floating("grad", grad)
        if grad.shape != self._value.shape:
            raise ValueError(f"grad must have shape {self._value.shape}, got {describe(grad)}")
        # A first gradient is kept without a copy: layers hand over an array of their own. A second one
        # makes a new array, so neither of the two is changed.
        self.grad = grad if self.grad is None else self.grad + grad

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over what was pickled or copied, in arrays that can be written to.

        Some programs hand arrays to other processes read-only, as joblib does with large ones, which it maps into
        memory. An optimizer could not update such an array, so a read-only one is copied here.
        """
        vars(self).update(state)
        self._value = writable(self._value)
        if self.grad is not None:
            self.grad = writable(self.grad)

    def __repr__(self) -> str:
        flags = "" if self.trainable else ", trainable=False"
        flags += "" if self.decay else ", decay=False"
        return f"Parameter({self.name or 'unnamed'}, shape={self._value.shape}, dtype={self._value.dtype}{flags})"


def writable(array: Array) -> Array:
    """Return the array itself if it can be written to, or else a copy in the memory of this process."""
    return array if array.flags.writeable else np.array(array)
