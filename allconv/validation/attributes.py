"""Attributes that every assignment checks."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

T = TypeVar("T")


class Checked(Generic[T]):
    """An attribute that every assignment checks, so that it cannot become what the constructor would refuse.

    Parameters
    ----------
    check : callable
        The function ``check(name, value)``, which returns the value to store, or raises.

    Examples
    --------
    >>> from allconv.validation import check_positive
    >>> class Ball:
    ...     weight = Checked(check_positive)
    >>> ball = Ball(); ball.weight = 2
    >>> ball.weight
    2.0
    >>> ball.weight = -1
    Traceback (most recent call last):
    ValueError: weight must be a positive number, got -1
    """

    def __init__(self, check: Callable[[str, Any], T]) -> None:
        self.check = check

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    # Without a __get__, Python finds the value where __set__ puts it, and reading costs as little as for any attribute.
    if TYPE_CHECKING:

        @overload
        def __get__(self, instance: None, owner: type) -> Self: ...

        @overload
        def __get__(self, instance: object, owner: type) -> T: ...

        def __get__(self, instance: object | None, owner: type) -> Self | T: ...

    def __set__(self, instance: object, value: Any) -> None:
        vars(instance)[self.name] = self.check(self.name, value)
