import numpy as np
import pytest
import scipy.linalg
from helpers.bits import same_with_any_threads
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from allconv.checkpoint import format as storage
from allconv.data import Dataset, Loader
from allconv.data.whitening import ZCA, GlobalContrast

shapes = st.tuples(st.integers(1, 6), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))


def uint8(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def natural(count, size, seed=0):
    """Images whose neighbouring pixels go together, as those of a camera do: sums along both axes."""
    noise = np.random.default_rng(seed).standard_normal((count, size, size, 3))
    smooth = noise.cumsum(axis=1).cumsum(axis=2)
    return np.clip(128 + 20 * smooth, 0, 255).astype(np.uint8)


def contrast_of(image, scale):
    """One image, one value at a time."""
    values = [float(value) for value in image.ravel()]
    mean = sum(values) / len(values)
    norm = sum((value - mean) ** 2 for value in values) ** 0.5
    divisor = norm / scale if norm / scale >= 1e-8 else 1.0
    return np.array([(value - mean) / divisor for value in values]).reshape(image.shape)


def whitened_by_definition(fitted, images, bias):
    """(Sigma + bias I)^(-1/2) (x - mean) by the matrix square root, without an eigenvector."""
    x, new = (a.reshape(len(a), -1).astype(np.float64) for a in (fitted, images))
    # Before version 2.2, NumPy's rowvar=False ignores itself where there is one row.
    covariance = np.cov(x.T, bias=True).reshape(x.shape[1], x.shape[1])
    root = scipy.linalg.sqrtm(covariance + bias * np.eye(len(covariance)))
    return np.linalg.solve(root.real, (new - x.mean(axis=0)).T).T.reshape(images.shape)


# GlobalContrast


@settings(max_examples=40, deadline=None)
@given(
    st.one_of(
        arrays(np.uint8, shapes, elements=st.integers(0, 255)),
        arrays(np.float64, shapes, elements=st.floats(-100, 100).map(lambda value: round(value, 3))),
    ),
    st.floats(0.1, 100),
)
def test_contrast_against_the_definition(images, scale):
    images.flags.writeable = False
    y = GlobalContrast(scale)(images)
    assert (y.dtype, y.shape) == (np.float32, images.shape)
    expected = np.stack([contrast_of(image, scale) for image in images])
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-6 * scale)


def test_contrast_of_many_slices_has_pylearn2_s_norm_and_no_mean():
    y = GlobalContrast()(uint8(150, 32, 32, 3)).astype(np.float64)
    np.testing.assert_allclose(np.sqrt((y**2).sum(axis=(1, 2, 3))), 55, rtol=1e-6)
    np.testing.assert_allclose(y.mean(axis=(1, 2, 3)), 0, atol=1e-6)


def test_an_image_without_contrast_becomes_0():
    images = uint8(3, 4, 4, 3)
    images[1] = 77
    y = GlobalContrast()(images)
    assert y.any(axis=(1, 2, 3)).tolist() == [True, False, True]
    assert abs(GlobalContrast()(np.full((1, 4, 4, 3), 0.1))).max() < 1e-12  # whose mean is rounded


# ZCA


@settings(max_examples=25, deadline=None)
@given(arrays(np.uint8, shapes, elements=st.integers(0, 255)), st.floats(0.1, 10), st.booleans(), st.booleans())
def test_zca_against_the_matrix_square_root(images, bias, floating, with_contrast):
    images = images / 8 if floating else images
    images.flags.writeable = False
    contrast = GlobalContrast(5.0) if with_contrast else None
    y = ZCA.fit(images, bias=bias, contrast=contrast)(images)
    assert (y.dtype, y.shape) == (np.float32, images.shape)
    before = np.stack([contrast_of(image, 5.0) for image in images]) if with_contrast else images
    np.testing.assert_allclose(y, whitened_by_definition(before, before, bias), rtol=1e-4, atol=1e-4)


def test_new_images_by_the_fitted_statistics_over_several_blocks_and_bands():
    train, test = natural(1200, 9), natural(70, 9, seed=1)  # 243 values: two bands; blocks of 512, 512 and 176
    before, after = (np.stack([contrast_of(image, 55.0) for image in images]) for images in (train, test))
    whiten = ZCA.fit(train, contrast=GlobalContrast())
    expected = whitened_by_definition(before, after, 0.1)
    np.testing.assert_allclose(whiten(test), expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(whiten(test)[:3], whiten(test[:3]), rtol=1e-4, atol=1e-5)


def test_the_product_is_p_times_x_also_where_p_is_not_symmetric():
    matrix = np.array([[1.0, 2.0], [0.0, 1.0]])
    whiten = ZCA(np.array([[[1.0, 1.0]]]), matrix)
    np.testing.assert_array_equal(whiten(np.array([2, 4], np.uint8).reshape(1, 1, 1, 2)).ravel(), [1 + 2 * 3, 3])


def test_the_same_bits_for_any_number_of_threads():
    images = natural(600, 9)

    def bits():
        whiten = ZCA.fit(images, contrast=GlobalContrast())
        return whiten.matrix.tobytes() + whiten(images[:200]).tobytes()

    same_with_any_threads(bits)


@pytest.mark.parametrize("contrast", [None, GlobalContrast(7.0)])
def test_the_state_is_all_there_is_to_save(contrast, tmp_path):
    images = uint8(30, 4, 4, 3)
    whiten = ZCA.fit(images, contrast=contrast)
    storage.write(tmp_path / "file.npz", {"whitening": whiten.state()})
    again = ZCA.from_state(storage.read(tmp_path / "file.npz")["whitening"])
    np.testing.assert_array_equal(again(images), whiten(images))
    assert repr(again) == repr(whiten)


def test_a_loader_takes_them_as_its_normalize():
    dataset = Dataset(uint8(10, 4, 4, 3), np.arange(10))
    for normalize in (GlobalContrast(), ZCA.fit(dataset.images, contrast=GlobalContrast())):
        loader = Loader(dataset, 4, shuffle=False, normalize=normalize)
        given = np.concatenate([images for images, _ in loader.epoch(0)])
        np.testing.assert_allclose(given, normalize(dataset.images), rtol=1e-5, atol=1e-6)


# Errors


def test_bad_images_are_named():
    images, nan = uint8(3, 4, 4, 3), np.full((1, 4, 4, 3), np.nan)
    whiten = ZCA.fit(images)
    for function in (GlobalContrast(), ZCA.fit, whiten):
        for bad, error, message in (
            (images.astype(np.int32), TypeError, "images must be an array of real floating dtype"),
            (images[:0], ValueError, "images must be at least one image"),
            (nan[:0], ValueError, "images must be a batch of at least one example"),
            (nan[0], ValueError, r"images must have shape \(N, H, W, C\)"),
            (nan, ValueError, "images must be finite, got .* with NaN or infinity"),
        ):
            with pytest.raises(error, match=message):
                function(bad)
    with pytest.raises(ValueError, match=r"images must have the fitted shape \(4, 4, 3\), got .*\(2, 4, 5, 3\)"):
        whiten(uint8(2, 4, 5, 3))
    with pytest.raises(ValueError, match=r"images must have at most 12288 values each, got .*\(1, 65, 64, 3\)"):
        ZCA.fit(uint8(1, 65, 64, 3))


@pytest.mark.parametrize("value", [0, -1.0, np.inf, np.nan])
def test_scale_and_bias_are_positive(value):
    with pytest.raises(ValueError, match="scale must be a positive number, got"):
        GlobalContrast(value)
    with pytest.raises(ValueError, match="bias must be a positive number, got"):
        ZCA.fit(uint8(3, 2, 2, 3), bias=value)


@pytest.mark.parametrize(
    ("mean", "matrix", "error", "message"),
    [
        (np.zeros(12), np.eye(12), ValueError, r"mean must have shape \(H, W, C\), got .*\(12,\)"),
        (np.zeros((2, 2, 3)), np.eye(11), ValueError, r"matrix must have shape \(12, 12\), as mean has it, got .*11"),
        (np.full((2, 2, 3), np.nan), np.eye(12), ValueError, "mean must be finite"),
        (np.zeros((2, 2, 3)), np.full((12, 12), np.inf), ValueError, "matrix must be finite"),
        (np.zeros((2, 2, 3)), None, TypeError, "matrix must be an array of real floating dtype, got None"),
    ],
)
def test_bad_statistics_are_named(mean, matrix, error, message):
    with pytest.raises(error, match=message):
        ZCA(mean, matrix)


def test_a_bad_contrast_and_a_bad_state_are_named():
    for function, arguments in ((ZCA, (np.zeros((1, 1, 1)), np.eye(1))), (ZCA.fit, (uint8(2, 1, 1, 1),))):
        with pytest.raises(TypeError, match="contrast must be a GlobalContrast or None, got 55"):
            function(*arguments, contrast=55)
    state = ZCA.fit(uint8(2, 2, 2, 1)).state()
    del state["matrix"]
    with pytest.raises(ValueError, match="state must be that of a ZCA, got one without matrix"):
        ZCA.from_state(state)
