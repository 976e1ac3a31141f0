"""What NumPy says of overflows and invalid operations inside the library."""

import contextvars
import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np

_DEFAULT = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}  # NumPy starts with this
_SILENT = dict.fromkeys(_DEFAULT, "ignore")

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def quiet(**kinds: Any) -> np.errstate:
    """Return a context without NumPy's warnings of overflow, division by zero and invalid operations.

    A number that is not finite shows in the result, and a warning would name a line of the library that is not at
    fault. Only the default, "warn", is silenced: a caller's ``numpy.errstate(all="raise")`` holds.

    Parameters
    ----------
    **kinds : object
        What `numpy.errstate` shall do instead, by the kind of error.

    Returns
    -------
    context manager
        The context.

    Examples
    --------
    >>> with quiet():
    ...     np.ones(1) / np.zeros(1)
    array([inf])
    """
    now = np.geterr()
    silenced: dict[str, Any] = {
        kind: "ignore" for kind, reaction in now.items() if reaction == "warn" and kind != "under"
    }
    return np.errstate(**silenced | kinds)


def quietly(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Return a function that runs in `quiet`.

    It runs in a copy of the thread's context. Before Python 3.12 a garbage collection can start a destructor while a
    context variable is being set. If the destructor sets one of the same context, the interpreter crashes. NumPy keeps
    `numpy.errstate` in a context variable, so a prediction in a destructor must not set it in the interrupted context.
    """
    # As a decorator np.errstate takes less than half the time that it takes as a context. It keeps what it has found at
    # its first call, so it serves the default alone.
    silent = np.errstate(over="ignore", invalid="ignore", divide="ignore")(function)

    def in_quiet(*args: Arguments.args, **options: Arguments.kwargs) -> Result:
        with quiet():
            return function(*args, **options)

    @functools.wraps(function)
    def call(*args: Arguments.args, **options: Arguments.kwargs) -> Result:
        now = np.geterr()
        if now == _SILENT:
            return function(*args, **options)
        return contextvars.copy_context().run(silent if now == _DEFAULT else in_quiet, *args, **options)

    return call
