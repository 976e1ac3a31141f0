import hashlib
import os
import sys

import numpy as np
import pytest
from helpers.bits import same_with_any_threads
from helpers.programs import python

from allconv.data import Dataset, shapes
from allconv.data.shapes import CLASSES, cover


def bits(dataset):
    return hashlib.sha256(dataset.images.tobytes() + dataset.labels.tobytes()).hexdigest()


def test_what_it_returns():
    dataset = shapes(203, seed=4)
    assert isinstance(dataset, Dataset)
    assert dataset.images.shape == (203, 32, 32, 3)
    assert dataset.images.dtype == np.uint8
    assert (dataset.classes, len(dataset.names), len(set(dataset.names))) == (10, 10, 10)
    counts = np.bincount(dataset.labels, minlength=10)
    assert sorted(counts) == 7 * [20] + 3 * [21]
    assert shapes(3, seed=0).classes == 10
    assert len(np.unique(dataset.images.reshape(203, -1), axis=0)) == 203


def test_the_labels_are_shuffled():
    labels = shapes(1000, seed=0).labels
    assert 50 < (np.diff(labels) == 0).sum() < 150  # a tenth of the neighbours: 100, 5 standard deviations


def test_a_seed_gives_the_same_bits_for_any_number_of_threads():
    result = same_with_any_threads(lambda: bits(shapes(600, seed=7)))
    assert bits(shapes(600, seed=8)) != result


def test_a_seed_gives_the_same_bits_without_the_processors_wide_instructions():
    """Where NumPy may not use AVX and its like, it takes other code paths, as on another processor."""
    script = (
        "import hashlib; from allconv.data import shapes; d = shapes(300, seed=7);"
        "print(hashlib.sha256(d.images.tobytes() + d.labels.tobytes()).hexdigest())"
    )
    enabled = [name for name, have in np._core._multiarray_umath.__cpu_features__.items() if have]
    disabled = [name for name in enabled if name in np._core._multiarray_umath.__cpu_dispatch__]
    printed = python(script, NPY_DISABLE_CPU_FEATURES=" ".join(disabled), PYTHONPATH=os.pathsep.join(sys.path))
    assert printed.strip() == bits(shapes(300, seed=7))


AREAS = {  # in pixels, for radius r: by the formulas of school geometry
    "disc": lambda r: np.pi * r**2,
    "ring": lambda r: np.pi * (r**2 - (0.6 * r) ** 2),
    "square": lambda r: (1.7 * r) ** 2,
    "frame": lambda r: (1.7 * r) ** 2 - (1.02 * r) ** 2,
    "triangle": lambda r: 3 * np.sqrt(3) * (0.55 * r) ** 2,  # by its inscribed circle
    "cross": lambda r: 2 * (2 * r * 0.6 * r) - (0.6 * r) ** 2,
}
SHARES = {"stripes": 0.5, "checks": 0.5, "dots": np.pi * 0.3**2, "target": 0.5}  # of the plane


@pytest.mark.parametrize("name", AREAS)
@pytest.mark.parametrize("radius", [8.0, 12.0])
def test_a_shape_covers_its_area(name, radius):
    y, x = np.divmod(np.arange(64 * 64), 64)
    distance = CLASSES[name]((x - 31.3)[None], (y - 31.6)[None], np.array([[radius]]))
    assert cover(distance).sum() == pytest.approx(AREAS[name](radius), rel=0.02)


@pytest.mark.parametrize("name", SHARES)
def test_a_texture_covers_its_share(name):
    y, x = np.divmod(np.arange(512 * 512), 512)
    distance = CLASSES[name]((x - 255.3)[None], (y - 255.6)[None], np.array([[10.0]]))
    assert cover(distance).mean() == pytest.approx(SHARES[name], rel=0.02)


def test_all_classes_are_covered_by_these_tests():
    assert set(CLASSES) == set(AREAS) | set(SHARES)


def test_place_and_colour_vary():
    dataset = shapes(2000, seed=3)
    discs = dataset.images[dataset.labels == dataset.names.index("disc")].astype(int)
    middle, corner = discs[:, 14:18, 14:18].mean(axis=(1, 2)), discs[:, :2, :2].mean(axis=(1, 2))
    assert (middle.std(axis=0) > 40).all()
    assert (corner.std(axis=0) > 30).all()
    lighter = (middle > corner).mean()
    assert 0.6 < lighter < 0.95


def test_a_linear_classifier_on_the_pixels_stays_under_60_percent():
    train, test = shapes(5000, seed=0), shapes(1000, seed=1)
    x, y = (data.images.reshape(len(data), -1).astype(np.float32) / 255 - 0.5 for data in (train, test))
    weight = np.linalg.solve(
        x.T @ x + 1000 * np.eye(3072, dtype=np.float32), x.T @ np.eye(10, dtype=np.float32)[train.labels]
    )
    assert 0.2 < np.mean((y @ weight).argmax(axis=1) == test.labels) < 0.6
