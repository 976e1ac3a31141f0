"""Backward rules: functions that decide what goes back through a layer, in the place of its derivative.

A rule has the arguments of a layer's backward pass and the layer itself, ``rule(layer, dy, cache) -> dx``.
`override_backward` lets chosen layers follow it for the length of a ``with`` block, in pictures of what a network sees
and in training. Inside a rule, ``layer.backward(dy, cache)`` is the layer's own backward pass. It also adds the
gradients of the layer's parameters, so a rule that never calls it adds none.

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
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np

from allconv.layers.base import Layer
from allconv.layers.intercept import Call, rules_in_force
from allconv.layers.observe import observe
from allconv.typing import Array, Cache
from allconv.validation import check_real, describe

Rule = Callable[[Layer, Array, Cache], Array]
"""``rule(layer, dy, cache) -> dx``."""

Pattern = type[Layer] | str
"""A class of layers, or the path of one layer."""


def guided(layer: Layer, dy: Array, cache: Cache) -> Array:
    r"""Return dL/dx of guided backpropagation: only positive gradients enter the layer's own backward pass.

    .. math:: \frac{\partial L}{\partial x} = [y > 0] \, [dy > 0] \, dy

    for a ReLU: a gradient passes only where both it and the forward input are positive. The backward pass of any other
    layer gets ``max(dy, 0)`` in the place of `dy`.

    Parameters
    ----------
    layer : Layer
        Any layer.
    dy : array
        The gradient at the layer's output.
    cache : object
        What the layer's forward pass has returned for its backward pass.

    Returns
    -------
    array
        The gradient at the layer's input, in its shape.

    Notes
    -----
    Springenberg et al. (2015), section 4 and figure 1.

    Examples
    --------
    >>> from allconv import ReLU
    >>> relu = ReLU()
    >>> y, cache = relu.forward(np.array([1.0, 1.0, -1.0]))
    >>> guided(relu, np.array([3.0, -3.0, 3.0]), cache)
    array([3., 0., 0.])
    """
    return layer.backward(np.maximum(dy, 0), cache)


def deconvnet(layer: Layer, dy: Array, cache: Cache) -> Array:  # noqa: ARG001 - what the forward pass saw plays no part
    """Return ``max(dy, 0)``, the deconvnet's rectification, whatever the forward input was.

    Parameters
    ----------
    layer, dy, cache
        As for `guided`, of a layer that keeps the shape and has no parameters. The cache is not used.

    Returns
    -------
    array
        The gradient at the layer's input, in the shape of `dy`.

    Notes
    -----
    Zeiler and Fergus (2014), section 2.1; Springenberg et al. (2015), section 4.

    Examples
    --------
    >>> from allconv import ReLU
    >>> deconvnet(ReLU(), np.array([3.0, -3.0]), None)
    array([3., 0.])
    """
    return np.maximum(dy, 0)


def straight_through(layer: Layer, dy: Array, cache: Cache) -> Array:
    """Return `dy`, as if the layer were the identity; its parameters get their own gradients.

    Parameters
    ----------
    layer, dy, cache
        As for `guided`, of a layer that keeps the shape: a step, a rounding, whose derivative is 0 almost everywhere.

    Returns
    -------
    array
        `dy` itself.

    Notes
    -----
    Bengio, Leonard and Courville (2013), section 2.3.

    Examples
    --------
    >>> from allconv import ReLU
    >>> straight_through(ReLU(), np.array([3.0, -3.0]), None)
    array([ 3., -3.])
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

    Returns
    -------
    callable
        The rule, whose name is ``scaled(factor)``.

    Raises
    ------
    TypeError, ValueError
        If `factor` is not a finite number.

    Examples
    --------
    >>> from allconv import Tanh
    >>> tanh = Tanh()
    >>> y, cache = tanh.forward(np.zeros(2))
    >>> scaled(-1)(tanh, np.array([3.0, 5.0]), cache)
    array([-3., -5.])
    """
    factor = check_real("factor", factor)

    def rule(layer: Layer, dy: Array, cache: Cache) -> Array:
        dx = layer.backward(dy, cache)
        return factor * dx if factor else np.zeros_like(dx)  # 0 stops an infinite gradient too.

    rule.__name__ = f"scaled({factor:g})"
    return rule


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
        If a pattern is neither a Layer subclass nor a string, or a rule is not callable.
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
    >>> model = Sequential(Linear(2, 3), ReLU())
    >>> with override_backward(model, {ReLU: guided, "0": scaled(0.5)}):
    ...     active_rules(model)
    {'0': 'scaled(0.5)', '1': 'guided'}
    """
    layers = dict(model.named_layers())
    chosen = match(model, rules)
    return _following([(path, layers[path]) for path in chosen], list(chosen.values()))


def match(model: Layer, rules: Mapping[Pattern, Rule]) -> dict[str, Rule]:
    """Return which layers of a model follow which rule.

    Parameters
    ----------
    model, rules
        As for `override_backward`.

    Returns
    -------
    dict of str to callable
        The rule by the path of the layer, for the layers that have one.

    Raises
    ------
    TypeError, ValueError
        As for `override_backward`.
    """
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
    """Return what tables call a rule: a function's name, the repr of any other callable."""
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

    Examples
    --------
    >>> from allconv.layers.elu import ELU
    >>> elu = ELU()
    >>> with override_backward(elu, {ELU: guided}):
    ...     active_rules(elu)
    {'': 'guided'}
    """
    return rules_in_force(model)
