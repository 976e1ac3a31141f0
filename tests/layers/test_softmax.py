"""Softmax and LogSoftmax."""

import math

import numpy as np
import pytest
from helpers.numeric import numeric_input_grad
from hypothesis import given, settings
from hypothesis import strategies as st

from allconv.layers.softmax import LogSoftmax, Softmax

KINDS = pytest.mark.parametrize("kind", [Softmax, LogSoftmax])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-20, 20), min_size=1, max_size=6))
def test_values_by_the_formula(numbers):
    total = sum(math.exp(x) for x in numbers)
    x = np.array([numbers])
    np.testing.assert_allclose(Softmax()(x), [[math.exp(x) / total for x in numbers]], rtol=1e-12)
    np.testing.assert_allclose(LogSoftmax()(x), [[x - math.log(total) for x in numbers]], rtol=1e-12, atol=1e-12)


@KINDS
@pytest.mark.parametrize("axis", [-1, 1, 2, -3, 0])
def test_gradient(kind, axis):
    rng = np.random.default_rng(0)
    layer = kind(axis)
    x, dy = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 3, 4))
    _, cache = layer.forward(x, training=True)
    np.testing.assert_allclose(layer.backward(dy, cache), numeric_input_grad(layer, x, dy), rtol=1e-6, atol=1e-8)


@KINDS
@pytest.mark.parametrize("axis", [-1, 1, 0])
def test_as_torch(kind, axis):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    x = rng.normal(size=(5, 6, 7)) * 20
    dy = rng.normal(size=x.shape)
    x_torch = torch.tensor(x, requires_grad=True)
    function = torch.softmax if kind is Softmax else torch.log_softmax
    y_torch = function(x_torch, axis)
    y_torch.backward(torch.tensor(dy))
    layer = kind(axis)
    y, cache = layer.forward(x)
    np.testing.assert_allclose(y, y_torch.detach().numpy(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(layer.backward(dy, cache), x_torch.grad.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_scores_of_ten_thousand(dtype):
    x = np.array([[1e4, 0.0, -1e4], [-1e4, -1e4, -1e4]], dtype)
    y, log_y = Softmax()(x), LogSoftmax()(x)
    assert y.dtype == log_y.dtype == dtype
    np.testing.assert_allclose(y, [[1, 0, 0], [1 / 3] * 3], rtol=1e-3)
    np.testing.assert_allclose(log_y, [[0, -1e4, -2e4], [-math.log(3)] * 3], rtol=1e-3)


def test_a_score_of_minus_infinity_rules_a_class_out():
    x = np.array([[0.0, -np.inf, 0.0]])
    assert Softmax()(x).tolist() == [[0.5, 0.0, 0.5]]
    assert LogSoftmax()(x)[0, 1] == -np.inf


@KINDS
def test_arguments(kind):
    name = kind.__name__
    assert repr(kind()) == f"{name}()"
    assert repr(kind(axis=1)) == f"{name}(axis=1)"
    for axis in (None, 1.0, True, "last", (1, 2), math.nan):
        with pytest.raises(TypeError, match="axis must be an int, got "):
            kind(axis)
    for axis in (2, -3):
        with pytest.raises(ValueError, match=f"x must have an axis {axis}, got an array of shape"):
            kind(axis)(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="x must be a batch of at least one example"):
        kind()(np.zeros((0, 3)))
    with pytest.raises(TypeError, match="x must be an array of real floating dtype"):
        kind()(np.zeros((2, 3), int))
    y, cache = kind().forward(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"dy must have the shape of the layer's output, \(2, 3\)"):
        kind().backward(y[0], cache)
