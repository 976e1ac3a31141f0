"""Two convolutions of one thread, where the second begins in the middle of the first, keep their bits.

A signal handler may predict, and so may a `__del__` or an activation. Python runs a handler between any two lines:
`interrupted` runs one before every line.
"""

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest

from allconv.functional import conv, depthwise, im2col, winograd
from allconv.functional.geometry import geometry_of

FUNCTIONAL = str(Path(conv.__file__).parent)
MODULES = {"im2col": im2col, "depthwise": depthwise, "winograd": winograd}


pytestmark = pytest.mark.usefixtures("one_thread")


def drawn(algorithm, batch, size, channels, seed):
    """Return x, weight, dy and the sizes of a convolution of several blocks."""
    rng = np.random.default_rng(seed)
    groups = channels if algorithm == "depthwise" else 1
    x, weight = (
        rng.standard_normal(shape) for shape in ((batch, size, size, channels), (3, 3, channels // groups, channels))
    )
    geometry = geometry_of(x.shape, weight.shape, (1, 1), "same", (1, 1), groups)
    return x, weight, rng.standard_normal(geometry.y_shape), geometry


def passes(algorithm, x, weight, dy, geometry):
    """Return the calls that compute each result."""
    module = MODULES[algorithm]
    calls = {
        "forward": lambda: module.forward(x, weight, geometry),
        "input_grad": lambda: module.input_grad(dy, weight, geometry),
        "weight_grad": lambda: module.weight_grad(x, dy, geometry),
    }
    if algorithm == "winograd":
        calls["grads"] = lambda: np.concatenate([part.ravel() for part in winograd.grads(x, dy, weight, geometry)])
    return calls


def interrupted(call, other):
    """Return call(), with other() before each line of `allconv.functional` that it runs."""

    def trace(frame, event, _):
        if not frame.f_code.co_filename.startswith(FUNCTIONAL):
            return None
        if event == "line":
            other()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        return call()
    finally:
        sys.settrace(before)


@pytest.mark.parametrize(
    ("algorithm", "name"),
    [*itertools.product(MODULES, ["forward", "input_grad", "weight_grad"]), ("winograd", "grads")],
)
def test_another_convolution_between_any_two_lines_changes_no_bit(algorithm, name):
    calls = passes(algorithm, *drawn(algorithm, batch=12, size=12, channels=4, seed=0))
    others = passes(algorithm, *drawn(algorithm, batch=1, size=14, channels=5, seed=1))
    expected = {kind: other() for kind, other in others.items()}
    alone, count = calls[name](), 0

    def other():
        nonlocal count
        kind = [*others][count % len(others)]
        count += 1
        np.testing.assert_array_equal(others[kind](), expected[kind])

    np.testing.assert_array_equal(interrupted(calls[name], other), alone)
    assert count > 30


@pytest.mark.parametrize("inner", MODULES)
@pytest.mark.parametrize("outer", MODULES)
def test_an_activation_may_be_a_convolution(outer, inner):
    """It runs between two blocks of the outer convolution, in the same thread."""
    x, weight, _, geometry = drawn(outer, batch=80, size=12, channels=24, seed=0)
    plain = MODULES[outer].forward(x, weight, geometry)
    calls = passes(inner, *drawn(inner, batch=3, size=12, channels=8, seed=1))
    expected, seen = {name: call() for name, call in calls.items()}, []

    def activation(block):
        block += 1.0
        seen.append({name: call() for name, call in calls.items()})

    y = MODULES[outer].forward(x, weight, geometry, None, activation=activation)
    np.testing.assert_array_equal(y, plain + 1.0)
    assert len(seen) > 1
    for results in seen:
        for name, result in results.items():
            np.testing.assert_array_equal(result, expected[name])
