"""The contract that all optimizers share, checked for every one of them in every variant."""

import math

import numpy as np
import pytest
from helpers.bits import same_with_any_threads
from helpers.optimizers import VARIANTS, assert_same, each_variant, make_parameters, snapshot, take_step
from helpers.trajectories import assert_close, gradient, ours, start

from allconv.optimizers import SGD, Adam, AdamW, Optimizer, pieces
from allconv.parameter import Parameter

# What a step does


@each_variant
def test_a_step_works_in_place_clears_the_gradients_and_does_not_write_to_them(make):
    parameters = make_parameters()
    values = [p.value for p in parameters]
    given = [gradient(p.value, 1) for p in parameters]
    optimizer = make(parameters)
    for p, g in zip(parameters, given, strict=True):
        g.flags.writeable = False
        p.add_grad(g)
    optimizer.step()
    assert all(p.value is value for p, value in zip(parameters, values, strict=True))
    assert all(not np.array_equal(value, w) for value, w in zip(values, start(), strict=True))
    assert [p.grad for p in parameters] == [None, None, None]
    assert optimizer.step_count == 1


@each_variant
def test_strided_and_fortran_ordered_gradients(make):
    plain, odd = make_parameters(), make_parameters()
    for parameters, odd_layout in ((plain, False), (odd, True)):
        optimizer = make(parameters)
        for p in parameters:
            g = gradient(p.value, 1)
            p.add_grad(np.asfortranarray(np.repeat(g, 2, axis=0))[::2] if odd_layout else g)
        optimizer.step()
    for p, q in zip(plain, odd, strict=True):
        np.testing.assert_array_equal(p.value, q.value)


@each_variant
def test_float32_stays_float32_and_agrees_with_float64(make):
    parameters = make_parameters(np.float32)
    optimizer = make(parameters)
    take_step(optimizer, 1)
    assert all(p.value.dtype == np.float32 for p in parameters)
    assert all(a.dtype == np.float32 for key, a in optimizer.state().items() if key != "step_count")
    assert_close(ours(make, (5,), np.float32), ours(make, (5,)), tolerance=1e-3)


@each_variant
def test_a_learning_rate_of_zero_moves_nothing(make):
    optimizer = make(make_parameters(), weight_decay=0.1)
    optimizer.learning_rate = 0
    take_step(optimizer, 1)
    for p, w in zip(optimizer.parameters, start(), strict=True):
        np.testing.assert_array_equal(p.value, w)


# Frozen parameters and weight decay


@each_variant
def test_frozen_parameters_are_skipped_and_can_be_frozen_and_thawed_at_any_time(make):
    optimizer = make(make_parameters(), weight_decay=0.1)
    frozen = optimizer.parameters[1]
    take_step(optimizer, 1)
    frozen.trainable = False
    value = frozen.value.copy()
    slots = {key: a for key, a in optimizer.state().items() if key.endswith("/1.weight")}
    frozen.add_grad(np.ones(frozen.value.shape))
    take_step(optimizer, 2)
    np.testing.assert_array_equal(frozen.value, value)
    assert frozen.grad is None  # a stale gradient must not count when it is thawed
    assert_same(slots.values(), [optimizer.state()[key] for key in slots])
    frozen.trainable = True
    take_step(optimizer, 3)
    assert not np.array_equal(frozen.value, value)


def test_all_frozen_is_a_step_that_moves_nothing():
    p = Parameter(np.ones(2), trainable=False)
    optimizer = Adam([p])
    optimizer.step()
    np.testing.assert_array_equal(p.value, 1)


@each_variant
def test_decay_false_is_left_out_of_the_weight_decay(make):
    with_decay, mixed = make(make_parameters(), weight_decay=0.1), make(make_parameters(), weight_decay=0.1)
    without = make(make_parameters(), weight_decay=0.0)
    mixed.parameters[1].decay = False
    for t in (1, 2, 3):
        for optimizer in (with_decay, mixed, without):
            take_step(optimizer, t)
    for index, like in enumerate((with_decay, without, with_decay)):
        np.testing.assert_array_equal(mixed.parameters[index].value, like.parameters[index].value)
    for p, q in zip(with_decay.parameters, without.parameters, strict=True):
        assert not np.allclose(p.value, q.value, rtol=1e-6)


# Failed steps


@each_variant
def test_a_missing_gradient_is_named_and_nothing_changes(make):
    optimizer = make(make_parameters())
    take_step(optimizer, 1)
    optimizer.parameters[2].name = "3.body.0.weight"
    for p in optimizer.parameters[:2]:
        p.add_grad(np.ones(p.value.shape))
    before = snapshot(optimizer)
    with pytest.raises(
        RuntimeError, match=r"every trainable parameter must have a gradient, got none for 3\.body\.0\.weight"
    ):
        optimizer.step()
    assert_same(before, snapshot(optimizer))


@pytest.mark.parametrize("bad", [np.ones(1), np.ones((4, 1)), np.float64(1.0), np.ones(4, int), np.ones(4, complex)])
def test_a_bad_gradient_is_named_and_nothing_changes(bad):
    optimizer = Adam(make_parameters())
    for p in optimizer.parameters:
        p.grad = np.ones(p.value.shape)
    optimizer.parameters[1].grad = bad
    before = snapshot(optimizer)
    with pytest.raises((RuntimeError, TypeError), match=r"the gradient of 1\.weight must "):
        optimizer.step()
    assert_same(before, snapshot(optimizer))


# Slices, threads, denormals


@each_variant
@pytest.mark.parametrize("slice_elements", [1, 7, 64])
def test_the_cuts_do_not_matter(make, slice_elements, monkeypatch):
    whole = ours(make, (1, 20))  # long enough for a maximum that is not reached again
    monkeypatch.setattr(pieces, "SLICE_ELEMENTS", slice_elements)
    cut = ours(make, (1, 20))
    for a, b in zip(whole, cut, strict=True):
        assert_same(a, b)


@each_variant
def test_the_same_bits_for_any_number_of_threads(make):
    shapes = [(3, 100_003), (11,), (70_000,)]
    assert sum(math.prod(shape) for shape in shapes) > pieces._PARALLEL_ELEMENTS
    same_with_any_threads(lambda: ours(make, (3,), np.float32, shapes))


@pytest.mark.parametrize("name", ["momentum", "Adam", "AMSGrad, the article's", "RMSprop, all"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_moments_that_fade_away_do_not_become_denormal(name, dtype):
    p = Parameter(np.ones(3, dtype))
    optimizer = VARIANTS[name]([p])
    p.add_grad(np.array([1.0, 1e-3, 0.0], dtype))
    optimizer.step()
    tiny = np.finfo(dtype).tiny
    fading = [key for key in optimizer.state() if key.split("/")[0] in ("m", "velocity")]
    assert fading
    if dtype == np.float64:  # from where it would take thousands of steps
        state = optimizer.state()
        optimizer.load_state(state | {key: state[key] * 1e-280 for key in fading})
    for _ in range(1024):
        p.add_grad(np.zeros(3, dtype))
        optimizer.step()
        for key in fading:
            slot = np.abs(optimizer.state()[key])
            assert np.all((slot == 0) | (slot >= tiny))
    assert all(not optimizer.state()[key].any() for key in fading)  # 0.9 ** 1024 = 1e-47


def test_what_is_cut_off_depends_on_the_step_alone():
    p = Parameter(np.ones(2, np.float32))
    optimizer = SGD([p], 0.0, momentum=0.9)
    small, large = np.float32(1.1e-30), np.float32(1.3e-30)  # on either side of 1e8 times the smallest normal
    assert small < 1e8 * np.finfo(np.float32).tiny < large
    for count, kept in ((62, True), (63, False)):
        optimizer.load_state({"step_count": count, "velocity/0": np.array([small, large]) / np.float32(0.9)})
        p.add_grad(np.zeros(2, np.float32))
        optimizer.step()
        velocity = optimizer.state()["velocity/0"]
        assert (velocity[0] != 0) == kept
        assert velocity[1] != 0


def test_numpy_numbers_are_taken_and_do_not_widen_float32():
    p = Parameter(np.ones(2, np.float32))
    optimizer = SGD(iter([p]), np.float64(0.5), momentum=np.float32(0.5))
    p.add_grad(np.ones(2, np.float32))
    optimizer.step()
    assert p.value.dtype == np.float32
    np.testing.assert_array_equal(p.value, 0.5)
    assert type(optimizer.learning_rate) is float


def test_an_optimizer_without_an_update_says_so():
    p = Parameter(np.ones(2))
    p.add_grad(np.ones(2))
    with pytest.raises(NotImplementedError, match="Optimizer must define update"):
        Optimizer([p], 0.1).step()


def test_the_repr_names_the_class_and_the_rate():
    assert repr(Adam(make_parameters(), 3e-4)) == "Adam(3 parameters, learning_rate=0.0003)"


def test_adamw_alone_decays_by_default():
    assert (AdamW(make_parameters()).weight_decay, Adam(make_parameters()).weight_decay) == (0.01, 0)
