"""Batch normalization in both modes."""

import math

import numpy as np
import pytest
from helpers.bits import bits, same_with_any_threads

from allconv import BatchNorm

SHAPES = pytest.mark.parametrize("shape", [(7, 3), (2, 4, 3, 3), (1, 2, 1, 3)])


def layer_with_values(channels=3, seed=0, **arguments):
    """Return a layer none of whose parameters is at its initial value."""
    rng = np.random.default_rng(seed)
    layer = BatchNorm(channels, dtype=np.float64, **arguments)
    for parameter in layer.parameters():
        parameter.value = rng.uniform(0.5, 2, channels)
    return layer


@SHAPES
def test_statistics_by_the_definition(shape):
    x = np.random.default_rng(0).normal(3, 2, shape)
    layer = layer_with_values(eps=1e-3, momentum=0.3)
    old_mean, old_var = layer.running_mean.value.copy(), layer.running_var.value.copy()
    y, _ = layer.forward(x, training=True)
    for c in range(3):
        values = x[..., c].ravel().tolist()
        mean = math.fsum(values) / len(values)
        squares = math.fsum((v - mean) ** 2 for v in values)
        std = math.sqrt(squares / len(values) + 1e-3)
        expected = layer.weight.value[c] * (x[..., c] - mean) / std + layer.bias.value[c]
        np.testing.assert_allclose(y[..., c], expected, rtol=1e-12, atol=1e-12)
        assert layer.running_mean.value[c] == pytest.approx(0.7 * old_mean[c] + 0.3 * mean, rel=1e-12)
        unbiased = squares / (len(values) - 1)
        assert layer.running_var.value[c] == pytest.approx(0.7 * old_var[c] + 0.3 * unbiased, rel=1e-12)


def test_inference_uses_the_running_statistics_and_leaves_them():
    layer = layer_with_values()
    before = [p.value.copy() for p in layer.parameters()]
    x = np.random.default_rng(1).normal(size=(1, 3))
    weight, bias, mean, var = before
    np.testing.assert_allclose(layer(x), weight * (x - mean) / np.sqrt(var + 1e-5) + bias, rtol=1e-12)
    assert bits([p.value for p in layer.parameters()]) == bits(before)


def test_a_cache_outlives_later_training_steps():
    """An inference cache, used after the running statistics have moved, gives the gradient of its own forward."""
    rng = np.random.default_rng(4)
    layer = layer_with_values()
    x, dy = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    _, cache = layer.forward(x)
    expected = layer.backward(dy, cache), layer.weight.grad
    layer.forward(x, training=True)
    layer.weight.grad = None
    np.testing.assert_array_equal(layer.backward(dy, cache), expected[0])
    np.testing.assert_array_equal(layer.weight.grad, expected[1])


@pytest.mark.parametrize("drift", [[0, 1, 2, 3, 4, 5], [-10_000, 0, 0, 0, 0, 0]])
def test_a_large_mean_does_not_spoil_the_variance(drift):
    """In float32, E[x^2] - E[x]^2 would leave nothing of a variance of 4 beside a mean of 10,000."""
    rng = np.random.default_rng(5)
    means = 1e4 + np.reshape(drift, (6, 1, 1, 1))  # so that the slices of the batch differ in their means
    x = (means + rng.normal(size=(6, 64, 64, 16))).astype(np.float32)
    layer = BatchNorm(16, momentum=1.0)
    layer.forward(x, training=True)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(layer.running_mean.value, exact.mean(axis=(0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(layer.running_var.value, exact.var(axis=(0, 1, 2), ddof=1), rtol=1e-3)


def test_a_constant_channel_gives_the_bias():
    layer = BatchNorm(2)
    layer.bias.value = np.array([3.0, -1.0])
    y, cache = layer.forward(np.full((4, 2), 7.0, np.float32), training=True)
    np.testing.assert_array_equal(y, np.tile([[3.0, -1.0]], (4, 1)))
    assert np.isfinite(layer.backward(y, cache)).all()


def test_parameters():
    layer = BatchNorm(4)
    listed = [(name, p.trainable, p.decay, p.value.tolist()) for name, p in layer.named_parameters()]
    assert listed == [
        ("weight", True, True, [1.0] * 4),
        ("bias", True, True, [0.0] * 4),
        ("running_mean", False, True, [0.0] * 4),
        ("running_var", False, True, [1.0] * 4),
    ]
    assert all(p.value.dtype == np.float32 for p in layer.parameters())
    assert layer.output_shape((5, 6, 4)) == (5, 6, 4)


def test_same_bits_for_any_number_of_threads():
    rng = np.random.default_rng(8)
    x = (np.arange(9)[:, None, None, None] + rng.normal(size=(9, 32, 32, 24))).astype(np.float32)  # four slices
    dy = rng.normal(size=x.shape).astype(np.float32)

    def compute():
        layer = BatchNorm(24)
        y, cache = layer.forward(x, training=True)
        return [y, layer.backward(dy, cache), layer.weight.grad, layer.bias.grad, layer.running_mean.value]

    results = same_with_any_threads(compute)
    x, dy, axes = x.astype(np.float64), dy.astype(np.float64), (0, 1, 2)  # for the definition, not for `compute`
    inv_std = 1 / np.sqrt(x.var(axis=axes) + 1e-5)
    x_hat = (x - x.mean(axis=axes)) * inv_std
    dx = inv_std * (dy - dy.mean(axis=axes) - x_hat * (dy * x_hat).mean(axis=axes))
    exact = [x_hat, dx, (dy * x_hat).sum(axis=axes), dy.sum(axis=axes), 0.1 * x.mean(axis=axes)]
    for array, reference in zip(results, exact, strict=True):
        np.testing.assert_allclose(array, reference, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 3, 5, 5)), r"x must have shape \(N, H, W, 3\).*this looks like NCHW"),
        (np.zeros((1, 3)), r"x must hold more than one value per channel in training, got .*\(1, 3\)"),
        (np.zeros((1, 1, 1, 3)), r"x must hold more than one value per channel in training"),
    ],
)
def test_bad_input_changes_nothing(x, message):
    layer = layer_with_values()
    before = bits([p.value for p in layer.parameters()])
    with pytest.raises(ValueError, match=message):
        layer.forward(x, training=True)
    assert bits([p.value for p in layer.parameters()]) == before


def test_a_frozen_layer_does_in_training_what_it_does_at_inference():
    layer = layer_with_values(frozen=True)
    x = np.random.default_rng(6).normal(size=(1, 3))  # one value per channel
    before = [p.value.copy() for p in layer.parameters()]
    y, cache = layer.forward(x, training=True)
    np.testing.assert_array_equal(y, layer(x))
    weight, _, _, var = before
    np.testing.assert_allclose(layer.backward(np.ones((1, 3)), cache)[0], weight / np.sqrt(var + 1e-5), rtol=1e-12)
    for parameter, value in zip(layer.parameters(), before, strict=True):
        np.testing.assert_array_equal(parameter.value, value)


def test_frozen_may_be_assigned_at_any_time():
    layer, x = layer_with_values(), np.random.default_rng(7).normal(size=(5, 3))
    assert repr(layer) == "BatchNorm(3, dtype=np.float64)"
    layer.frozen, old_var = True, layer.running_var.value.copy()
    assert repr(layer) == "BatchNorm(3, frozen=True, dtype=np.float64)"
    y, cache = layer.forward(x, training=True)
    np.testing.assert_array_equal(y, layer(x))
    layer.frozen = False
    assert not np.allclose(layer.forward(x, training=True)[0], y)
    # A pass that was made before the change goes back by the statistics that it used.
    expected = x * layer.weight.value / np.sqrt(old_var + 1e-5)
    np.testing.assert_allclose(layer.backward(x, cache), expected, rtol=1e-12)
    with pytest.raises(TypeError, match="frozen must be True or False, got 1"):
        layer.frozen = 1


@pytest.mark.parametrize(("dtype", "eps"), [(np.float32, 1e-44), (np.float32, 1e-46), (np.float64, 5e-324)])
def test_an_eps_that_vanishes_in_the_dtype_is_refused(dtype, eps):
    with pytest.raises(ValueError, match=rf"eps must be at least .*, the smallest normal {np.dtype(dtype)}, got {eps}"):
        BatchNorm(3, eps=eps, dtype=dtype)


def test_the_smallest_eps_keeps_a_constant_channel_finite():
    smallest = float(np.finfo(np.float32).tiny)
    y, _ = BatchNorm(1, eps=smallest).forward(np.full((4, 1), 3.0, np.float32), training=True)
    np.testing.assert_array_equal(y, np.zeros((4, 1)))


@pytest.mark.parametrize(("dtype", "large"), [(np.float32, 1e20), (np.float64, 1e200)])
def test_a_variance_that_does_not_fit_is_forgotten(dtype, large):
    layer = BatchNorm(1, dtype=dtype)
    layer.forward(np.array([[large], [-large]], dtype), training=True)
    assert layer.running_var.value[0] == pytest.approx(0.1 * np.finfo(dtype).max)
    for _ in range(8000):
        layer.forward(np.array([[1], [-1]], dtype), training=True)
    assert layer.running_var.value[0] == pytest.approx(2)
