"""guard_caches finds the code that writes to what a backward pass needs, and changes nothing itself."""

import numpy as np
import pytest
from helpers.registry import every_case

import allconv as ac
from allconv.gradcheck import guard_caches


def passes(layer, x):
    """Return y, dx and the parameters' gradients."""
    y, cache = layer.forward(x, training=True)
    dx = layer.backward(np.cos(np.arange(y.size)).reshape(y.shape), cache)
    return [y, dx, *(p.grad for p in layer.parameters() if p.grad is not None)]


@every_case
def test_passes_that_write_to_nothing_have_the_same_bits(case):
    x = np.random.default_rng(0).standard_normal(case.shape)
    plain, guarded = case.build(), case.build()
    expected = passes(plain, x)
    with guard_caches(guarded):
        got = passes(guarded, x)
    assert [array.tobytes() for array in got] == [array.tobytes() for array in expected]
    assert "forward" not in vars(guarded)


@pytest.mark.parametrize(
    "layer", [ac.Softmax(), ac.LogSoftmax(), ac.ELU(), ac.Tanh(), ac.Sigmoid(), ac.ReLU()], ids=repr
)
def test_an_output_that_is_changed_in_place_is_found(layer):
    model = ac.Sequential(ac.Linear(3, 3, dtype=np.float64, rng=np.random.default_rng(0)), layer)
    with guard_caches(model):
        y, cache = model.forward(np.ones((2, 3)))
        y *= 0.5
        message = (
            rf"the cache of layer 1, {type(layer).__name__}, must stay unchanged .* another array of shape \(2, 3\)"
        )
        with pytest.raises(RuntimeError, match=message):
            model.backward(np.ones((2, 3)), cache)
        with pytest.raises(RuntimeError, match=message):
            model.backward_parameters(np.ones((2, 3)), cache)


def test_an_input_that_is_changed_in_place_is_found():
    layer, x = ac.Conv2D(3, 2, 3, dtype=np.float64), np.ones((1, 4, 4, 3))
    with guard_caches(layer):
        y, cache = layer.forward(x)
        x[0, 0, 0, 0] = 2
        with pytest.raises(RuntimeError, match="the cache of the Conv2D must stay unchanged until backward"):
            layer.backward(y, cache)


def test_a_layer_that_stands_twice_is_compared_with_its_own_cache():
    tanh = ac.Tanh()
    model = ac.Sequential(tanh, ac.Skip(tanh))
    expected = passes(model, np.ones((2, 3)))[1]
    with guard_caches(model):
        y, cache = model.forward(np.ones((2, 3)))
        dx = model.backward(np.cos(np.arange(y.size)).reshape(y.shape), cache, release=True)
    np.testing.assert_array_equal(dx, expected)


def test_a_model_that_is_no_layer_is_refused():
    with pytest.raises(TypeError, match="model must be a Layer, got None"):
        guard_caches(None)
