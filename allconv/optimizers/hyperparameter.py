"""Hyperparameters that are checked whenever they are assigned, against their own rule and against each other."""

from collections.abc import Callable
from typing import Any, TypeVar

from allconv.validation import Checked, describe

T = TypeVar("T")


class Hyperparameter(Checked[T]):
    """A setting of an optimizer, which counts from the next step on when it is assigned.

    Parameters
    ----------
    check : callable
        The function ``check(name, value)``, which returns the value to store, or raises.
    fixed : str, optional
        The reason why the setting cannot change once the optimizer is made. By default it can.

    Examples
    --------
    >>> from allconv.optimizers.sgd import SGD
    >>> from allconv.parameter import Parameter
    >>> optimizer = SGD([Parameter(np.zeros(1))], 0.1, momentum=0.9)
    >>> optimizer.momentum = 1.5
    Traceback (most recent call last):
    ValueError: momentum must be a number in [0, 1), got 1.5
    """

    def __init__(self, check: Callable[[str, Any], T], *, fixed: str = "") -> None:
        super().__init__(check)
        self.fixed = fixed

    def __set__(self, instance: Any, value: Any) -> None:
        if self.fixed and self.name in vars(instance):
            raise AttributeError(f"{self.name} must stay as it was made, got {describe(value)}: {self.fixed}")
        value = self.check(self.name, value)
        instance.before_setting(self.name, value)
        vars(instance)[self.name] = value
