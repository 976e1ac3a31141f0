"""How calls of a layer reach its observers.

While a layer is observed, three functions stand among its instance's attributes, in front of the `forward`, `backward`
and `backward_parameters` of its class. They hand each call to the observers. Nothing stands there otherwise, so a layer
that nobody observes is called as Python calls any method.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from threading import get_ident
from types import MethodType
from typing import TYPE_CHECKING, Any

from allconv.layers.signatures import accept_release, output_and_cache

if TYPE_CHECKING:
    from allconv.layers.base import Layer

_METHODS = ("forward", "backward", "backward_parameters")


@dataclass(frozen=True)
class Call:
    """One call of a layer, on its way from the caller to the layer.

    An observer gets it as its first argument. To call it passes it on, to the observers that were there before and at
    last to the layer: ``y, cache = call(x)`` in a forward pass, ``dx = call(dy, cache)`` in a backward pass.

    Attributes
    ----------
    path : str
        The layer's path in the observed model: the first one, for a layer that stands in several places.
    layer : Layer
        The layer. Its own methods are not observed while this call lasts.
    method : {"forward", "backward", "backward_parameters"}
        The method that was called.
    training : bool
        The mode of a forward pass; False in a backward pass.
    """

    path: str
    layer: Layer
    method: str
    training: bool
    _pass_on: Callable[..., Any]

    def __call__(self, *arrays: Any) -> Any:
        """Return the result of the observers that were there before, or of the layer."""
        return self._pass_on(*arrays)


@dataclass(frozen=True, eq=False)
class Observer:
    """The functions that see the calls of one layer.

    Attributes
    ----------
    path : str
        The layer's path in the observed model.
    forward, backward : callable or None
        What sees the calls of `forward`, and of `backward` and `backward_parameters`.
    rule : str or None
        The name of the backward rule that `backward` follows, if it is one.
    """

    path: str
    forward: Callable[..., Any] | None
    backward: Callable[..., Any] | None
    rule: str | None


def attach(layer: Layer, observer: Observer) -> Callable[[], None]:
    """Make `observer` the first to see the calls of `layer`, and return the function that undoes it.

    With its last observer a layer gets back the attributes that it had before the first.
    """
    interception = _of(layer)
    if interception is None:
        interception = _Interception(layer)
        vars(layer).update({name: _Method(interception, name) for name in _METHODS})
    interception.observers.append(observer)
    return partial(interception.detach, observer)


def observe_alike(layer: Layer, like: Layer) -> None:
    """Let the observers of the layer `like` see the calls of `layer` too, for as long as `layer` exists.

    While `like` runs in this thread, its observers see none of its further calls, and so they see none of `layer`.
    """
    interception = _of(like)
    if interception is not None and not interception.is_running():
        for observer in tuple(interception.observers):
            attach(layer, observer)


def rules_in_force(model: Layer) -> dict[str, str]:
    """Return {path: name of the rule} for the layers of `model` whose backward follows a rule at this moment.

    A layer counts as following its own derivative again while its rule runs.
    """
    found = {}
    for path, layer in model.named_layers():
        interception = _of(layer)
        if interception is not None and not interception.is_running():
            names = [observer.rule for observer in interception.observers if observer.rule is not None]
            if names:
                found[path] = names[-1]
    return found


def unobserved_attributes(layer: Layer) -> dict[str, Any]:
    """Return the attributes of a layer's instance as they are when nobody observes it."""
    interception = _of(layer)
    if interception is None:
        return vars(layer)
    return {name: value for name, value in vars(layer).items() if name not in _METHODS} | interception.of_instance


@dataclass(frozen=True)
class _Method:
    """What stands in the place of a layer's method."""

    interception: _Interception
    name: str

    def __call__(self, *arrays: Any, **options: Any) -> Any:
        return self.interception.run(self.name, arrays, options)


def _of(layer: Layer) -> _Interception | None:
    method = vars(layer).get("forward")
    return method.interception if isinstance(method, _Method) else None


class _Interception:
    """The observers of one layer, the one attached last at the end, and the way from them to the layer.

    Attributes
    ----------
    of_instance : dict
        The methods that were attributes of the instance before, which a program had put there by hand.
    """

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.observers: list[Observer] = []
        self.of_instance = {name: vars(layer)[name] for name in _METHODS if name in vars(layer)}
        # By thread, for the time of an observed call: whether the call has arrived at the layer.
        self._arrived: dict[int, bool] = {}

    def detach(self, observer: Observer) -> None:
        """Remove an observer; with the last one, put the layer's attributes back."""
        self.observers.remove(observer)
        attributes = vars(self.layer)
        for name in _METHODS if not self.observers else ():
            if attributes.get(name) == _Method(self, name):  # a program may have put another there meanwhile
                del attributes[name]
                if name in self.of_instance:
                    attributes[name] = self.of_instance[name]

    def is_running(self) -> bool:
        """Tell whether this thread is inside an observed call of the layer."""
        return get_ident() in self._arrived

    def run(self, name: str, arrays: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Take a call of the layer's method `name` through the observers."""
        thread = get_ident()
        if thread in self._arrived:
            # The layer calls another of its methods, or an observer calls the layer: only the outermost call is seen.
            return self._own(name, of_class=not self._arrived[thread])(*arrays, **options)
        self._arrived[thread] = False
        try:
            return self._pass_on(tuple(self.observers), name, options, *arrays)
        finally:
            del self._arrived[thread]

    def _pass_on(self, observers: tuple[Observer, ...], name: str, options: dict[str, Any], *arrays: Any) -> Any:
        """Call the last of `observers` that has a function for `name`, or else the layer."""
        for k in reversed(range(len(observers))):
            function = observers[k].forward if name == "forward" else observers[k].backward
            if function is not None:
                pass_on = partial(self._pass_on, observers[:k], name, options)
                call = Call(observers[k].path, self.layer, name, options.get("training", False), pass_on)
                return function(call, *arrays)
        thread = get_ident()
        before = self._arrived.get(thread)  # None in a thread to which an observer has handed the call
        self._arrived[thread] = True
        try:
            result = self._own(name, of_class=False)(*arrays, **options)
        finally:
            del self._arrived[thread]
            if before is not None:
                self._arrived[thread] = before
        return output_and_cache(self.layer, result) if name == "forward" else result

    def _own(self, name: str, *, of_class: bool) -> Callable[..., Any]:
        """Return the layer's method: that of its class, unless the instance has one and `of_class` is False."""
        if name in self.of_instance and not of_class:
            method: Callable[..., Any] = self.of_instance[name]
            return method if name == "forward" else accept_release(method)
        return MethodType(getattr(type(self.layer), name), self.layer)
