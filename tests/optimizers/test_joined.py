"""Small parameters, which a step updates together, against the same parameters each with an optimizer of its own."""

import copy
import pickle

import numpy as np
import pytest
from helpers.optimizers import each_variant
from helpers.trajectories import gradient

from allconv.optimizers import AMSGrad
from allconv.parameter import Parameter

SHAPES = [(3, 2), (80, 90), (2, 5), (1, 4), (6, 1), (70, 60), (2, 2)]  # two of them are too large to be joined


def make_parameters(seed, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return [Parameter(rng.standard_normal(shape).astype(dtype)) for shape in SHAPES]


def give_gradients(parameters, t):
    for parameter in parameters:
        parameter.grad = gradient(parameter.value, t).astype(parameter.value.dtype)


def assert_same_values(parameters, others):
    for p, q in zip(parameters, others, strict=True):
        np.testing.assert_array_equal(p.value, q.value)


@each_variant
def test_joined_parameters_take_the_same_steps_as_each_by_itself(make):
    together, apart = make_parameters(0), make_parameters(0)
    for parameters in (together, apart):
        parameters[3].decay = False
        parameters[4] = Parameter(parameters[4].value.astype(np.float64))
    joint = make(together, weight_decay=0.1)
    alone = [make([parameter], weight_decay=0.1) for parameter in apart]
    for t in range(1, 80):  # past the step that sets negligible slots to zero
        for parameters in (together, apart):
            give_gradients(parameters, t)
            parameters[2].trainable = t % 3 != 0
            parameters[0].decay = t % 4 != 0
        joint.step()
        for optimizer in alone:
            optimizer.step()
    assert_same_values(together, apart)


@pytest.mark.parametrize("twin_of", [copy.deepcopy, lambda both: pickle.loads(pickle.dumps(both))])
def test_a_copy_goes_on_with_values_and_slots_of_its_own(twin_of):
    parameters = make_parameters(1)
    optimizer = AMSGrad(parameters)
    give_gradients(parameters, 1)
    optimizer.step()
    twins, twin = twin_of((parameters, optimizer))
    for each, own in ((optimizer, parameters), (twin, twins)):
        give_gradients(own, 2)
        each.step()
    assert_same_values(parameters, twins)
    assert not any(np.shares_memory(p.value, q.value) for p, q in zip(parameters, twins, strict=True))


def test_two_optimizers_take_turns_with_the_same_parameters():
    shared, values = make_parameters(2), []
    first, second = AMSGrad(shared[:4], 0.1), AMSGrad(shared[2:], 0.1)
    views = [parameter.value for parameter in shared]
    for t in range(1, 4):
        for optimizer in (first, second):
            give_gradients(optimizer.parameters, t)
            optimizer.step()
            shared[3].value = shared[3].value + 1
        values.append([view.copy() for view in views])
    assert all(parameter.value is view for parameter, view in zip(shared, views, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(values[0], values[-1], strict=True))
