"""The initial weights: the law of each, by moments and bounds known in advance, and what they take and return."""

import math

import numpy as np
import pytest
from helpers.registry import INITIALIZERS
from scipy import stats

from allconv import Conv2D, Linear, initializers

SHAPES = [(40, 90), (3, 5, 16, 25)]  # of a Linear, of a Conv2D
EACH = [row.build() for row in INITIALIZERS.values()]


def draw(initializer, shape, dtype=np.float64, seed=0):
    return initializer(np.random.default_rng(seed), shape, np.dtype(dtype))


def fans(shape):
    """Inputs that an output sees, outputs that an input reaches: counted on a weight of ones."""
    window = np.ones(shape[:-2]).sum()
    return window * shape[-2], window * shape[-1]


def pooled(initializer, shape):
    """40,000 numbers or more."""
    return np.concatenate(
        [draw(initializer, shape, seed=seed).ravel() for seed in range(1 + 40_000 // math.prod(shape))]
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_normal_laws(shape):
    fan_in, _ = fans(shape)
    for initializer, std in ((initializers.normal(0.05), 0.05), (initializers.he_normal, math.sqrt(2 / fan_in))):
        values = pooled(initializer, shape)
        # A deviation estimated from n numbers is off by std / sqrt(2 n) or so: by a third of a percent here.
        assert np.std(values) == pytest.approx(std, rel=0.015)
        assert stats.kstest(values, stats.norm(scale=std).cdf).pvalue > 0.01
        assert np.abs(values).max() > 3.5 * std  # not cut off


@pytest.mark.parametrize("shape", SHAPES)
def test_glorot_uniform(shape):
    limit = math.sqrt(6 / sum(fans(shape)))
    values = pooled(initializers.glorot_uniform, shape)
    assert 0.999 * limit < np.abs(values).max() <= limit
    assert stats.kstest(values, stats.uniform(-limit, 2 * limit).cdf).pvalue > 0.01


@pytest.mark.parametrize("shape", [(40, 90), (90, 40), (3, 3, 4, 30), (3, 3, 4, 50), (1, 1)])
def test_orthogonal(shape):
    w = draw(initializers.orthogonal, shape)
    assert w.shape == shape
    matrix = w.reshape(-1, shape[-1])
    small = min(matrix.shape)
    product = matrix.T @ matrix if matrix.shape[1] == small else matrix @ matrix.T
    np.testing.assert_allclose(product, np.eye(small), atol=1e-12)


def test_orthogonal_matrices_are_uniform():
    """In the plane: each angle is as likely, and half of the matrices reflect."""
    matrices = np.array([draw(initializers.orthogonal, (2, 2), seed=seed) for seed in range(2000)])
    angles = np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0])
    assert stats.kstest(angles, stats.uniform(-math.pi, 2 * math.pi).cdf).pvalue > 0.01
    assert np.mean(np.linalg.det(matrices) > 0) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("shape", SHAPES)
def test_fan_in_uniform(shape):
    limit = 1 / math.sqrt(fans(shape)[0])
    values = pooled(initializers.fan_in_uniform, shape)
    assert 0.999 * limit < np.abs(values).max() <= limit
    assert stats.kstest(values, stats.uniform(-limit, 2 * limit).cdf).pvalue > 0.01


@pytest.mark.parametrize(("inputs", "outputs"), [(3, 5), (5, 3), (4, 4)])
def test_identity_passes_the_first_inputs_on_and_leaves_the_rest(inputs, outputs):
    layer = Conv2D(inputs, outputs, 3, bias=False, dtype=np.float64, initializer=initializers.identity())
    x = np.random.default_rng(0).normal(size=(2, 5, 6, inputs))
    passed = min(inputs, outputs)
    np.testing.assert_array_equal(layer(x)[..., :passed], x[..., :passed])
    drawn = draw(initializers.fan_in_uniform, (3, 3, inputs, outputs))
    changed = draw(initializers.identity(), (3, 3, inputs, outputs))
    np.testing.assert_array_equal(changed[..., passed:], drawn[..., passed:])


def test_identity_leaves_what_its_rest_has_returned_alone():
    kept = np.full((3, 3, 2, 4), 5.0)
    for returned in (kept, np.broadcast_to(5.0, kept.shape)):
        weight = draw(initializers.identity(lambda rng, shape, dtype, array=returned: array), kept.shape)
        assert (weight != 5).sum() == 2 * 9 * 2
        assert (returned == 5).all()


@pytest.mark.parametrize("returned", [0.0, np.zeros((3, 4)), np.zeros((4, 3), np.float32), [[0.0] * 3] * 4])
def test_identity_names_a_rest_that_returns_no_weight(returned):
    with pytest.raises(TypeError, match=r"rest must return an array of shape \(4, 3\) and dtype float64, got "):
        draw(initializers.identity(lambda rng, shape, dtype: returned), (4, 3))


def test_identity_with_groups_repeats_inputs_of_the_first_group_alone():
    layer = Conv2D(4, 4, 3, groups=2, bias=False, dtype=np.float64, initializer=initializers.identity())
    x = np.random.default_rng(0).normal(size=(2, 5, 6, 4))
    assert [np.array_equal(layer(x)[..., k], x[..., k]) for k in range(4)] == [True, True, False, False]


def test_zeros_draw_nothing():
    rng = np.random.default_rng(0)
    assert not initializers.zeros(rng, (3, 4), np.dtype(np.float32)).any()
    assert rng.random() == np.random.default_rng(0).random()


@pytest.mark.parametrize("initializer", EACH)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_numbers_in_both_dtypes_and_for_the_same_seed(initializer, shape):
    single, double = draw(initializer, shape, np.float32), draw(initializer, shape)
    assert (single.dtype, double.dtype) == (np.float32, np.float64)
    np.testing.assert_array_equal(single, double.astype(np.float32))
    np.testing.assert_array_equal(double, draw(initializer, shape))


def test_layers_draw_by_them():
    rng, same = np.random.default_rng(1), np.random.default_rng(1)
    layers = [Conv2D(8, 6, 3, groups=2, dtype=np.float64, rng=rng), Linear(7, 5, dtype=np.float64, rng=rng)]
    for layer in layers:
        expected = initializers.he_normal(same, layer.weight.value.shape, np.dtype(np.float64))
        np.testing.assert_array_equal(layer.weight.value, expected)
        assert not layer.bias.value.any()
