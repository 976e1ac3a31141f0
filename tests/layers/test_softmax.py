"""Softmax and LogSoftmax."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allconv import LogSoftmax, Softmax, gradcheck

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
    gradcheck.check(kind(axis), np.random.default_rng(0).normal(size=(2, 3, 4))).raise_if_failed()


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
@pytest.mark.parametrize("axis", [2, -3])
def test_an_axis_that_x_has_not(kind, axis):
    with pytest.raises(ValueError, match=f"x must have an axis {axis}, got an array of shape"):
        kind(axis)(np.zeros((2, 3)))
