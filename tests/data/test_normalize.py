import numpy as np
import pytest
from helpers.bits import same_with_any_threads
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from allconv.data import Standardize, per_step


def uint8(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def by_definition(images, axis):
    x = images.astype(np.float64)
    mean, std = x.mean(axis=axis, keepdims=True), x.std(axis=axis, keepdims=True)
    return np.where(std > 0, (x - mean) / np.where(std > 0, std, 1), 0)


@settings(max_examples=50, deadline=None)
@given(
    arrays(
        np.uint8,
        st.tuples(st.integers(1, 9), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)),
        elements=st.integers(0, 255),
    )
)
def test_both_kinds_against_the_definition(images):
    images.flags.writeable = False
    y = per_step(images)
    assert (y.dtype, y.shape) == (np.float32, images.shape)
    np.testing.assert_allclose(y, by_definition(images, 0), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(Standardize.fit(images)(images), by_definition(images, (0, 1, 2)), rtol=1e-6, atol=1e-6)


def test_many_slices_against_the_definition():
    images = uint8(500, 32, 32, 3)
    np.testing.assert_allclose(per_step(images), by_definition(images, 0), rtol=1e-6, atol=1e-6)
    fixed = Standardize.fit(images)
    np.testing.assert_allclose(fixed.mean, images.reshape(-1, 3).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(fixed.std, images.reshape(-1, 3).std(axis=0), rtol=1e-12)


def test_a_constant_pixel_becomes_0_and_the_smallest_deviation_does_not():
    images = np.full((50_000, 1, 1, 3), 251, np.uint8)
    images[17, 0, 0, 1] = 252
    y = per_step(images)
    assert not y[..., ::2].any()
    p = 1 / 50_000  # a Bernoulli variable: variance p (1 - p)
    assert y[17, 0, 0, 1] == pytest.approx((1 - p) / np.sqrt(p * (1 - p)), rel=1e-6)
    assert y[0, 0, 0, 1] == pytest.approx(-p / np.sqrt(p * (1 - p)), rel=1e-6)


def test_the_test_set_over_itself_is_per_step():
    images = uint8(1000, 32, 32, 3)
    np.testing.assert_allclose(Standardize.fit(images, per="pixel")(images), per_step(images), rtol=1e-6, atol=1e-6)


def test_mean_and_std_are_all_there_is_to_save():
    images = uint8(20, 8, 8, 3)
    fitted = Standardize.fit(images, per="pixel")
    assert fitted.mean.shape == fitted.std.shape == (8, 8, 3)
    np.testing.assert_array_equal(Standardize(fitted.mean.tolist(), fitted.std.tolist())(images), fitted(images))


def test_the_same_bits_for_any_number_of_threads():
    images = uint8(600, 32, 32, 3)
    same_with_any_threads(lambda: per_step(images))


@pytest.mark.parametrize(
    ("mean", "std", "error", "message"),
    [
        ([0.0, 1.0], [1.0], ValueError, r"std must have the shape of mean, \(2,\)"),
        ([0.0], [-1.0], ValueError, r"std must not be negative, got -1\.0"),
        ([0.0, 0.0], [0.0, 5e-324], ValueError, r"std must be 0 or at least 2\.23e-308, got 5e-324"),
        ([np.nan], [1.0], ValueError, "mean must be finite"),
        ([0.0], [np.inf], ValueError, "std must be finite"),
        (0.0, 1.0, ValueError, r"mean must have shape \(C,\), or that of an input"),
        (np.zeros((2, 0)), np.ones((2, 0)), ValueError, "mean must have shape"),
        ("grey", [1.0], TypeError, "mean must be an array of numbers, got 'grey'"),
    ],
)
def test_bad_statistics_are_named(mean, std, error, message):
    with pytest.raises(error, match=message):
        Standardize(mean, std)


def test_bad_images_are_named():
    fixed = Standardize([0.0, 0.0, 0.0], [1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match=r"images must match the statistics of shape \(3,\), got .*\(2, 4, 4, 1\)"):
        fixed(uint8(2, 4, 4, 1))
    with pytest.raises(ValueError, match="images must match the statistics"):
        Standardize.fit(uint8(2, 4, 4, 3), per="pixel")(uint8(2, 5, 4, 3))
    for function in (fixed, per_step, Standardize.fit):
        with pytest.raises(TypeError, match="images must be uint8 images"):
            function(np.zeros((2, 4, 4, 3), int))
        with pytest.raises(ValueError, match="at least one image"):
            function(uint8(0, 4, 4, 3))
    for function in (per_step, Standardize.fit):
        with pytest.raises(ValueError, match=r"images must have an axis of channels.*N single numbers are images"):
            function(np.zeros(4))
        for number in (np.nan, np.inf, 1e200):
            with pytest.raises(ValueError, match="images must be finite, and their squares too, got an array of shape"):
                function(np.array([[0.0, 1.0], [number, 1.0]]))
    with pytest.raises(ValueError, match="per must be one of 'channel', 'pixel', got 'image'"):
        Standardize.fit(uint8(2, 4, 4, 3), per="image")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("shape", "per", "axes"),
    [
        ((50, 3), "channel", 0),
        ((5, 4, 4, 3), "channel", (0, 1, 2)),
        ((5, 4, 4, 3), "pixel", 0),
        ((9, 7, 3), "channel", (0, 1)),
        ((9, 7, 3), "pixel", 0),
    ],
)
def test_floating_inputs_are_standardized_in_their_dtype(dtype, shape, per, axes):
    x = (1000 + np.random.default_rng(0).normal(size=shape)).astype(dtype)
    x[..., 1] = 0.1  # constant, and no sum of it is exact
    normalize = Standardize.fit(x, per=per)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(normalize.mean, wide.mean(axis=axes), rtol=1e-12)
    assert not normalize.std[..., 1].any()
    y = normalize(x)
    assert y.dtype == dtype
    assert not y[..., 1].any()
    np.testing.assert_allclose(y[..., ::2].std(axis=axes), 1, rtol=1e-5)


def test_the_statistics_of_features_are_the_same_for_any_number_of_threads():
    x = np.random.default_rng(0).normal(size=(200_000, 3))
    same_with_any_threads(lambda: Standardize.fit(x).std.tobytes())
