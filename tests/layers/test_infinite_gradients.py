"""Infinities and NaN, in the input and in the gradient: what PyTorch makes of them, and 0 where no gradient flows."""

import numpy as np
import pytest

import allconv as ac
from allconv.functional.masking import masked

DTYPES = [np.float16, np.float32, np.float64, np.longdouble]
every_dtype = pytest.mark.parametrize("dtype", DTYPES)

INPUTS = [np.nan, np.inf, -np.inf, 1.0, -1.0, 0.0, -0.0, 1000.0, -1000.0]
GRADIENTS = [np.inf, -np.inf, np.nan, 2.0, 0.0]
# (layer, PyTorch's function). GELU of an infinite x is NaN in PyTorch. Here it has its limit, which has its own test.
PEERS = [
    (ac.ReLU(), lambda f, x: f.relu(x), INPUTS),
    (ac.ReLU6(), lambda f, x: f.relu6(x), INPUTS),
    (ac.LeakyReLU(0.1), lambda f, x: f.leaky_relu(x, 0.1), INPUTS),
    (ac.LeakyReLU(1.5), lambda f, x: f.leaky_relu(x, 1.5), INPUTS),
    (ac.LeakyReLU(0.0), lambda f, x: f.leaky_relu(x, 0.0), INPUTS),
    (ac.ELU(), lambda f, x: f.elu(x), INPUTS),
    (ac.ELU(0.5), lambda f, x: f.elu(x, 0.5), INPUTS),
    (ac.GELU(), lambda f, x: f.gelu(x), [x for x in INPUTS if not np.isinf(x)]),
    (ac.GELU("tanh"), lambda f, x: f.gelu(x, approximate="tanh"), [x for x in INPUTS if not np.isinf(x)]),
    (ac.SiLU(), lambda f, x: f.silu(x), INPUTS),
    (ac.Sigmoid(), lambda f, x: f.sigmoid(x), INPUTS),
    (ac.Tanh(), lambda f, x: f.tanh(x), INPUTS),
]


@pytest.mark.parametrize(("layer", "torch_function", "inputs"), PEERS, ids=[repr(row[0]) for row in PEERS])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_activations_do_as_pytorch_with_all_that_is_not_finite(layer, torch_function, inputs, dtype):
    torch = pytest.importorskip("torch")
    x, dy = (grid.astype(dtype) for grid in np.meshgrid(inputs, GRADIENTS, indexing="ij"))
    x_torch = torch.tensor(x, requires_grad=True)
    y_torch = torch_function(torch.nn.functional, x_torch)
    y_torch.backward(torch.tensor(dy))
    y, cache = layer.forward(x, training=True)
    np.testing.assert_allclose(y, y_torch.detach().numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer.backward(dy, cache), x_torch.grad.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layer", [ac.GELU(), ac.GELU("tanh")], ids=repr)
def test_gelu_has_its_limits_at_infinity(layer):
    y, cache = layer.forward(np.array([np.inf]))
    assert y == np.inf
    assert layer.backward(np.array([3.0]), cache) == 3


@every_dtype
@pytest.mark.parametrize("shape", [(7,), (3, 100_001)])
def test_a_mask_gives_zeros_whatever_it_hides(dtype, shape):
    rng = np.random.default_rng(0)
    values = rng.standard_normal(shape).astype(dtype)
    values[rng.random(shape) < 0.2] = np.inf
    values[rng.random(shape) < 0.2] = np.nan
    mask = rng.random(shape) < 0.5
    out = np.full(shape, -7, dtype)
    assert masked(values, mask, out=out) is out
    np.testing.assert_array_equal(out, np.where(mask, values, 0))
    np.testing.assert_array_equal(masked(values[..., ::2], mask[..., ::2]), out[..., ::2])
    assert not np.signbit(out[~mask]).any()


@every_dtype
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_dropout_drops_what_is_not_finite(dtype, value):
    layer = ac.Dropout(0.5, rng=np.random.default_rng(0))
    x = np.full((2, 50), value, dtype)
    y, cache = layer.forward(x, training=True)
    dropped = np.equal(layer.backward(np.ones_like(x), cache), 0)
    assert 0 < np.count_nonzero(dropped) < x.size
    for array in (y, layer.backward(x, cache)):
        np.testing.assert_array_equal(array, np.where(dropped, 0, x))


@every_dtype
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (2, 1), (3, 2)])
def test_max_pooling_sends_an_infinite_gradient_to_the_maxima_alone(dtype, value, kernel, stride):
    rng = np.random.default_rng(0)
    x = rng.permutation(2 * 7 * 7 * 3).reshape(2, 7, 7, 3).astype(dtype)
    layer = ac.MaxPool2D(kernel, stride=stride)
    y, cache = layer.forward(x)
    finite = layer.backward(np.ones_like(y), cache)
    np.testing.assert_array_equal(layer.backward(np.full_like(y, value), cache), np.where(finite > 0, value, 0))


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_a_shortcut_of_scale_0_lets_nothing_through(value):
    layer = ac.Skip(ac.ReLU(), scale=0.0)
    x = np.array([[value, -1.0]])
    y, cache = layer.forward(x)
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    np.testing.assert_array_equal(layer(x), np.maximum(x, 0))
    assert layer.backward(np.array([[1.0, value]]), cache)[0, 1] == 0


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_the_rule_scaled_0_stops_an_infinite_gradient(value):
    layer = ac.Tanh()
    _, cache = layer.forward(np.ones((1, 2), np.float32))
    dx = ac.rules.scaled(0)(layer, np.full((1, 2), value), cache)
    np.testing.assert_array_equal(dx, np.zeros((1, 2)))
    assert dx.dtype == np.float32
