"""The argument checks of the whole library, and the one form of their messages.

Every message names the argument, the rule, and the value received: ``stride must be a positive int or a pair of them,
got 0``. A value of the wrong type raises TypeError, and a value out of its range raises ValueError. The checks return
the value in the form that the caller works with, so that a constructor reads
``self.alpha = check_positive("alpha", alpha)``.
"""

import math
import numbers
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Generic, Self, TypeVar, overload

import numpy as np
from numpy.typing import DTypeLike

from allconv.typing import Array, Pair

T = TypeVar("T")


class Checked(Generic[T]):
    """An attribute that every assignment checks, so that it cannot become what the constructor would refuse.

    Parameters
    ----------
    check : callable
        The function ``check(name, value)``, which returns the value to store, or raises.

    Examples
    --------
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

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(self, instance: object, owner: type) -> T: ...

    def __get__(self, instance: object | None, owner: type) -> Self | T:
        if instance is None:
            return self
        if self.name not in vars(instance):
            raise AttributeError(f"{owner.__name__} has no {self.name} yet")
        value: T = vars(instance)[self.name]
        return value

    def __set__(self, instance: object, value: Any) -> None:
        vars(instance)[self.name] = self.check(self.name, value)


def describe(value: object) -> str:
    """Return a short description of `value`: shape and dtype of an array, the repr of anything else."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    try:
        text = repr(value)
    except Exception:  # Python refuses to print an int of more than 4300 digits, for example.
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= 80 else text[:77] + "..."


def is_int(value: object) -> bool:
    """Tell whether `value` is an integer; a bool does not count, although bool is a subclass of int."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool | np.bool_)


def check_int(name: str, value: object, *, minimum: int = 1) -> int:
    """Return `value` as an int, which must be at least `minimum`."""
    rule = {0: "a non-negative int", 1: "a positive int"}.get(minimum, f"an int of at least {minimum}")
    if not is_int(value):
        raise TypeError(f"{name} must be {rule}, got {describe(value)}")
    if value < minimum:  # type: ignore[operator]
        raise ValueError(f"{name} must be {rule}, got {describe(value)}")
    return int(value)  # type: ignore[call-overload, no-any-return]


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


def check_path(name: str, value: object) -> Path:
    """Return `value`, which must be a str or a path object, as a Path."""
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"{name} must be a path, got {describe(value)}")
    return Path(value)


def check_dtype(name: str, value: DTypeLike) -> np.dtype[Any]:
    """Return `value` as a dtype in native byte order; only float32 and float64 can hold parameters."""
    try:
        dtype = np.dtype(value)
    except TypeError:
        raise TypeError(f"{name} must be float32 or float64, got {describe(value)}") from None
    if value is None or dtype not in (np.float32, np.float64):
        raise TypeError(f"{name} must be float32 or float64, got {describe(value)}")
    return dtype.newbyteorder("=")


def check_generator(name: str, value: object) -> np.random.Generator:
    """Return `value`, which must be a Generator or None; None gives a new, unseeded Generator."""
    if value is None:
        return np.random.default_rng()
    if not isinstance(value, np.random.Generator):
        raise TypeError(f"{name} must be a numpy.random.Generator or None, got {describe(value)}")
    return value


def check_array(name: str, value: object) -> Array:
    """Return `value` as an array of whatever dtype.

    A value that NumPy can't turn into an array raises TypeError. Such are lists of unequal rows, and tensors that live
    on a GPU or record gradients. So do masked elements, whose mask would be lost.
    """
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise TypeError(f"{name} must be an array, or convert to one, got {describe(value)}: {error}") from error
    if isinstance(value, np.ndarray) and type(value) is not np.ndarray and np.ma.is_masked(value):
        raise TypeError(
            f"{name} must have no masked elements, got {describe(value)} with a mask; "
            f"give them a value first, e.g. {name}.filled(0)"
        )
    return array


def check_floating(name: str, value: object, dtype: DTypeLike | None = None) -> Array:
    """Return `value` as an array of a real floating dtype in native byte order, cast to `dtype` if there is one.

    Integers, bools and complex numbers raise TypeError, and the message says how to convert them. A finite number that
    is too large for `dtype` raises ValueError.
    """
    array = check_array(name, value)
    if array.dtype.kind != "f":
        raise TypeError(
            f"{name} must be an array of real floating dtype, got {describe(value)}; "
            f"convert it first, e.g. {name}.astype(np.float32)"
        )
    wanted = array.dtype.newbyteorder("=") if dtype is None else np.dtype(dtype)
    if array.dtype == wanted:
        return array
    try:
        # Infinity and NaN keep their value, so only a finite number can overflow.
        with np.errstate(over="raise", under="ignore"):
            return np.asarray(array, dtype=wanted)
    except FloatingPointError:
        largest = np.abs(array[np.isfinite(array)]).max()
        raise ValueError(
            f"{name} must hold numbers that fit into {wanted.name}, at most {np.finfo(wanted).max:.3g}, "
            f"got {describe(array)} with the number {largest:.3g}"
        ) from None


def check_batch(name: str, value: object, dtype: DTypeLike | None = None) -> Array:
    """Return `value` as `check_floating` does; the array must be a batch of at least one example, (N, ...)."""
    array = check_floating(name, value, dtype)
    if array.ndim == 0 or array.size == 0:
        raise ValueError(f"{name} must be a batch of at least one example, (N, ...), got {describe(array)}")
    return array


def check_images(name: str, value: object, dtype: DTypeLike | None = None, channels: int | None = None) -> Array:
    """Return `value` as `check_batch` does; its shape must be (N, H, W, C), with C = `channels` unless that is None."""
    array = check_batch(name, value, dtype)
    wanted = "(N, H, W, C)" if channels is None else f"(N, H, W, {channels})"
    if array.ndim != 4:
        raise ValueError(f"{name} must have shape {wanted}, got {describe(array)}")
    if channels is not None and array.shape[3] != channels:
        hint = ""
        if array.shape[1] == channels:
            hint = f"; this looks like NCHW: pass {name}.transpose(0, 2, 3, 1)"
        raise ValueError(f"{name} must have shape {wanted}, got {describe(array)}{hint}")
    return array


def check_gradient(dy: object, like: Array) -> Array:
    """Return the upstream gradient `dy` in the dtype of the output `like`; both must have the same shape."""
    return check_gradient_shape(dy, like.shape, like.dtype)


def check_gradient_shape(dy: object, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Return the upstream gradient `dy` in `dtype`; its shape must be `shape`, the shape of the layer's output."""
    array = check_floating("dy", dy, dtype)
    if array.shape != shape:
        raise ValueError(f"dy must have the shape of the layer's output, {shape}, got {describe(array)}")
    return array
