"""Every optimizer in every variant, and the steps that the tests of the common contract take with them."""

import functools

import numpy as np
import pytest

from allconv.parameter import Parameter
from helpers.registry import OPTIMIZERS
from helpers.trajectories import gradient, start

VARIANTS = {
    name: functools.partial(row.make, **{"learning_rate": 0.01} | options)
    for row in OPTIMIZERS.values()
    for name, options in row.variants.items()
}
each_variant = pytest.mark.parametrize("make", VARIANTS.values(), ids=VARIANTS)


def make_parameters(dtype=np.float64):
    parameters = [Parameter(w.astype(dtype)) for w in start()]
    for index, parameter in enumerate(parameters):
        parameter.name = f"{index}.weight"
    return parameters


def take_step(optimizer, t):
    for parameter in optimizer.parameters:
        if parameter.trainable:
            parameter.add_grad(gradient(parameter.value, t).astype(parameter.value.dtype))
    optimizer.step()


def snapshot(optimizer):
    parts = [p.value.copy() for p in optimizer.parameters] + [p.grad for p in optimizer.parameters]
    return [*parts, *optimizer.state().items(), optimizer.learning_rate]


def assert_same(before, after):
    for a, b in zip(before, after, strict=True):
        np.testing.assert_equal(b, a)
