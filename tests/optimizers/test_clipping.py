"""Gradient clipping: by hand and against PyTorch."""

import math

import numpy as np
import pytest
from helpers.trajectories import gradient, start
from hypothesis import given
from hypothesis import strategies as st

from allconv.optimizers import clip_grad_norm, clip_grad_value
from allconv.parameter import Parameter


def _with_gradients(dtype=np.float64, scale=1.0):
    parameters = [Parameter(w.astype(dtype)) for w in start()]
    for parameter in parameters:
        parameter.add_grad((gradient(parameter.value, 1) * scale).astype(dtype))
    return parameters


@given(max_norm=st.floats(1e-3, 1e3))
def test_the_norm_after_is_at_most_the_limit(max_norm):
    parameters = _with_gradients()
    before = [p.grad.copy() for p in parameters]
    norm = clip_grad_norm(parameters, max_norm)
    assert norm == pytest.approx(math.sqrt(math.fsum(x * x for g in before for x in g.ravel().tolist())), rel=1e-12)
    after = math.sqrt(math.fsum(x * x for p in parameters for x in p.grad.ravel().tolist()))
    if norm < max_norm * (1 - 1e-6):
        assert all(np.array_equal(p.grad, g) for p, g in zip(parameters, before, strict=True))
    else:
        assert after == pytest.approx(max_norm * norm / (norm + 1e-6), rel=1e-6)
        assert after <= max_norm
        for p, g in zip(parameters, before, strict=True):  # the direction stays
            np.testing.assert_allclose(p.grad / after, g / norm, rtol=1e-9)


@pytest.mark.parametrize("clip", [clip_grad_norm, clip_grad_value])
def test_the_given_array_is_not_written_to_and_the_dtype_stays(clip):
    p = Parameter(np.zeros(2, np.float32))
    given = np.array([3.0, -4.0], np.float32)
    p.add_grad(given)
    clip([p], 1.0)
    assert p.grad.dtype == np.float32
    np.testing.assert_array_equal(given, [3, -4])
    np.testing.assert_allclose(p.grad, [0.6, -0.8] if clip is clip_grad_norm else [1, -1], rtol=1e-6)


@pytest.mark.parametrize("clip", [clip_grad_norm, clip_grad_value])
def test_frozen_parameters_are_left_out(clip):
    p, frozen = Parameter(np.zeros(1)), Parameter(np.zeros(1), trainable=False)
    p.add_grad(np.array([3.0]))
    frozen.add_grad(np.array([4.0]))
    norm = clip([p, frozen], 10.0)
    assert norm in (3.0, None)
    np.testing.assert_array_equal(frozen.grad, 4)


@pytest.mark.parametrize("clip", [clip_grad_norm, clip_grad_value])
def test_a_missing_gradient_is_named(clip):
    parameters = _with_gradients()
    parameters[1].grad = None
    parameters[1].name = "7.bias"
    first = parameters[0].grad
    with pytest.raises(RuntimeError, match=r"every trainable parameter must have a gradient, got none for 7\.bias"):
        clip(parameters, 0.1)
    assert parameters[0].grad is first


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_is_named_and_nothing_changes(bad):
    parameters = _with_gradients()
    parameters[2].grad[0, 0] = bad
    before = [p.grad for p in parameters]
    with pytest.raises(FloatingPointError, match=f"must be finite .* norm of {bad} for 2"):
        clip_grad_norm(parameters, 1.0)
    assert all(p.grad is g for p, g in zip(parameters, before, strict=True))


@pytest.mark.parametrize("limit", [math.inf, np.float64(np.inf), np.float32(np.inf)])
def test_an_infinite_limit_measures_the_norm_and_changes_nothing(limit):
    parameters = _with_gradients()
    before = [p.grad for p in parameters]
    norm = clip_grad_norm(parameters, limit)
    assert norm == pytest.approx(math.sqrt(math.fsum(x * x for g in before for x in g.ravel().tolist())), rel=1e-12)
    assert all(p.grad is g for p, g in zip(parameters, before, strict=True))


@pytest.mark.parametrize("size", [1e-200, 1e200, 1.0])
def test_norms_whose_squares_leave_float64(size):
    p, q = Parameter(np.zeros(2)), Parameter(np.zeros(1))
    p.add_grad(np.array([2.0, 3.0]) * size)
    q.add_grad(np.array([6.0]) * size)
    assert clip_grad_norm([p, q], math.inf) == pytest.approx(7 * size, rel=1e-14)
    if size == 1e200:
        clip_grad_norm([p, q], 1.0)
        np.testing.assert_allclose([*p.grad, *q.grad], np.array([2, 3, 6]) / 7, rtol=1e-12)


def test_a_tiny_limit_keeps_the_direction_in_float32():
    """The factor, 1e-42, is a denormal number of float32 with two digits."""
    p = Parameter(np.zeros(2, np.float32))
    p.add_grad(np.array([3e37, 4e37], np.float32))
    clip_grad_norm([p], 5e-5)
    np.testing.assert_allclose(p.grad, [3e-5, 4e-5], rtol=1e-6)


def test_the_norm_of_ten_million_float32_numbers_keeps_its_digits():
    p = Parameter(np.zeros(10_000_000, np.float32))
    p.add_grad(np.full(10_000_000, 0.1, np.float32))
    assert clip_grad_norm([p], math.inf) == pytest.approx(float(np.float32(0.1)) * math.sqrt(1e7), rel=1e-12)


def test_a_gradient_that_is_a_list_is_clipped():
    p = Parameter(np.zeros(2))
    p.grad = [3.0, 4.0]
    assert clip_grad_norm([p], 1.0) == 5
    np.testing.assert_allclose(p.grad, [0.6, 0.8], rtol=1e-6)
