"""Backward rules: other things to send back through a layer than its derivative.

A rule is a function with backward's own signature, ``rule(layer, dy, cache) -> dx``; `override_backward` puts it in
the place of `backward` on chosen layers for the length of a ``with`` block. It works wherever backward does: for
pictures of what a network sees, and in training. Inside a rule, ``layer.backward(dy, cache)`` is the layer's own
backward; it also adds the gradients of the layer's parameters, so a rule that never calls it adds none.

Examples
--------
>>> from allconv.layers.elu import ELU
>>> elu = ELU()
>>> y, cache = elu.forward(np.array([-1.0, 2.0, 3.0]))
>>> with override_backward(elu, {ELU: guided}):
...     elu.backward(np.array([1.0, -1.0, 1.0]), cache).round(3)
array([0.368, 0.   , 1.   ])
>>> elu.backward(np.array([1.0, -1.0, 1.0]), cache).round(3)
array([ 0.368, -1.   ,  1.   ])
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np

from allconv.layers.base import Layer
from allconv.typing import Array, Cache
from allconv.validation import check_real, describe

Rule = Callable[[Layer, Array, Cache], Array]
Pattern = type[Layer] | str


def guided(layer: Layer, dy: Array, cache: Cache) -> Array:
    r"""Guided backpropagation: only positive gradients enter the layer's own backward pass.

    .. math:: \frac{\partial L}{\partial x} = [y > 0] \, [dy > 0] \, dy

    for a ReLU: a gradient passes only where both it and the forward input are positive. Any other layer gets
    ``max(dy, 0)`` in the place of `dy`. Springenberg et al. (2015), section 4 and figure 1.
    """
    return layer.backward(np.maximum(dy, 0), cache)


def deconvnet(layer: Layer, dy: Array, cache: Cache) -> Array:  # noqa: ARG001 - what the forward pass saw plays no part
    """Return ``max(dy, 0)``, the deconvnet's rectification, whatever the forward input was.

    For layers that keep the shape and have no parameters. Zeiler and Fergus (2014), section 2.1; Springenberg et al.
    (2015), section 4.
    """
    return np.maximum(dy, 0)


def straight_through(layer: Layer, dy: Array, cache: Cache) -> Array:
    """Pass `dy` on as if the layer were the identity; its parameters get their own gradients.

    For layers that keep the shape, such as a step or a rounding whose derivative is 0 almost everywhere. Bengio,
    Leonard and Courville (2013), section 2.3.
    """
    if layer.parameters():
        layer.backward(dy, cache)
    return dy


def scaled(factor: float) -> Rule:
    """Return the rule that multiplies the layer's dL/dx by `factor`; its parameters' gradients stay as they are.

    Parameters
    ----------
    factor : float
        Any finite number: 0 stops the gradient, -1 reverses it.
    """
    factor = check_real("factor", factor)

    def rule(layer: Layer, dy: Array, cache: Cache) -> Array:
        return factor * layer.backward(dy, cache)

    rule.__name__ = f"scaled({factor:g})"
    return rule


def override_backward(model: Layer, rules: Mapping[Pattern, Rule]) -> AbstractContextManager[None]:
    """Return a context in which layers of `model` go backward by a rule of the caller's.

    Parameters
    ----------
    model : Layer
        Nested layers are reached too.
    rules : mapping of a Layer subclass, or a layer's path, to a rule
        A class stands for all its instances, those of subclasses included (the nearest class counts); a path such as
        ``"3.body.1"`` for one layer, and goes before a class. A layer that stands in several places of the model
        follows its rule in all of them.

    Notes
    -----
    The context puts back what was there before, after an error too, so contexts may be nested: the innermost counts.
    While it is open, `active_rules` and ``model.summary`` list the rules.

    Raises
    ------
    TypeError
        If a pattern is neither a Layer subclass nor a string, or a rule is not callable.
    ValueError
        If a pattern matches no layer of the model, or there is no rule at all.
    """
    layers = dict(model.named_layers())
    return _replaced([(layers[path], rule) for path, rule in match(model, rules).items()])


def match(model: Layer, rules: Mapping[Pattern, Rule]) -> dict[str, Rule]:
    """Return {path: rule} for the layers of `model` that `rules`, as for `override_backward`, speaks of."""
    if not isinstance(rules, Mapping) or not rules:
        raise (ValueError if isinstance(rules, Mapping) else TypeError)(
            f"rules must be a mapping of Layer classes or paths to rules, and not empty, got {describe(rules)}"
        )
    layers = dict(model.named_layers())
    for pattern, rule in rules.items():
        if not callable(rule):
            raise TypeError(f"rules must map to functions rule(layer, dy, cache) -> dx, got {describe(rule)}")
        if isinstance(pattern, str):
            found = pattern in layers
        elif isinstance(pattern, type) and issubclass(pattern, Layer):
            found = any(isinstance(layer, pattern) for layer in layers.values())
        else:
            raise TypeError(f"rules must be keyed by Layer classes or paths, got {describe(pattern)}")
        if not found:
            raise ValueError(
                f"rules must name layers of the model, got {describe(pattern)}, which matches none of "
                + ", ".join(f"{path!r} ({type(layer).__name__})" for path, layer in layers.items())
            )
    chosen: dict[str, Rule] = {}
    for path, layer in layers.items():
        keys: tuple[Any, ...] = (path, *type(layer).__mro__)
        nearest = next((key for key in keys if key in rules), None)
        if nearest is not None:
            chosen[path] = rules[nearest]
    return chosen


_NAMES = ("backward", "backward_parameters")  # training calls the second on the first layer, whose dL/dx nobody reads


class _Replacement:
    """What stands in the place of a layer's bound `backward` and `backward_parameters` while a rule is active."""

    def __init__(self, layer: Layer, rule: Rule) -> None:
        self.layer, self.rule = layer, rule

    def __call__(self, dy: Array, cache: Cache, *, release: bool = False) -> Array:  # noqa: ARG002
        # A rule may use the cache as often as it likes, so `release`, which Sequential hands down, ends here.
        with _replaced([(self.layer, None)]):
            dx = self.rule(self.layer, dy, cache)
        if not isinstance(dx, np.ndarray):
            raise TypeError(f"rule {rule_name(self.rule)} must return dL/dx as an array, got {describe(dx)}")
        return dx


@contextmanager
def _replaced(pairs: list[tuple[Layer, Rule | None]]) -> Iterator[None]:
    """Give each layer its rule, or its class's own backward for None, and put back what was there before."""
    before = [{name: vars(layer).pop(name) for name in _NAMES if name in vars(layer)} for layer, _ in pairs]
    try:
        for layer, rule in pairs:
            if rule is not None:
                vars(layer).update(dict.fromkeys(_NAMES, _Replacement(layer, rule)))
        yield
    finally:
        for (layer, _), attributes in zip(pairs, before, strict=True):
            for name in _NAMES:
                vars(layer).pop(name, None)
            vars(layer).update(attributes)


def rule_name(rule: Rule) -> str:
    """Return what tables call a rule: a function's name, the repr of any other callable."""
    return getattr(rule, "__name__", None) or repr(rule)


def active_rules(model: Layer) -> dict[str, str]:
    """Return {path: name of the rule} for the layers of `model` whose backward is overridden at this moment."""
    return {
        path: rule_name(vars(layer)["backward"].rule)
        for path, layer in model.named_layers()
        if isinstance(vars(layer).get("backward"), _Replacement)
    }
