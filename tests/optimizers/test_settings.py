"""Settings that are assigned after the optimizer was made: checked as in the constructor, and with an effect."""

import copy
import pickle

import numpy as np
import pytest
from helpers.argument_rules import bad_values
from helpers.registry import OPTIMIZERS

from allconv import Linear, Sequential
from allconv.optimizers import SGD, AdaGrad, Adam, AdamW, AMSGrad, RMSprop
from allconv.parameter import Parameter

FIXED = {"parameters", "optimizers", "model", "bias_correction", "maximum", "centered", "initial_accumulator"}
ROWS = [
    pytest.param(row, argument, value, id=f"{name}-{argument}-{index}")
    for name, row in OPTIMIZERS.items()
    for argument, rules in row.rules().items()
    if argument not in FIXED
    for index, (value, *_) in enumerate(bad_values(argument, rules))
    if not (argument == "nesterov" and value is True)
]


@pytest.mark.parametrize(("row", "name", "value"), ROWS)
def test_what_the_constructor_refuses_an_assignment_refuses_too(row, name, value):
    optimizer = row.build()
    before = getattr(optimizer, name)
    with pytest.raises((TypeError, ValueError)) as caught:
        setattr(optimizer, name, value)
    assert name in str(caught.value)
    assert getattr(optimizer, name) == before


def path(optimizer, steps=3):
    [p] = optimizer.parameters
    for t in range(steps):
        p.add_grad(np.array([1.0, -2.0, 0.5]) * (t + 1))
        optimizer.step()
    return p.value.copy()


@pytest.mark.parametrize(
    ("cls", "name", "value"),
    [
        (SGD, "learning_rate", 0.2),
        (SGD, "weight_decay", 0.3),
        (SGD, "momentum", 0.9),
        (Adam, "betas", (0.5, 0.7)),
        (Adam, "betas", np.array([0.5, 0.7])),
        (Adam, "eps", 0.1),
        (Adam, "epsilon_hat", True),
        (AdamW, "weight_decay", 0.3),
        (AMSGrad, "eps", 0.1),
        (RMSprop, "decay", 0.5),
        (RMSprop, "momentum", 0.9),
        (AdaGrad, "eps", 0.1),
    ],
)
def test_an_assignment_before_the_first_step_is_as_good_as_an_argument(cls, name, value):
    given, assigned, plain = (
        cls([Parameter(np.ones(3))], 0.1, **{} if i else {name: value})
        if name != "learning_rate"
        else cls([Parameter(np.ones(3))], 0.1 if i else value)
        for i in range(3)
    )
    setattr(assigned, name, value)
    expected = path(given)
    np.testing.assert_array_equal(path(assigned), expected)
    assert not np.array_equal(path(plain), expected)
    assert list(assigned.state()) == list(given.state())


def test_momentum_dampening_and_nesterov_change_as_in_pytorch():
    torch = pytest.importorskip("torch")
    p, q = Parameter(np.ones(3)), torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    ours, theirs = SGD([p], 0.1, weight_decay=0.1), torch.optim.SGD([q], lr=0.1, weight_decay=0.1)
    for change in (
        {},
        {"dampening": 0.5},
        {"momentum": 0.9},
        {"momentum": 0.5},
        {"dampening": 0.0},
        {"nesterov": True},
    ):
        for name, value in change.items():
            setattr(ours, name, value)
        theirs.param_groups[0].update(change)
        for _ in range(2):
            p.add_grad(np.array([1.0, -2.0, 0.5]))
            q.grad = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
            ours.step()
            theirs.step()
        np.testing.assert_allclose(p.value, q.detach().numpy(), rtol=1e-12)


def test_a_momentum_of_zero_forgets_the_velocity():
    optimizer = SGD([Parameter(np.ones(3))], 0.1, momentum=0.9)
    path(optimizer)
    optimizer.momentum = 0.0
    assert list(optimizer.state()) == ["step_count"]
    optimizer.momentum = 0.9
    np.testing.assert_array_equal(optimizer.state()["velocity/0"], 0)


def test_a_resume_after_a_momentum_was_set_has_the_same_bits():
    whole, first = SGD([Parameter(np.ones(3))], 0.1), SGD([Parameter(np.ones(3))], 0.1)
    for optimizer in (whole, first):
        path(optimizer, 2)
        optimizer.momentum, optimizer.dampening = 0.9, 0.5
        path(optimizer, 2)
    second = SGD([Parameter(first.parameters[0].value)], 0.1, momentum=0.9, dampening=0.5)
    second.load_state(first.state())
    np.testing.assert_array_equal(path(second), path(whole))


@pytest.mark.parametrize(
    ("cls", "given", "name", "value", "message"),
    [
        (SGD, {"momentum": 0.9, "nesterov": True}, "momentum", 0.0, "nesterov must be False without"),
        (SGD, {"momentum": 0.9, "nesterov": True}, "dampening", 0.5, "nesterov must be False without"),
        (SGD, {}, "nesterov", True, "nesterov must be False without"),
        (AMSGrad, {"bias_correction": "before_max"}, "epsilon_hat", True, "epsilon_hat must be False with"),
    ],
)
def test_settings_that_exclude_each_other_are_refused_and_change_nothing(cls, given, name, value, message):
    optimizer = cls([Parameter(np.ones(3))], 0.1, **given)
    with pytest.raises(ValueError, match=message):
        cls(optimizer.parameters, 0.1, **given | {name: value})
    before = getattr(optimizer, name), list(optimizer.state())
    with pytest.raises(ValueError, match=message):
        setattr(optimizer, name, value)
    assert (getattr(optimizer, name), list(optimizer.state())) == before


@pytest.mark.parametrize(
    ("cls", "name", "value"),
    [
        (AMSGrad, "bias_correction", "none"),
        (AMSGrad, "maximum", "tensor"),
        (RMSprop, "centered", True),
        (AdaGrad, "initial_accumulator", 1.0),
    ],
)
def test_what_decides_on_the_slots_stays_and_says_why(cls, name, value):
    optimizer = cls([Parameter(np.ones(3))], 0.1)
    before = getattr(optimizer, name)
    with pytest.raises(AttributeError, match=f"{name} must stay as it was made, got {value!r}: .+"):
        setattr(optimizer, name, value)
    assert getattr(optimizer, name) == before


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_copies_and_pickles_keep_their_settings_and_their_checks(duplicate):
    optimizer = duplicate(RMSprop([Parameter(np.ones(3))], 0.1, decay=0.5, momentum=0.9))
    assert (optimizer.decay, optimizer.momentum, optimizer.learning_rate) == (0.5, 0.9, 0.1)
    with pytest.raises(ValueError, match="momentum must be"):
        optimizer.momentum = 2
    with pytest.raises(AttributeError, match="centered must stay"):
        optimizer.centered = True


def test_a_late_momentum_that_is_saved_before_its_first_step_starts_undampened_after_the_resume():
    def step(optimizer):
        optimizer.parameters[0].add_grad(np.array([1.0]))
        optimizer.step()

    first = SGD([Parameter(np.array([1.0]))], 0.1, dampening=0.5)
    step(first)
    first.momentum = 0.9
    second = SGD([Parameter(first.parameters[0].value)], 0.1, momentum=0.9, dampening=0.5)
    second.load_state(first.state())
    for _ in range(2):
        step(first)
        step(second)
    assert (
        second.parameters[0].value == first.parameters[0].value == pytest.approx(1 - 0.1 - 0.1 - 0.1 * 1.4, rel=1e-15)
    )
    assert second.state().keys() == {"step_count", "velocity/0"}


@pytest.mark.parametrize("model", [Linear(2, 2), Sequential(Linear(2, 2))])
def test_a_model_in_the_place_of_its_parameters_is_refused_with_the_way_out(model):
    with pytest.raises(TypeError, match=r"distinct Parameters, got .*; pass model\.parameters\(\)"):
        SGD(model, 0.1)


def test_an_optimizer_of_another_model_is_named_as_a_reason():
    with pytest.raises(
        RuntimeError, match="got none for .*: call backward first, of the model that the optimizer was made"
    ):
        SGD(Sequential(Linear(2, 2)).parameters(), 0.1).step()
