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
        changes = [(target, self.check(self.name, wanted)) for target, wanted in self._targets(instance, value)]
        # All values are checked before any is stored, so that a refusal changes nothing.
        for target, checked in changes:
            target.before_setting(self.name, checked)
        for target, checked in changes:
            vars(target)[self.name] = checked
            if target.groups == [target]:
                target.after_setting(self.name)
        if instance._whole is not None:
            instance._own[self.name] = value

    def _targets(self, instance: Any, value: Any) -> list[tuple[Any, Any]]:
        """Return pairs of an optimizer and its new value: the instance, and its groups without a value of their own.

        A group takes a value of its own when the optimizer is made, and keeps it from then on.
        """
        targets = [(instance, value)]
        for group in instance._inner:
            if self.name not in group._own:
                targets.append((group, value))
            elif self.name not in vars(group):
                targets.append((group, group._own[self.name]))
        return targets
