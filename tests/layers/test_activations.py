"""The activations: values by the plain formula, and inputs of any size."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allconv import ELU, GELU, LeakyReLU, PReLU, ReLU, ReLU6, Sigmoid, SiLU, Tanh


def logistic(x):
    return 1 / (1 + math.exp(-x))


def gelu_tanh(x):
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


# (layer, the formula for one number)
CASES = [
    (ReLU(), lambda x: x if x > 0 else 0.0),
    (ReLU6(), lambda x: min(max(x, 0.0), 6.0)),
    (LeakyReLU(), lambda x: x if x > 0 else 0.01 * x),
    (LeakyReLU(1.5), lambda x: x if x > 0 else 1.5 * x),
    (LeakyReLU(0.0), lambda x: x if x > 0 else 0.0),
    (GELU(), lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2)))),
    (GELU("tanh"), gelu_tanh),
    (SiLU(), lambda x: x * logistic(x)),
    (Sigmoid(), logistic),
    (Tanh(), math.tanh),
]
LAYERS = [layer for layer, _ in CASES]

every_case = pytest.mark.parametrize(("layer", "formula"), CASES, ids=[repr(x) for x in LAYERS])
every_layer = pytest.mark.parametrize("layer", LAYERS, ids=repr)


@every_case
@settings(max_examples=50, deadline=None)
@given(numbers=st.lists(st.floats(-30, 30), min_size=1, max_size=8), training=st.booleans())
def test_values_by_the_formula(layer, formula, numbers, training):
    y, _ = layer.forward(np.array([numbers]), training=training)
    np.testing.assert_allclose(y, [[formula(x) for x in numbers]], rtol=1e-12, atol=1e-13)


@every_layer
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_largest_numbers_give_finite_results_in_the_inputs_dtype(layer, dtype):
    largest = float(np.finfo(dtype).max) * 0.5  # so that LeakyReLU(1.5) stays in the range
    x = np.array([[-largest, -1e4, -100.0, -1.0, 0.0, 1.0, 100.0, 1e4, largest]], dtype)
    y, cache = layer.forward(x)
    dx = layer.backward(np.ones_like(y), cache)
    assert y.dtype == dx.dtype == dtype
    assert np.isfinite([y, dx]).all()
    # Far from 0 all of them are straight lines: of slope 1 or 0 above, of slope 0 or the leak below.
    assert dx[0, -1] in (0, 1)
    assert dx[0, 0] == dtype(getattr(layer, "negative_slope", 0))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("slope", [1e-50, 1.6732632423543772, 1e4 / 3, 65504.0])
@pytest.mark.parametrize("kind", [ELU, LeakyReLU])
def test_the_slope_of_positive_inputs_is_1_for_any_slope_of_negative_ones(kind, slope, dtype):
    layer = kind(slope)
    y, cache = layer.forward(np.array([[2, 1e-3, 0, -1e-3]], dtype))
    np.testing.assert_array_equal(y[0, :3], np.array([2, 1e-3, 0], dtype))
    dx = layer.backward(np.ones_like(y), cache)
    assert dx[0, :2].tolist() == [1, 1]
    np.testing.assert_allclose(dx[0, 2:], np.array(slope, dtype), rtol=2e-3)


def test_slopes_that_the_dtype_cannot_hold_are_refused():
    with pytest.raises(ValueError, match=r"initial must hold numbers that fit into float32, .* 1e\+39"):
        PReLU(initial=1e39)


@every_layer
def test_nan_stays_nan(layer):
    assert np.isnan(layer(np.array([[np.nan, 1.0]]))).tolist() == [[True, False]]


def test_sigmoid_is_precise_where_it_is_small():
    y = Sigmoid()(np.array([[-700.0, -50.0]]))
    np.testing.assert_allclose(y, [[math.exp(-700), math.exp(-50)]], rtol=1e-13)


def test_gelu_in_float32_keeps_to_its_stated_error():
    from scipy.special import ndtr

    rng = np.random.default_rng(0)
    near_0 = 10.0 ** rng.uniform(-30, 1, 20_000)
    x = np.concatenate([np.linspace(-13, 13, 200_001), near_0, -near_0]).astype(np.float32)
    exact = x.astype(float)
    expected = exact * ndtr(exact)
    slope = ndtr(exact) + exact * np.exp(-(exact**2) / 2) / math.sqrt(2 * math.pi)
    for training in (False, True):
        y, cache = GELU().forward(x, training=training)
        dx = GELU().backward(np.ones_like(y), cache)
        units = np.abs(y - expected) / np.spacing(np.abs(expected).astype(np.float32))
        assert (units <= np.maximum(10, exact**2)).all()
        assert np.abs(dx - slope).max() < 4e-7
