"""Whitening filters beside the patches one by one, and on published figures."""

import tracemalloc

import numpy as np
import pytest

from allconv import Conv2D
from allconv.data import whitening_filters


def images(count=40, height=6, width=5, channels=3):
    rng = np.random.default_rng(0)
    return rng.normal(size=(count, height, width, channels)).cumsum(axis=1).cumsum(axis=2).astype(np.float32)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_outputs_are_uncorrelated_with_the_variance_that_eps_leaves(size):
    x, eps = images(), 0.01
    filters = whitening_filters(x, size, eps=eps)
    half = size * size * 3
    assert filters.shape == (size, size, 3, 2 * half)
    np.testing.assert_array_equal(filters[..., half:], -filters[..., :half])

    patches = np.array(
        [
            image[row : row + size, column : column + size].ravel()
            for image in x.astype(np.float64)
            for row in range(6 - size + 1)
            for column in range(5 - size + 1)
        ]
    )
    eigenvalues = np.linalg.eigvalsh(patches.T @ patches / len(patches))[::-1]
    layer = Conv2D(3, 2 * half, size, padding="valid", bias=False, dtype=np.float64)
    layer.weight.value = filters.astype(np.float64)
    outputs = layer(x.astype(np.float64)).reshape(-1, 2 * half)[:, :half]
    np.testing.assert_allclose(
        outputs.T @ outputs / len(outputs), np.diag(eigenvalues / (eigenvalues + eps)), atol=1e-4
    )


@pytest.mark.parametrize(("bound", "value"), [("_BLOCK_IMAGES", 7), ("_BLOCK_ELEMENTS", 1000), ("_BLOCK_ELEMENTS", 1)])
def test_parts_of_the_images_do_not_matter(monkeypatch, bound, value):
    whole = whitening_filters(images())
    monkeypatch.setattr(f"allconv.data.patches.{bound}", value)
    np.testing.assert_allclose(np.abs(whitening_filters(images())), np.abs(whole), rtol=1e-4)


def test_a_direction_without_variance_is_scaled_by_eps():
    filters = whitening_filters(np.ones((2, 2, 2, 1), np.float32), eps=0.01).reshape(4, 8)
    np.testing.assert_allclose(np.linalg.norm(filters, axis=0), 2 * [1 / 4.01**0.5, 10, 10, 10], rtol=1e-5)


def test_the_patches_of_large_images_take_little_memory():
    large = np.zeros((20, 224, 224, 3), np.float32)
    tracemalloc.start()
    try:
        whitening_filters(large, 3)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 150e6  # all patches take 213 MB
