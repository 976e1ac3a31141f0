"""The activations: values by the plain formula, derivatives, PyTorch's values, and inputs of any size."""

import math

import numpy as np
import pytest
from helpers.numeric import numeric_input_grad
from hypothesis import given, settings
from hypothesis import strategies as st

from allconv.layers.gelu import GELU
from allconv.layers.leaky_relu import LeakyReLU
from allconv.layers.relu import ReLU
from allconv.layers.sigmoid import Sigmoid
from allconv.layers.silu import SiLU
from allconv.layers.tanh import Tanh
from allconv.parallel.pool import get_num_threads, set_num_threads


def logistic(x):
    return 1 / (1 + math.exp(-x))


def gelu_tanh(x):
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


# (layer, the formula for one number, PyTorch's function)
CASES = [
    (ReLU(), lambda x: x if x > 0 else 0.0, lambda f, x: f.relu(x)),
    (LeakyReLU(), lambda x: x if x > 0 else 0.01 * x, lambda f, x: f.leaky_relu(x)),
    (LeakyReLU(1.5), lambda x: x if x > 0 else 1.5 * x, lambda f, x: f.leaky_relu(x, 1.5)),
    (LeakyReLU(0.0), lambda x: x if x > 0 else 0.0, lambda f, x: f.leaky_relu(x, 0.0)),
    (GELU(), lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2))), lambda f, x: f.gelu(x)),
    (GELU("tanh"), gelu_tanh, lambda f, x: f.gelu(x, approximate="tanh")),
    (SiLU(), lambda x: x * logistic(x), lambda f, x: f.silu(x)),
    (Sigmoid(), logistic, lambda f, x: f.sigmoid(x)),
    (Tanh(), math.tanh, lambda f, x: f.tanh(x)),
]
LAYERS = [layer for layer, _, _ in CASES]

every_case = pytest.mark.parametrize(("layer", "formula", "torch_function"), CASES, ids=[repr(x) for x in LAYERS])
every_layer = pytest.mark.parametrize("layer", LAYERS, ids=repr)


@every_case
@settings(max_examples=50, deadline=None)
@given(numbers=st.lists(st.floats(-30, 30), min_size=1, max_size=8), training=st.booleans())
def test_values_by_the_formula(layer, formula, torch_function, numbers, training):
    y, _ = layer.forward(np.array([numbers]), training=training)
    np.testing.assert_allclose(y, [[formula(x) for x in numbers]], rtol=1e-12, atol=1e-13)


@every_layer
def test_gradient(layer):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 5)) * 3
    x[np.abs(x) < 1e-3] = 1.0  # not at the kink
    dy = rng.normal(size=x.shape)
    _, cache = layer.forward(x, training=True)
    np.testing.assert_allclose(layer.backward(dy, cache), numeric_input_grad(layer, x, dy), rtol=1e-6, atol=1e-8)


@every_case
def test_as_torch(layer, formula, torch_function):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(size=500) * 4, [0.0, -0.0, 700.0, -700.0, 1e-300]])[None]
    dy = rng.normal(size=x.shape)
    x_torch = torch.tensor(x, requires_grad=True)
    y_torch = torch_function(torch.nn.functional, x_torch)
    y_torch.backward(torch.tensor(dy))
    y, cache = layer.forward(x)
    np.testing.assert_allclose(y, y_torch.detach().numpy(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(layer.backward(dy, cache), x_torch.grad.numpy(), rtol=1e-9, atol=1e-12)


@every_layer
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_largest_numbers_give_finite_results_in_the_inputs_dtype(layer, dtype):
    largest = float(np.finfo(dtype).max) * 0.5  # so that LeakyReLU(1.5) stays in the range
    x = np.array([[-largest, -1e4, -100.0, -1.0, 0.0, 1.0, 100.0, 1e4, largest]], dtype)
    y, cache = layer.forward(x)
    dx = layer.backward(np.ones_like(y), cache)
    assert y.dtype == dx.dtype == dtype
    assert np.isfinite(y).all()
    assert np.isfinite(dx).all()
    # Far from 0 all of them are straight lines: of slope 1 or 0 above, of slope 0 or the leak below.
    assert dx[0, -1] in (0, 1)
    assert dx[0, 0] == dtype(getattr(layer, "negative_slope", 0))


@every_layer
def test_nan_stays_nan(layer):
    assert np.isnan(layer(np.array([[np.nan, 1.0]]))).tolist() == [[True, False]]


def test_sigmoid_is_precise_where_it_is_small():
    y = Sigmoid()(np.array([[-700.0, -50.0]]))
    np.testing.assert_allclose(y, [[math.exp(-700), math.exp(-50)]], rtol=1e-13)


@every_layer
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_same_bits_for_any_number_of_threads_and_any_layout(layer, dtype):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(37, 17, 13, 11)).astype(dtype)  # more than one slice
    dy = rng.normal(size=x.shape).astype(dtype)
    before, results = get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            set_num_threads(threads)
            y, cache = layer.forward(x)
            results.append((y, layer.backward(dy, cache)))
    finally:
        set_num_threads(before)
    for y, dx in results[1:]:
        np.testing.assert_array_equal(y, results[0][0])
        np.testing.assert_array_equal(dx, results[0][1])
    tolerance = 4 * np.finfo(dtype).eps
    for other in (np.asfortranarray(x), np.repeat(x, 2, axis=3)[..., ::2], x.astype(x.dtype.newbyteorder(">"))):
        y, cache = layer.forward(other)
        np.testing.assert_allclose(y, results[0][0], rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(layer.backward(dy, cache), results[0][1], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (ReLU(), "ReLU()"),
        (LeakyReLU(), "LeakyReLU()"),
        (LeakyReLU(0.25), "LeakyReLU(0.25)"),
        (GELU(), "GELU()"),
        (GELU("tanh"), "GELU(approximate='tanh')"),
        (SiLU(), "SiLU()"),
        (Sigmoid(), "Sigmoid()"),
        (Tanh(), "Tanh()"),
    ],
)
def test_repr(layer, text):
    assert repr(layer) == text


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: LeakyReLU(-0.1), ValueError, "negative_slope must be a non-negative number, got -0.1"),
        (lambda: LeakyReLU(math.nan), ValueError, "negative_slope must be a non-negative number, got nan"),
        (lambda: LeakyReLU(math.inf), ValueError, "negative_slope must be a non-negative number, got inf"),
        (lambda: LeakyReLU("0.1"), TypeError, "negative_slope must be a non-negative number, got '0.1'"),
        (lambda: LeakyReLU(True), TypeError, "negative_slope must be a non-negative number, got True"),
        (lambda: GELU("erf"), ValueError, "approximate must be one of 'none', 'tanh', got 'erf'"),
        (lambda: GELU(None), TypeError, "approximate must be one of 'none', 'tanh', got None"),
        (lambda: GELU(True), TypeError, "approximate must be one of 'none', 'tanh', got True"),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error) as caught:
        make()
    assert str(caught.value) == message


@every_layer
@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.zeros((0, 3)), ValueError, "x must be a batch of at least one example"),
        (np.float64(1.0), ValueError, "x must be a batch of at least one example"),
        (np.zeros((2, 3), int), TypeError, r"x must be an array of real floating dtype.*x\.astype"),
        (np.zeros((2, 3), bool), TypeError, "x must be an array of real floating dtype"),
        (np.zeros((2, 3), complex), TypeError, "x must be an array of real floating dtype"),
        (np.zeros((2, 3), object), TypeError, "x must be an array of real floating dtype"),
    ],
)
def test_bad_input(layer, x, error, message):
    with pytest.raises(error, match=message):
        layer.forward(x)


@every_layer
def test_bad_gradient(layer):
    _, cache = layer.forward(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"dy must have the shape of the layer's output, \(2, 3\)"):
        layer.backward(np.zeros((1, 3)), cache)
    with pytest.raises(TypeError, match="dy must be an array of real floating dtype"):
        layer.backward(np.zeros((2, 3), int), cache)
