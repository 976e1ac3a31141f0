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
        (
            (images().astype(int), np.arange(6)),
            {},
            TypeError,
            "inputs must be uint8 .* or a floating .* dtype int64",
        ),
        ((images()[0], np.arange(4)), {}, ValueError, r"inputs must be .*\(N, H, W, C\), got .*\(4, 5, 3\)"),
        ((images()[..., 0], np.arange(6)), {}, ValueError, r"grey images .* pass inputs\[\.\.\., None\]"),
        ((images()[:, 0, :, 0], np.arange(6)), {}, ValueError, r"pass inputs\.astype\(np\.float32\)"),
        ((np.ones((0, 3)), np.arange(0)), {}, ValueError, r"inputs must hold at least one example, \(N, \.\.\.\), got"),
        ((images()[:0], np.arange(0)), {}, ValueError, "at least one image"),
        ((images(), np.arange(5)), {}, ValueError, r"targets must have shape \(N,\) = \(6,\).*\(5,\)"),
        ((images(), np.arange(6)[:, None]), {}, ValueError, "targets must have shape"),
        (
            (images(), np.arange(6)[:, None]),
            {},
            ValueError,
            r"labels have one axis: pass targets\[:, 0\]; a regression takes floating targets",
        ),
        ((images(), np.ones((6, 2), int)), {}, ValueError, r"are floating: pass targets\.astype\(np\.float32\)"),
        ((images(), np.ones(6, bool)), {}, TypeError, "targets must be integers, as labels are, or floating, got"),
        ((images(), list("abcabc")), {}, TypeError, r"number the classes first: names, targets = np\.unique"),
        ((images(), np.ones(5)), {}, ValueError, r"targets must have shape \(N, \.\.\.\) = \(6, \.\.\.\), got"),
        ((images(), np.ones(6)), {"classes": 3}, ValueError, "targets must have one column per class, 3, got"),
        ((images(), np.ones(6)), {"weights": np.ones(5)}, ValueError, r"weights must have shape \(N,\) = \(6,\)"),
        ((images(), np.ones(6)), {"weights": [1, 1, -1, 1, 1, 1]}, ValueError, "weights must be .*got -1 at index 2"),
        ((images(), np.ones(6)), {"weights": list("abcdef")}, TypeError, "weights must be numbers, one for each"),
        ((images(), np.arange(6) - 1), {}, ValueError, r"targets must be in 0\.\., got -1"),
        ((images(), np.arange(6)), {"classes": 5}, ValueError, r"targets must be in 0\.\.4, got 5"),
        ((images(), np.arange(6)), {"classes": 0}, ValueError, "classes must be a positive int, got 0"),
        ((images(), np.arange(6)), {"classes": 7, "names": "abcdef"}, TypeError, "names must be a sequence of str"),
        ((images(), np.arange(6)), {"classes": 7, "names": list("abcdef")}, ValueError, "one name per class, 7, got 6"),
        ((images(), np.arange(6)), {"names": ["a"]}, ValueError, r"targets must be in 0\.\.0, got 5"),
    ],
)
def test_bad_input_is_named(arguments, options, error, message):
    with pytest.raises(error, match=message):
        Dataset(*arguments, **options)


@pytest.mark.parametrize("index", [0, 1.5, "a", None, [[0, 1]], [0.0], (slice(2), 1)])
def test_what_is_no_index_is_refused(index):
    with pytest.raises(TypeError, match="must be an array, got|indexed by a slice, .* or a mask, got"):
        Dataset(images(), np.arange(6))[index]


def test_an_index_that_does_not_fit_is_refused():
    dataset = Dataset(images(), np.arange(6))
    with pytest.raises(IndexError, match=r"indices must be in -6\.\.5, got 2\.\.6"):
        dataset[[2, 6]]
    with pytest.raises(ValueError, match=r"a mask of shape \(6,\), got an array of shape \(5,\)"):
        dataset[np.ones(5, bool)]
    with pytest.raises(ValueError, match="at least one image"):
        dataset[np.zeros(6, bool)]


@pytest.mark.parametrize("index", [[4, 0, -1], np.array([5, 5], np.uint8), np.arange(6) % 2 == 1])
def test_indices_and_masks_choose_inputs_targets_and_weights(index):
    whole = Dataset(images(), np.arange(6) % 3, weights=np.arange(6), names=["ant", "bee", "cow"])
    part = whole[index]
    rows = np.arange(6)[index]
    np.testing.assert_array_equal(part.inputs, whole.inputs[rows])
    assert part.targets.tolist() == (rows % 3).tolist()
    assert part.weights.tolist() == rows.tolist()
    assert (part.classes, part.names) == (3, ("ant", "bee", "cow"))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (3,), (4, 5), (4, 5, 3)])
def test_floating_inputs_and_targets_are_neither_copied_nor_cast(dtype, shape):
    x, y = np.ones((6, *shape), dtype), np.ones((6, 2), np.float32)
    dataset = Dataset(x, y)
    assert dataset.inputs is x
    assert dataset.targets is y
    assert (dataset.classes, dataset[2:].targets.shape) == (None, (4, 2))
    assert Dataset(x, y, names=["a", "b"]).classes == 2


def test_labels_of_pixels():
    assert Dataset(images(), np.arange(6 * 20).reshape(6, 4, 5)).classes == 120


def test_an_empty_slice_raises():
    with pytest.raises(ValueError, match="at least one image"):
        Dataset(images(), np.arange(6))[6:]


@pytest.mark.parametrize("label", [2**63, 2**64 - 1])
def test_a_label_that_would_wrap_to_a_negative_one_is_refused(label):
    with pytest.raises(ValueError, match=rf"targets must be in 0\.\.9223372036854775807, got {label}"):
        Dataset(images(2), np.array([0, label], np.uint64))
    assert Dataset(images(2), np.array([0, 3], np.uint64)).labels.tolist() == [0, 3]
