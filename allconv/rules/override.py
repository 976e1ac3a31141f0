"""How chosen layers of a model come to follow a rule."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np

from allconv.layers.base import Layer
from allconv.layers.intercept import Call, rules_in_force
from allconv.layers.observe import observe
from allconv.rules.named import Rule
from allconv.typing import Array, Cache
from allconv.validation import check_callable, check_instance, describe

Pattern = type[Layer] | str
"""A class of layers, or the path of one layer."""


def override_backward(model: Layer, rules: Mapping[Pattern, Rule]) -> AbstractContextManager[None]:
    """Return a context in which layers of a model follow the caller's rules in the backward pass.

    Parameters
    ----------
    model : Layer
        Nested layers are reached too.
    rules : mapping of a Layer subclass, or a layer's path, to a rule
        A class stands for all its instances and those of its subclasses; the nearest class counts. A path such as
        ``"3.body.1"`` stands for one layer, in all places where it stands, and counts before a class.

    Returns
    -------
    context manager
        At its end the layers are as before, after an error too. It can be used as a decorator.

    Raises
    ------
    TypeError
        If `model` is not a Layer, a pattern is neither a Layer subclass nor a string, or a rule is not callable.
    ValueError
        If a pattern matches no layer of the model, or there is no rule at all.

    See Also
    --------
    allconv.observe : Look at, or change, what goes through layers forward and backward.

    Notes
    -----
    Contexts may be nested: the innermost counts. `active_rules` and ``model.summary`` list the rules in force.

    Examples
    --------
    >>> from allconv import Linear, ReLU, Sequential
    >>> from allconv.rules import active_rules, guided, scaled
    >>> model = Sequential(Linear(2, 3), ReLU())
    >>> with override_backward(model, {ReLU: guided, "0": scaled(0.5)}):
    ...     active_rules(model)
    {'0': 'scaled(0.5)', '1': 'guided'}
    """
    chosen = match(model, rules)
    layers = dict(model.named_layers())
    return _following([(path, layers[path]) for path in chosen], list(chosen.values()))


def match(model: Layer, rules: Mapping[Pattern, Rule]) -> dict[str, Rule]:
    """Return which layers of a model follow which rule.

    Parameters
    ----------
    model : Layer
        Nested layers are reached too.
    rules : mapping of a Layer subclass, or a layer's path, to a rule
        As `override_backward` takes them.

    Returns
    -------
    dict of str to callable
        The rule by the path of the layer, for the layers that have one.

    Raises
    ------
    TypeError, ValueError
        As for `override_backward`.

    Examples
    --------
    >>> from allconv import Linear, ReLU, Sequential
    >>> from allconv.rules import guided
    >>> {path: rule_name(rule) for path, rule in match(Sequential(Linear(2, 3), ReLU()), {ReLU: guided}).items()}
    {'1': 'guided'}
    """
    check_instance("model", model, Layer)
    if not isinstance(rules, Mapping) or not rules:
        raise (ValueError if isinstance(rules, Mapping) else TypeError)(
            f"rules must be a mapping of Layer classes or paths to rules, and not empty, got {describe(rules)}"
        )
    layers = dict(model.named_layers())
    for pattern, rule in rules.items():
        if not callable(rule):
            raise TypeError(f"rules must map to functions rule(layer, dy, cache) -> dx, got {describe(rule)}")
        check_callable("rule", rule, takes="layer, dy, cache")
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


@contextmanager
def _following(layers: list[tuple[str, Layer]], rules: list[Rule]) -> Iterator[None]:
    """Let each layer go backward by its rule for the length of a block."""
    with ExitStack() as stack:
        for pair, rule in zip(layers, rules, strict=True):
            stack.enter_context(observe([pair], backward=partial(_follow, rule), rule=rule_name(rule)))
        yield


def _follow(rule: Rule, call: Call, dy: Array, cache: Cache) -> Array:
    """Return dL/dx by the rule, in whose calls of ``layer.backward`` the layer follows its own derivative."""
    dx = rule(call.layer, dy, cache)
    if not isinstance(dx, np.ndarray):
        raise TypeError(f"rule {rule_name(rule)} must return dL/dx as an array, got {describe(dx)}")
    return dx


def rule_name(rule: Rule) -> str:
    """Return what tables call a rule.

    Parameters
    ----------
    rule : callable
        The rule.

    Returns
    -------
    str
        The name of a function, and the repr of any other callable.

    Raises
    ------
    TypeError
        If `rule` can't be called.

    Examples
    --------
    >>> from allconv.rules import guided, scaled
    >>> rule_name(guided), rule_name(scaled(0.5))
    ('guided', 'scaled(0.5)')
    """
    if not callable(rule):
        raise TypeError(f"rule must be callable, got {describe(rule)}")
    return getattr(rule, "__name__", None) or repr(rule)


def active_rules(model: Layer) -> dict[str, str]:
    """Return the backward rules that the layers of a model follow at this moment.

    Parameters
    ----------
    model : Layer
        Nested layers are looked at too.

    Returns
    -------
    dict of str to str
        The name of the rule by the path of the layer. Where several contexts are open, the innermost counts.

    Raises
    ------
    TypeError
        If `model` is not a Layer.

    Examples
    --------
    >>> from allconv.layers.elu import ELU
    >>> from allconv.rules import guided
    >>> elu = ELU()
    >>> with override_backward(elu, {ELU: guided}):
    ...     active_rules(elu)
    {'': 'guided'}
    """
    check_instance("model", model, Layer)
    return rules_in_force(model)
