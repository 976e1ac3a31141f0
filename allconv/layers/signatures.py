"""What a layer's two passes take and return, looked at once so that its author may write the shorter form."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any, Concatenate, TypeVar

from allconv.typing import Array, Cache
from allconv.validation import check_bool, describe, quietly

if TYPE_CHECKING:
    from allconv.layers.base import Layer

Result = TypeVar("Result")
BackwardMethod = Callable[Concatenate[Any, Array, Cache, ...], Result]


def accept_release(method: Callable[..., Result]) -> BackwardMethod[Result]:
    """Return a backward method that takes ``release=``, for one that may not.

    Most layers keep arrays in their cache and have nothing to free by hand. They define ``backward(self, dy, cache)``,
    and this function gives them the rest of the signature. The type it declares lets an override leave `release` out.

    Parameters
    ----------
    method : function
        ``method(layer, dy, cache)``, with or without ``release``.

    Returns
    -------
    function
        The method itself where it takes ``release``; otherwise one that ignores it.
    """
    if not isinstance(method, FunctionType):
        return method
    signature = inspect.signature(method)
    parameters = list(signature.parameters.values())
    if "release" in signature.parameters or any(p.kind is p.VAR_KEYWORD for p in parameters):
        return method

    @functools.wraps(method)
    def without_release(*arguments: Any, release: bool = False, **options: Any) -> Result:
        check_bool("release", release)
        result: Result = method(*arguments, **options)
        return result

    release = inspect.Parameter("release", inspect.Parameter.KEYWORD_ONLY, default=False)
    vars(without_release)["__signature__"] = signature.replace(parameters=[*parameters, release])
    return without_release


def let_backward_take_release(layer_class: type[Layer]) -> None:
    """Apply `accept_release` to the backward methods of a class, wherever it has them from."""
    for name in ("backward", "backward_parameters"):
        method = inspect.getattr_static(layer_class, name)
        accepting = accept_release(method)
        if accepting is not method:
            setattr(layer_class, name, accepting)


_NEVER_WARN = {"Flatten", "MaxPool2D", "ReLU", "ZeroPad2D"}  # they move and compare numbers only
_PASSES = {"forward", "backward", "backward_parameters", "forward_with", "backward_with"}


def quiet_passes(layer_class: type[Layer]) -> None:
    """Keep NumPy's default warnings out of the passes that a class of the library defines, unless it holds layers."""
    own = layer_class.__module__.startswith("allconv.") and layer_class.__name__ not in _NEVER_WARN
    if own and "children" not in vars(layer_class):
        for name in vars(layer_class).keys() & _PASSES:
            setattr(layer_class, name, quietly(vars(layer_class)[name]))


def output_and_cache(layer: Layer, returned: Any) -> tuple[Array, Cache]:
    """Return what `forward` of `layer` has returned, a pair.

    An array unpacks into its rows. A forward pass that forgets the cache would therefore go on with the wrong output.

    Parameters
    ----------
    layer : Layer
        The layer, for the message.
    returned : object
        What its `forward` has returned.

    Raises
    ------
    TypeError
        If `returned` is not a pair.
    """
    if isinstance(returned, tuple | list) and len(returned) == 2:
        y, cache = returned
        return y, cache
    raise TypeError(f"forward must return (y, cache), got {describe(returned)} from {type(layer).__name__}")
