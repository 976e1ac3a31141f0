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

from allconv.rules.named import Rule, deconvnet, guided, scaled, straight_through
from allconv.rules.override import Pattern, active_rules, match, override_backward, rule_name

__all__ = [
    "Pattern",
    "Rule",
    "active_rules",
    "deconvnet",
    "guided",
    "match",
    "override_backward",
    "rule_name",
    "scaled",
    "straight_through",
]
