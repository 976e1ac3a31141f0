"""Sums of millions of float32 numbers, beside the same sums in float64: what a long sum may lose."""

from functools import partial

import numpy as np
import pytest
from helpers.bits import same_with_any_threads

import allconv as ac
from allconv.parallel.reductions import column_sum, position_sum

# What one addition after another loses of them: the same digit each time, or every small number beside a large sum.
NUMBERS = {
    "0.1": lambda shape, rng: np.full(shape, 0.1, np.float32),
    "1 - 2^-24": lambda shape, rng: np.full(shape, 1 - 2**-24, np.float32),
    "uniform": lambda shape, rng: rng.random(shape, np.float32),
    "far from 0": lambda shape, rng: 1e4 + rng.standard_normal(shape, np.float32),
    "of all sizes": lambda shape, rng: rng.standard_exponential(shape, np.float32) ** 8,
}


def numbers(kind, shape):
    return NUMBERS[kind](shape, np.random.default_rng(0))


def gradients(layer, x, dy):
    """Return the parameters' gradients and dx."""
    _, cache = layer.forward(x, training=True)
    dx = layer.backward(dy, cache)
    return {name: p.grad for name, p in layer.named_parameters() if p.trainable} | {"dx": dx}


def sums_of_columns(x):
    return x.reshape(-1, x.shape[-1]).sum(axis=0, dtype=np.float64)


def global_mean(x):
    return ac.GlobalAveragePool2D()(x), x.mean(axis=(1, 2), dtype=np.float64)


def window_mean(x):
    return ac.MeanPool2D(x.shape[1:3])(x)[:, 0, 0], x.mean(axis=(1, 2), dtype=np.float64)


def window_mean_input_grad(dy):
    """Each input lies in many windows, of which the middle one lies in all."""
    size = dy.shape[1]
    layer = ac.MeanPool2D(size, stride=1, padding=size // 2, count_padding=True)
    _, cache = layer.forward(np.zeros_like(dy))
    dx = layer.backward(dy, cache)
    return dx[:, size // 2, size // 2], dy.mean(axis=(1, 2), dtype=np.float64)


def linear_bias(dy):
    layer = ac.Linear(1, dy.shape[1])
    return gradients(layer, np.ones((len(dy), 1), np.float32), dy)["bias"], sums_of_columns(dy)


def linear_weight(dy, inputs=2):
    layer, x = ac.Linear(inputs, dy.shape[1]), np.full((len(dy), inputs), 0.1, np.float32)
    return gradients(layer, x, dy)["weight"], np.tile(float(x[0, 0]) * sums_of_columns(dy), (inputs, 1))


def conv_bias(dy, **options):
    layer = ac.Conv2D(2, 2, 3, padding="same", **options)
    return gradients(layer, np.zeros_like(dy), dy)["bias"], sums_of_columns(dy)


im2col_bias = partial(conv_bias, algorithm="im2col")
winograd_bias = partial(conv_bias, algorithm="winograd")
depthwise_bias = partial(conv_bias, groups=2)


def conv_weight(dy, inputs=2, kernel=1, **options):
    """The weight's gradient at the middle of the kernel, for equal inputs."""
    layer, x = ac.Conv2D(inputs, dy.shape[-1], kernel, **options), np.full((*dy.shape[:3], inputs), 0.1, np.float32)
    middle = gradients(layer, x, dy)["weight"][kernel // 2, kernel // 2]
    return middle, np.tile(float(x[0, 0, 0, 0]) * sums_of_columns(dy), (len(middle), 1))


def depthwise_weight(dy):
    layer = ac.Conv2D(2, 2, 3, padding="same", groups=2)
    return gradients(layer, np.ones_like(dy), dy)["weight"][1, 1, 0], sums_of_columns(dy)


def batch_mean(x):
    layer = ac.BatchNorm(x.shape[-1], momentum=1.0)
    layer.forward(x, training=True)
    return layer.running_mean.value, sums_of_columns(x) / (x.size // x.shape[-1])


def batch_variance(x):
    layer = ac.BatchNorm(x.shape[-1], momentum=1.0)
    layer.forward(x, training=True)
    return layer.running_var.value, x.reshape(-1, x.shape[-1]).astype(np.float64).var(axis=0, ddof=1)


def batch_bias(dy):
    return gradients(ac.BatchNorm(dy.shape[-1]), np.eye(*dy.shape, dtype=np.float32), dy)["bias"], sums_of_columns(dy)


def batch_weight(dy):
    layer = ac.BatchNorm(dy.shape[-1], frozen=True)
    layer.eps = 0.0  # so that the normalized input is the input
    return gradients(layer, np.ones_like(dy), dy)["weight"], sums_of_columns(dy)


def softmax_sums(x):
    return ac.Softmax(axis=1)(x).sum(axis=1, dtype=np.float64), np.ones((len(x), *x.shape[2:]))


def squared_error(x):
    return ac.MeanSquaredError()(x, np.zeros_like(x))[0], np.square(x, dtype=np.float64).mean()


def cross_entropy(x):
    """Two classes, of scores 0 and x, and the label 0: log(1 + e^x)."""
    x = x.ravel() % 4
    value, _ = ac.SoftmaxCrossEntropy()(np.stack([np.zeros_like(x), x], axis=1), np.zeros(x.size, int))
    return value, np.log1p(np.exp(x, dtype=np.float64)).mean()


def gradient_norm(x):
    p = ac.Parameter(np.zeros_like(x))
    p.add_grad(x)
    return ac.clip_grad_norm([p], np.inf), np.sqrt(np.square(x, dtype=np.float64).sum())


def whitening_mean(x):
    """The mean image of float64 sums, rounded once."""
    return ac.data.whitening.ZCA.fit(x.reshape(-1, 1, 1, 2)).mean.ravel(), sums_of_columns(x) / (x.size // 2)


# (what is computed, the shape of the numbers, the largest relative error)
SUMS = {
    "global average, large image": (global_mean, (1, 1000, 1000, 2), 4e-7),
    "global average, 224x224": (global_mean, (2, 224, 224, 3), 4e-7),
    "global average, 32x32": (global_mean, (8, 32, 32, 16), 4e-7),
    "mean pooling": (window_mean, (1, 1000, 1000, 1), 4e-7),
    "mean pooling, narrow": (window_mean, (1, 20_000, 2, 2), 4e-7),
    "mean pooling, dx": (window_mean_input_grad, (1, 101, 101, 2), 4e-7),
    "linear bias, 50,000 rows": (linear_bias, (50_000, 16), 4e-7),
    "linear bias, a million rows": (linear_bias, (1_000_000, 2), 4e-7),
    "linear weight": (linear_weight, (1_000_000, 2), 4e-6),  # the error of one product of BLAS, as in PyTorch
    "linear weight, one input": (partial(linear_weight, inputs=1), (1_000_000, 2), 4e-6),
    "linear weight, one output": (linear_weight, (1_000_000, 1), 4e-6),
    "im2col bias": (im2col_bias, (1, 700, 700, 2), 4e-7),
    "Winograd bias": (winograd_bias, (1, 700, 700, 2), 4e-7),
    "depthwise bias": (depthwise_bias, (1, 700, 700, 2), 4e-7),
    "1x1 weight": (conv_weight, (1, 1000, 1000, 2), 4e-6),
    "1x1 weight, one channel": (partial(conv_weight, inputs=1), (1, 1000, 1000, 1), 4e-6),
    "1x1 weight, 8 channels": (partial(conv_weight, inputs=8), (1, 500, 500, 8), 4e-6),
    "1x1 weight, an odd size": (conv_weight, (1, 997, 991, 2), 4e-6),
    "1x1 weight, two groups": (partial(conv_weight, inputs=4, groups=2), (1, 700, 700, 4), 4e-6),
    "banded weight": (partial(conv_weight, kernel=3), (1, 1000, 1000, 2), 4e-6),
    "im2col weight": (partial(conv_weight, kernel=3, algorithm="im2col"), (1, 1000, 1000, 2), 4e-6),
    "Winograd weight": (partial(conv_weight, kernel=3, algorithm="winograd"), (1, 1000, 1000, 2), 1e-5),
    "depthwise weight": (depthwise_weight, (1, 700, 700, 2), 4e-7),
    "depthwise weight, many slices": (depthwise_weight, (20, 160, 160, 2), 4e-7),
    "batch mean": (batch_mean, (1_000_000, 2), 2e-7),
    "batch variance": (batch_variance, (1_000_000, 2), 1e-6),
    "batch norm beta": (batch_bias, (1_000_000, 2), 4e-7),
    "batch norm gamma": (batch_weight, (1_000_000, 2), 4e-7),
    "softmax over positions": (softmax_sums, (1, 500_000, 2), 4e-7),
    "squared error": (squared_error, (1_000_000, 1), 4e-7),
    "cross-entropy": (cross_entropy, (300_000, 1), 4e-7),
    "norm of the gradients": (gradient_norm, (1_000_000, 2), 4e-7),
    "whitening": (whitening_mean, (500_000, 2), 1e-7),
}


@pytest.mark.parametrize("kind", NUMBERS)
@pytest.mark.parametrize(("compute", "shape", "bound"), SUMS.values(), ids=SUMS)
def test_a_long_sum_keeps_its_digits(compute, shape, bound, kind):
    result, exact = compute(numbers(kind, shape))
    if compute is batch_variance and kind in ("0.1", "1 - 2^-24"):
        assert (result == 0).all()
    else:
        assert (np.abs(result - exact) / exact).max() <= bound


def test_the_average_of_25_million_ones_is_1():
    """A float32 counter stops at 2^24 = 16.8 million."""
    np.testing.assert_array_equal(ac.GlobalAveragePool2D()(np.ones((1, 5000, 5000, 2), np.float32)), 1)


@pytest.mark.parametrize("columns", [1, 3, 63, 64, 65, 300])
@pytest.mark.parametrize("rows", [1, 32, 33, 127, 128, 129, 5375, 5376, 8193, 20_001])
def test_every_row_counts_once(rows, columns):
    x = np.random.default_rng(0).integers(0, 100, (rows, columns)).astype(np.float64)
    np.testing.assert_array_equal(column_sum(x), x.sum(axis=0))
    images = x[: min(rows, 9000)].reshape(1, -1, 1, columns)
    np.testing.assert_array_equal(position_sum(images), images.sum(axis=(1, 2)))


@pytest.mark.parametrize("what", ["global average, large image", "linear bias, a million rows", "linear weight"])
def test_long_sums_are_the_same_bits_with_any_threads(what):
    compute, shape, _ = SUMS[what]
    same_with_any_threads(lambda: compute(numbers("uniform", shape)))


def test_the_average_of_an_image_in_another_layout_is_the_same():
    x = numbers("uniform", (3, 5, 70, 90))
    np.testing.assert_array_equal(
        ac.GlobalAveragePool2D()(x.transpose(0, 2, 3, 1)), ac.GlobalAveragePool2D()(x.transpose(0, 2, 3, 1).copy())
    )


@pytest.mark.parametrize("height", [1, 30, 300])
def test_a_sum_may_leave_the_range_of_float32_on_the_way(height):
    x = np.full((2, height, 20, 2), 3e38, np.float32)
    np.testing.assert_allclose(ac.GlobalAveragePool2D()(x), 3e38, rtol=1e-6)
    x[0, 0, 0, 0] = np.inf
    assert np.isinf(ac.GlobalAveragePool2D()(x)).sum() == 1
    rows = x[1].reshape(-1, 2) * np.float32([1, -1])
    np.testing.assert_array_equal(column_sum(np.concatenate([rows, rows[:, ::-1]])), 0)


@pytest.mark.parametrize("layer", [ac.BatchNorm(2), ac.LayerNorm(500), ac.GroupNorm(2, 500)], ids=lambda row: repr(row))
def test_numbers_whose_squares_leave_the_range_of_float32_are_normalized(layer):
    shape = (500, 2) if isinstance(layer, ac.BatchNorm) else (2, 500)
    small = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    large, dy = small * np.float32(2.0**70), small[::-1]
    (expected, cache), (y, large_cache) = layer.forward(small, training=True), layer.forward(large, training=True)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    dx = layer.backward(dy, large_cache)
    np.testing.assert_allclose(dx * np.float32(2.0**70), layer.backward(dy, cache), rtol=1e-3, atol=1e-3)
    assert (y.dtype, dx.dtype) == (np.float32, np.float32)
