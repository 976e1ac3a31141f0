"""The state of an optimizer: its keys, a resume with the same bits, and states that do not fit."""

import copy

import numpy as np
import pytest
from helpers.optimizers import assert_same, each_variant, make_parameters, snapshot, take_step

from allconv.optimizers import SGD, Adam, AMSGrad
from allconv.parameter import Parameter


@each_variant
def test_a_resumed_run_has_the_same_bits(make):
    whole, first, second = make(make_parameters()), make(make_parameters()), make(make_parameters())
    for t in range(1, 9):
        take_step(whole, t)
    for t in range(1, 5):
        take_step(first, t)
    state = first.state()
    weights = [p.value.copy() for p in first.parameters]
    take_step(first, 5)  # the state is a copy: going on with the first run does not reach it
    second.load_state(state)
    for p, w in zip(second.parameters, weights, strict=True):
        p.value = w
    for t in range(5, 9):
        take_step(second, t)
    assert second.step_count == 8
    for p, q in zip(second.parameters, whole.parameters, strict=True):
        np.testing.assert_array_equal(p.value, q.value)
    assert_same(whole.state().items(), second.state().items())


def test_the_keys_of_the_state():
    named, unnamed = Parameter(np.zeros((2, 3))), Parameter(np.zeros(4))
    named.name = "3.body.0.weight"
    state = AMSGrad([named, unnamed]).state()
    assert sorted(state) == [
        "m/1",
        "m/3.body.0.weight",
        "step_count",
        "v/1",
        "v/3.body.0.weight",
        "vmax/1",
        "vmax/3.body.0.weight",
    ]
    assert state["step_count"] == 0
    assert state["v/3.body.0.weight"].shape == (2, 3)
    assert SGD([named], 0.1).state() == {"step_count": 0}


def test_the_keys_stay_when_a_part_of_the_model_is_listed_by_itself():
    p = Parameter(np.zeros(2))
    p.name = "3.body.0.weight"
    optimizer = Adam([p])
    p.name = "0.weight"
    assert "m/3.body.0.weight" in optimizer.state()


def test_a_copied_optimizer_goes_on_by_itself():
    optimizer = Adam(make_parameters())
    take_step(optimizer, 1)
    twin = copy.deepcopy(optimizer)
    for each in (optimizer, twin):
        take_step(each, 2)
    for p, q in zip(optimizer.parameters, twin.parameters, strict=True):
        assert p is not q
        np.testing.assert_array_equal(p.value, q.value)


BAD_STATES = {
    "missing": (lambda s: s.pop("v/1.weight"), ValueError, r"missing: v/1\.weight; unexpected: none"),
    "no count": (lambda s: s.pop("step_count"), ValueError, r"missing: step_count; unexpected: none"),
    "unexpected": (lambda s: s.update({"vmax/0.weight": s["v/0.weight"]}), ValueError, r"unexpected: vmax/0\.weight"),
    "renamed": (lambda s: s.update({"v/9": s.pop("v/0.weight")}), ValueError, r"missing: v/0\.weight; unexpected: v/9"),
    "an odd key": (lambda s: s.update({7: 1}), ValueError, r"unexpected: 7"),
    "shape": (
        lambda s: s.update({"v/2.weight": np.zeros((3, 5))}),
        ValueError,
        r"v/2\.weight must have shape \(5, 3\), got an array of shape \(3, 5\)",
    ),
    "one number": (lambda s: s.update({"v/2.weight": np.zeros(())}), ValueError, r"v/2\.weight must have shape"),
    "ints": (lambda s: s.update({"v/2.weight": np.zeros((5, 3), int)}), TypeError, r"v/2\.weight must be .*int64"),
    "None": (lambda s: s.update({"v/2.weight": None}), TypeError, r"v/2\.weight must be .* real floating"),
    "negative": (lambda s: s.update(step_count=-1), ValueError, "step_count must be a non-negative int, got -1"),
    "fraction": (lambda s: s.update(step_count=1.5), TypeError, r"step_count must be a non-negative int, got 1\.5"),
    "bool": (lambda s: s.update(step_count=True), TypeError, "step_count must be a non-negative int, got True"),
}


@pytest.mark.parametrize(("spoil", "error", "message"), BAD_STATES.values(), ids=BAD_STATES)
def test_a_state_that_does_not_fit_changes_nothing(spoil, error, message):
    optimizer, other = Adam(make_parameters()), Adam(make_parameters())
    take_step(optimizer, 1)
    for t in (1, 2):
        take_step(other, t)
    state = other.state()
    spoil(state)
    before = snapshot(optimizer)
    with pytest.raises(error, match=message):
        optimizer.load_state(state)
    assert_same(before, snapshot(optimizer))


@pytest.mark.parametrize("state", [None, [], "state", 3])
def test_a_state_must_be_a_dict(state):
    with pytest.raises(TypeError, match="state must be a dict"):
        Adam(make_parameters()).load_state(state)
