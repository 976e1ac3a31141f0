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


@pytest.mark.parametrize("limit", [0.5, 1e4])
def test_pytorch(torch, limit):
    parameters = _with_gradients()
    tensors = [torch.nn.Parameter(torch.from_numpy(p.value.copy())) for p in parameters]
    for function in ("norm", "value"):
        for tensor, p in zip(tensors, parameters, strict=True):
            p.grad = gradient(p.value, 2)
            tensor.grad = torch.from_numpy(p.grad.copy())
        if function == "norm":
            theirs = torch.nn.utils.clip_grad_norm_(tensors, limit)
            assert clip_grad_norm(parameters, limit) == pytest.approx(float(theirs), rel=1e-12)
        else:
            torch.nn.utils.clip_grad_value_(tensors, limit)
            assert clip_grad_value(parameters, limit) is None
        for tensor, p in zip(tensors, parameters, strict=True):
            np.testing.assert_allclose(p.grad, tensor.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize("clip", [clip_grad_norm, clip_grad_value])
def test_the_given_array_is_not_written_to_and_the_dtype_stays(clip):
    p = Parameter(np.zeros(2, np.float32))
    given = np.array([3.0, -4.0], np.float32)
    p.add_grad(given)
    clip([p], 1.0)
    assert p.grad.dtype == np.float32
    np.testing.assert_array_equal(given, [3, -4])
    np.testing.assert_allclose(p.grad, [0.6, -0.8] if clip is clip_grad_norm else [1, -1], rtol=1e-6)


def test_large_float32_gradients_do_not_overflow():
    p = Parameter(np.zeros(4, np.float32))
    p.add_grad(np.full(4, 1e30, np.float32))
    assert clip_grad_norm([p], 1.0) == pytest.approx(2e30, rel=1e-6)
    np.testing.assert_allclose(p.grad, 0.5, rtol=1e-6)


@pytest.mark.parametrize("clip", [clip_grad_norm, clip_grad_value])
def test_frozen_parameters_are_left_out(clip):
    p, frozen = Parameter(np.zeros(1)), Parameter(np.zeros(1), trainable=False)
    p.add_grad(np.array([3.0]))
    frozen.add_grad(np.array([4.0]))
    norm = clip([p, frozen], 10.0)
    assert norm in (3.0, None)
    np.testing.assert_array_equal(frozen.grad, 4)


@pytest.mark.parametrize("clip", [clip_grad_norm, clip_grad_value])
@pytest.mark.parametrize("limit", [-1, math.nan, None])
def test_a_bad_limit_changes_nothing(clip, limit):
    parameters = _with_gradients()
    before = [p.grad for p in parameters]
    with pytest.raises((TypeError, ValueError), match=r"(max_norm|clip_value) must be a positive number, got "):
        clip(parameters, limit)
    assert all(p.grad is g for p, g in zip(parameters, before, strict=True))


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
