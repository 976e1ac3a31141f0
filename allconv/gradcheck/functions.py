"""A student's two functions: called with care, so that what goes wrong can be said in words; and as a layer."""

import linecache
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from allconv.gradcheck.mistakes import shown_name, wrong_shape
from allconv.gradcheck.reference import Reference
from allconv.layers.base import Layer
from allconv.parameter import Parameter
from allconv.typing import Array, Cache
from allconv.validation import describe

Function = Callable[..., Any]


class Functions(Layer):
    """Two functions as a layer, which has parameters of the names and values that are given.

    Parameters
    ----------
    forward : callable
        The function ``forward(x, *parameters) -> (y, cache)``.
    backward : callable
        The function ``backward(dy, cache) -> dx``, or ``-> (dx, *gradients)`` where there are parameters.
    values : mapping
        The value of each parameter by its name, in the order in which `forward` takes them.
    """

    def __init__(self, forward: Function, backward: Function, values: Mapping[str, Array]) -> None:
        self._functions = forward, backward
        self.names = tuple(values)
        for name, value in values.items():
            setattr(self, name, Parameter(value))

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:  # noqa: ARG002
        """Return what the student's function returns."""
        returned: tuple[Array, Cache] = self._functions[0](x, *(vars(self)[name].value for name in self.names))
        return returned

    def backward(self, dy: Array, cache: Cache) -> Array:
        """Return the student's dx, and add the other gradients to the parameters."""
        returned = self._functions[1](dy, cache)
        dx, *gradients = returned if isinstance(returned, tuple | list) else (returned,)
        for name, gradient in zip(self.names, gradients, strict=True):
            vars(self)[name].add_grad(gradient)
        return np.asarray(dx)


def call_once(forward: Function, backward: Function, reference: Reference) -> tuple[dict[str, Array], list[str]]:
    """Call both functions once, and return the arrays by their names, and what keeps them from being compared.

    Where the list has an entry, the arrays after the one at fault are missing.
    """
    names = list(reference.values)
    values = [value.copy() for value in reference.values.values()]
    form = f"forward({', '.join(['x', *names])})"
    try:
        returned = forward(reference.x.copy(), *values)
    except Exception as error:
        return {}, [_raised(form, error, forward)]
    if not isinstance(returned, tuple | list) or len(returned) != 2:
        return {}, [f"{form} must return the pair (y, cache), got {describe(returned)}."]
    y, cache = returned
    faults = _faults_of("forward", {"y": y}, reference)
    if faults:
        return {}, faults
    form = "backward(dy, cache)"
    try:
        returned = backward(reference.dy.copy(), cache)
    except Exception as error:
        return {"y": y}, [_raised(form, error, backward)]
    results = list(returned) if isinstance(returned, tuple | list) else [returned]
    wanted = ["dx", *(f"d{name}" for name in names)]
    if len(results) != len(wanted):
        return {"y": y}, [f"{form} must return {', '.join(wanted)}, got {describe(returned)}."]
    arrays = dict(zip(["dx", *names], results, strict=True))
    faults = _faults_of("backward", arrays, reference)
    return {name: np.asarray(array) for name, array in ({"y": y} | arrays).items()}, faults


def _faults_of(function: str, arrays: Mapping[str, Any], reference: Reference) -> list[str]:
    """Return what keeps the arrays that a function returned from being compared with the right ones."""
    faults = []
    for name, value in arrays.items():
        called = shown_name(name)
        if not isinstance(value, np.ndarray | np.floating) or value.dtype.kind != "f":
            faults.append(f"{called} must be an array of floating numbers, {function} returned {describe(value)}.")
        elif value.shape != reference.arrays[name].shape:
            faults.append(wrong_shape(name, np.asarray(value), reference))
        elif not np.isfinite(value).all():
            index = ", ".join(map(str, np.argwhere(~np.isfinite(value))[0]))
            count = np.count_nonzero(~np.isfinite(value))
            faults.append(f"{called} has numbers that are NaN or infinite, {count} of them, the first at [{index}].")
    return faults


def _raised(form: str, error: Exception, function: Function) -> str:
    """Say which error a function has raised, and in which of its lines."""
    file = getattr(getattr(function, "__code__", None), "co_filename", None)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    where = ""
    if frames and frames[-1].lineno is not None:
        line = linecache.getline(frames[-1].filename, frames[-1].lineno).strip()
        where = f", in line {frames[-1].lineno}" + (f": {line}" if line else "")
    return f"{form} raised {type(error).__name__}: {error}{where}"
