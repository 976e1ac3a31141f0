"""A student's functions and the library's layer side by side: how long they take, and what training makes of them."""

import time
from math import prod

import numpy as np

from allconv.gradcheck.point import norm
from allconv.gradcheck.reference import Reference
from allconv.layers.base import Layer
from allconv.layers.snapshot import clear_gradients, unchanged

TRAINING_STEPS = 30
"""The number of steps of the training that compares the two."""

# The number of calls of which the fastest counts.
_CALLS = 3

# The number of targets that each example has in the training.
_TARGETS = 2


def milliseconds(layer: Layer, reference: Reference) -> tuple[float, float]:
    """Return the time of a forward and of a backward pass, each the best of a few calls."""
    best = [float("inf"), float("inf")]
    with unchanged(layer):
        for _ in range(_CALLS):
            x, dy = reference.x.copy(), reference.dy.copy()  # A student's function may write to them.
            started = time.perf_counter()
            _, cache = layer.forward(x, training=reference.training)
            between = time.perf_counter()
            layer.backward(dy, cache)
            ended = time.perf_counter()
            best = [min(best[0], 1e3 * (between - started)), min(best[1], 1e3 * (ended - between))]
    return best[0], best[1]


def final_loss(layer: Layer, reference: Reference) -> float:
    r"""Return the loss of a small network after some steps of gradient descent.

    The network is :math:`z = \mathrm{flatten}(f(x + s))\, A`, where f is the layer, and s, A and the layer's parameters
    are trained to reach random targets. The gradient of s is dx, so that a wrong dx shows as much as a wrong gradient
    of a parameter does. The loss is the mean of the squared errors.
    """
    x, features = reference.x, prod(reference.dy.shape[1:])
    rng = np.random.default_rng(0)
    targets = rng.standard_normal((len(x), _TARGETS))
    matrix = rng.standard_normal((features, _TARGETS)) / np.sqrt(features)
    shift = np.zeros_like(x)
    with unchanged(layer):
        parameters = [p for p in layer.parameters() if p.trainable]
        # The step is short enough for the steepest direction of the loss, which the size of the features sets.
        size = norm(reference.arrays["y"]) ** 2 / len(x)
        rate = 0.25 * len(x) / (1 + size)
        for step in range(TRAINING_STEPS + 1):
            y, cache = layer.forward(x + shift, training=reference.training)
            rows = y.reshape(len(x), features)
            errors = rows @ matrix - targets
            if step == TRAINING_STEPS:
                break
            upstream = 2 * errors / errors.size
            clear_gradients(layer)
            dx = layer.backward((upstream @ matrix.T).reshape(y.shape), cache)
            matrix -= rate * (rows.T @ upstream)
            shift -= rate * dx
            for parameter in parameters:
                if parameter.grad is not None:
                    parameter.value = parameter.value - rate * parameter.grad
        return float(np.mean(errors**2))
