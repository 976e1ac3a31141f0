import numpy as np
import pytest

from allconv.data import Dataset


def images(n=6, shape=(4, 5, 3)):
    return np.random.default_rng(0).integers(0, 256, (n, *shape), dtype=np.uint8)


def test_holds_images_and_labels_without_a_copy():
    pixels = images()
    dataset = Dataset(pixels, [0, 1, 2, 3, 1, 0])
    assert np.shares_memory(dataset.images, pixels)
    assert dataset.labels.dtype == np.int64
    assert dataset.labels.tolist() == [0, 1, 2, 3, 1, 0]
    assert (len(dataset), dataset.classes, dataset.names) == (6, 4, ())


def test_labels_do_not_follow_the_callers_array():
    labels = np.arange(6)
    dataset = Dataset(images(), labels)
    labels[:] = 0
    assert dataset.labels.tolist() == list(range(6))


def test_a_slice_is_a_dataset_that_keeps_the_classes_and_names():
    dataset = Dataset(images(), np.arange(6) % 3, names=["ant", "bee", "cow"])
    part = dataset[:4:2]
    assert isinstance(part, Dataset)
    assert part.images.shape == (2, 4, 5, 3)
    assert part.labels.tolist() == [0, 2]
    assert (part.classes, part.names) == (3, ("ant", "bee", "cow"))
    assert Dataset(images(), np.zeros(6, np.uint8), classes=10)[:2].classes == 10
    assert len(dataset[:100]) == 6
    assert np.shares_memory(part.images, dataset.images)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((images().astype(np.float32), np.arange(6)), {}, TypeError, "images must be uint8 .* dtype float32"),
        ((images()[0], np.arange(4)), {}, ValueError, r"images must be .*\(N, H, W, C\), got .*\(4, 5, 3\)"),
        ((images()[:0], np.arange(0)), {}, ValueError, "at least one image"),
        ((images(), np.arange(5)), {}, ValueError, r"labels must have shape \(N,\) = \(6,\).*\(5,\)"),
        ((images(), np.arange(6)[:, None]), {}, ValueError, "labels must have shape"),
        ((images(), np.arange(6.0)), {}, TypeError, "labels must be integers, got .*float64"),
        ((images(), np.ones(6, bool)), {}, TypeError, "labels must be integers"),
        ((images(), np.arange(6) - 1), {}, ValueError, r"labels must be in 0\.\., got -1"),
        ((images(), np.arange(6)), {"classes": 5}, ValueError, r"labels must be in 0\.\.4, got 5"),
        ((images(), np.arange(6)), {"classes": 0}, ValueError, "classes must be a positive int, got 0"),
        ((images(), np.arange(6)), {"classes": 7, "names": "abcdef"}, TypeError, "names must be a sequence of str"),
        ((images(), np.arange(6)), {"classes": 7, "names": list("abcdef")}, ValueError, "one name per class, 7, got 6"),
        ((images(), np.arange(6)), {"names": ["a"]}, ValueError, r"labels must be in 0\.\.0, got 5"),
    ],
)
def test_bad_input_is_named(arguments, options, error, message):
    with pytest.raises(error, match=message):
        Dataset(*arguments, **options)


@pytest.mark.parametrize("index", [0, [0, 1], np.arange(2)])
def test_only_slices_index(index):
    with pytest.raises(TypeError, match="indexed by a slice"):
        Dataset(images(), np.arange(6))[index]


def test_an_empty_slice_raises():
    with pytest.raises(ValueError, match="at least one image"):
        Dataset(images(), np.arange(6))[6:]


@pytest.mark.parametrize("label", [2**63, 2**64 - 1])
def test_a_label_that_would_wrap_to_a_negative_one_is_refused(label):
    with pytest.raises(ValueError, match=rf"labels must be in 0\.\.9223372036854775807, got {label}"):
        Dataset(images(2), np.array([0, label], np.uint64))
    assert Dataset(images(2), np.array([0, 3], np.uint64)).labels.tolist() == [0, 3]
