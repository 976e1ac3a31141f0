"""float16 inputs: sums are made in float32, so that nothing becomes infinite or 0 on the way."""

import numpy as np
import pytest
from helpers.registry import every_layer

import allconv as ac


def largest_error(got, wanted):
    """Return the largest error, relative to the number where that is large and to 1 where it is small."""
    return float(np.max(np.abs(got.astype(np.float64) - wanted) / np.maximum(np.abs(wanted), 1)))


@every_layer
@pytest.mark.parametrize("scale", [1, 1000])
@pytest.mark.parametrize("training", [False, True])
def test_float16_is_the_rounded_result_of_float64(case, options, scale, training):
    rng = np.random.default_rng(0)
    x = (scale * rng.standard_normal(case.shape)).astype(np.float16)
    y, cache = case.build(**options).forward(x, training=training)
    dy = rng.standard_normal(y.shape).astype(np.float16)
    dx = case.build(**options).backward(dy, cache)
    layer = case.build(**options)
    wanted, wide_cache = layer.forward(x.astype(np.float64), training=training)
    assert largest_error(y, wanted) < 2e-3
    assert largest_error(dx, layer.backward(dy.astype(np.float64), wide_cache)) < 4e-3


@pytest.mark.parametrize("value", [2000, 10_000, 60_000])
@pytest.mark.parametrize("layer", [ac.MeanPool2D(8), ac.GlobalAveragePool2D(keepdims=True)], ids=repr)
def test_the_mean_of_equal_numbers_is_that_number(layer, value):
    x = np.full((2, 8, 8, 3), value, np.float16)
    y, cache = layer.forward(x)
    np.testing.assert_array_equal(y, np.full((2, 1, 1, 3), value, np.float16))
    assert y.dtype == np.float16
    dx = layer.backward(y, cache)
    np.testing.assert_array_equal(dx, np.full(x.shape, np.float16(value) / np.float16(64)))


@pytest.mark.parametrize("layer", [ac.MeanPool2D(300), ac.GlobalAveragePool2D(keepdims=True)], ids=repr)
def test_a_mean_over_more_positions_than_float16_counts_has_a_gradient(layer):
    x = np.ones((1, 300, 300, 1), np.float16)
    y, cache = layer.forward(x)
    assert y.item() == 1
    np.testing.assert_array_equal(layer.backward(np.full_like(y, 90.0), cache), np.full_like(x, 1e-3))


@pytest.mark.parametrize("axis", [-1, 1])
def test_the_softmax_over_70000_classes_is_that_of_float64(axis):
    x = np.random.default_rng(0).standard_normal((2, 70_000)).astype(np.float16)
    dy = np.random.default_rng(1).standard_normal(x.shape).astype(np.float16)
    # The smallest step of float16 is 6e-8, and its step near 1 is 1e-3.
    for layer, tolerance in ((ac.Softmax(axis), 1.8e-7), (ac.LogSoftmax(axis), 1e-3)):
        y, cache = layer.forward(x)
        exact, exact_cache = layer.forward(x.astype(np.float64))
        exact_dx = layer.backward(dy.astype(np.float64), exact_cache)
        np.testing.assert_allclose(y, exact, rtol=2e-3, atol=tolerance)
        np.testing.assert_allclose(layer.backward(dy, cache), exact_dx, rtol=2e-3, atol=tolerance)


def test_equal_scores_of_70000_classes_have_equal_probabilities():
    scores = np.zeros((1, 70_000), np.float16)
    np.testing.assert_array_equal(ac.Softmax()(scores), np.full(scores.shape, 1 / 70_000, np.float16))
    np.testing.assert_array_equal(ac.LogSoftmax()(scores), np.full(scores.shape, -np.log(70_000), np.float16))


def test_the_gradients_of_overlapping_windows_are_added_in_float32():
    x = np.zeros((1, 3, 3, 1), np.float16)
    x[0, 1, 1] = 1
    layer = ac.MaxPool2D(2, stride=1)
    y, cache = layer.forward(x)
    dy = np.array([2048.0, 1.0, 1.0, 1.0], np.float16).reshape(y.shape)
    assert layer.backward(dy, cache)[0, 1, 1, 0] == np.float16(2051)
