"""Checks of numbers, flags, choices, paths and generators."""

import inspect
import math
import numbers
import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from allconv.typing import Pair
from allconv.validation.arrays import MOST_BYTES
from allconv.validation.describing import describe

T = TypeVar("T")


def is_int(value: object) -> bool:
    """Tell whether `value` is an integer; a bool does not count, although bool is a subclass of int."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool | np.bool_)


def check_int(name: str, value: object, *, minimum: int = 1, maximum: int | None = None) -> int:
    """Return an integer as an int.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    value : int
        The value to check; a bool counts as none.
    minimum : int, default 1
        The smallest value that is allowed.
    maximum : int, optional
        The largest value that is allowed. The default allows all.

    Returns
    -------
    int
        The value.

    Raises
    ------
    TypeError
        If `value` is no integer.
    ValueError
        If it is below `minimum`, or above `maximum`.

    Examples
    --------
    >>> check_int("stride", np.int64(2))
    2
    """
    if not is_int(minimum):
        raise TypeError(f"minimum must be an int, got {describe(minimum)}")
    if maximum is not None and not is_int(maximum):
        raise TypeError(f"maximum must be an int or None, got {describe(maximum)}")
    rule = {0: "a non-negative int", 1: "a positive int"}.get(minimum, f"an int of at least {minimum}")
    if not is_int(value):
        raise TypeError(f"{name} must be {rule}, got {describe(value)}")
    if value < minimum:  # type: ignore[operator]
        raise ValueError(f"{name} must be {rule}, got {describe(value)}")
    if maximum is not None and value > maximum:  # type: ignore[operator]
        raise ValueError(f"{name} must be at most {maximum:,}, got {describe(value)}")
    return int(value)  # type: ignore[call-overload, no-any-return]


def check_size(name: str, value: object) -> int:
    """Return a positive int that an axis can have as its length, far beyond what a memory holds."""
    return check_int(name, value, maximum=MOST_BYTES)


def check_pair(name: str, value: object, *, minimum: int = 1) -> Pair:
    """Return an int or a pair of ints as a pair (vertical, horizontal); each must be at least `minimum`, 0 or 1."""
    kind = "positive" if minimum == 1 else "non-negative"
    message = f"{name} must be a {kind} int or a pair of them, got {describe(value)}"
    pair = (value, value) if is_int(value) else value
    if not (isinstance(pair, tuple | list) and len(pair) == 2 and all(is_int(item) for item in pair)):
        raise (ValueError if isinstance(pair, tuple | list) and len(pair) != 2 else TypeError)(message)
    if min(pair) < minimum:
        raise ValueError(message)
    return int(pair[0]), int(pair[1])


def check_real(
    name: str,
    value: object,
    *,
    minimum: float = -math.inf,
    maximum: float = math.inf,
    open_below: bool = False,
    open_above: bool = False,
) -> float:
    """Return `value` as a finite float from `minimum` to `maximum`; an open end does not belong to the range."""
    rule = _interval(minimum, maximum, open_below, open_above)
    if not isinstance(value, numbers.Real) or isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be {rule}, got {describe(value)}")
    try:
        number = float(value)
    except OverflowError:  # An int or a fraction may be too large for a float, such as 10**400.
        number = math.inf
    low = number <= minimum if open_below else number < minimum
    high = number >= maximum if open_above else number > maximum
    if not math.isfinite(number) or low or high:
        raise ValueError(f"{name} must be {rule}, got {describe(value)}")
    return number


def _interval(minimum: float, maximum: float, open_below: bool, open_above: bool) -> str:
    """Return the words for the numbers that `check_real` accepts."""
    if (minimum, maximum) == (-math.inf, math.inf):
        return "a finite number"
    if maximum == math.inf and minimum == 0:
        return "a positive number" if open_below else "a non-negative number"
    left = "(" if open_below or minimum == -math.inf else "["
    right = ")" if open_above or maximum == math.inf else "]"
    return f"a number in {left}{minimum:g}, {maximum:g}{right}"


def check_positive(name: str, value: object) -> float:
    """Return `value` as a finite float above 0."""
    return check_real(name, value, minimum=0.0, open_below=True)


def check_non_negative(name: str, value: object) -> float:
    """Return `value` as a finite float of at least 0."""
    return check_real(name, value, minimum=0.0)


def check_fraction(name: str, value: object) -> float:
    """Return `value` as a float in [0, 1), such as a momentum, a decay or a dropout rate."""
    return check_real(name, value, minimum=0.0, maximum=1.0, open_above=True)


def check_bool(name: str, value: object) -> bool:
    """Return `value` as a bool; numbers do not count as bools."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {describe(value)}")
    return bool(value)


def check_choice(name: str, value: object, choices: Collection[str]) -> str:
    """Return `value`, which must be one of the strings `choices`."""
    if not isinstance(value, str) or value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise (ValueError if isinstance(value, str) else TypeError)(
            f"{name} must be one of {listed}, got {describe(value)}"
        )
    return value


def check_instance(name: str, value: object, kind: type[T]) -> T:
    """Return `value`, which must be an instance of the class `kind`."""
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise TypeError(f"{name} must be {article} {kind.__name__}, got {describe(value)}")
    return value


def check_callable(name: str, value: object, *, takes: str | None = None, optional: bool = False) -> None:
    """Check that `value` can be called, as a function can, with the arguments `takes`, or is None if `optional`.

    Where the arguments are known, a class counts as a mistake for one of its objects. Arguments in brackets, as in
    "x[, y]", may be given or not.
    """
    if value is None and optional:
        return
    if isinstance(value, type) and takes is not None:
        raise TypeError(f"{name} must be an object, such as {value.__name__}(), got the class {value.__name__}")
    if not callable(value):
        hint = f"; it has no names, pass the {name} itself" if isinstance(value, str) else ""
        raise TypeError(f"{name} must be callable{' or None' if optional else ''}, got {describe(value)}{hint}")
    if takes is not None:
        ways = [takes.partition("[")[0], takes.replace("[", "").replace("]", "")]
        if not any(can_take(value, len(way.split(", ")) if way else 0) for way in ways):
            raise TypeError(f"{name} must be callable as {name}({takes}), got {describe(value)}")


def can_take(function: Callable[..., object], count: int) -> bool:
    """Tell whether a function can be called with so many arguments; one that is written in C may keep it secret."""
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:
        return True
    return True


def value_and_gradient(result: Any) -> tuple[Any, Any]:
    """Return what a loss has returned, which must be a pair."""
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise TypeError(f"loss must return (value, gradient), got {describe(result)}")
    return result[0], result[1]


def items_of(value: Any) -> list[Any] | None:
    """Return what an iterable yields, or None for a value that is none, an array without axes included."""
    if isinstance(value, np.ndarray) and value.nbytes > MOST_BYTES:
        return None
    try:
        return list(value)
    except (TypeError, NotImplementedError):  # A memoryview of several axes raises the latter.
        return None


def members_of(value: Any) -> list[Any] | None:
    """Return the members of a sequence other than a str, or None for what is none."""
    return items_of(value) if isinstance(value, Sequence) and not isinstance(value, str) else None


def check_path(name: str, value: object) -> Path:
    """Return `value`, which must be a str or a path object, as a Path. An empty str is refused, not the folder "."."""
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"{name} must be a path, got {describe(value)}")
    try:
        encoded = os.fsencode(value)
    except (TypeError, ValueError):  # What __fspath__ returned is no text, or no file name can hold its characters.
        encoded = b"\0"
    if not encoded or b"\0" in encoded:
        raise ValueError(f"{name} must be a path that the file system can have, got {describe(value)}")
    return Path(os.fsdecode(value))


def check_generator(name: str, value: object) -> np.random.Generator:
    """Return `value`, which must be a Generator or None; None gives a new, unseeded Generator."""
    if value is None:
        return np.random.default_rng()
    if not isinstance(value, np.random.Generator):
        raise TypeError(f"{name} must be a numpy.random.Generator or None, got {describe(value)}")
    return value
