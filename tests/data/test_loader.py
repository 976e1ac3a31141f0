import numpy as np
import pytest

from allconv.data import Dataset, KeepOriginals, Loader, article_augment, per_step


def numbered(n=23, shape=(4, 4, 3)):
    """A data set whose images hold their own number, and whose labels repeat it."""
    return Dataset(np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None, None], (n, *shape)), np.arange(n))


def noise(n=60):
    return Dataset(np.random.default_rng(0).integers(0, 256, (n, 8, 8, 3), dtype=np.uint8), np.arange(n) % 10)


def same_steps(left, right):
    left, right = list(left), list(right)
    return len(left) == len(right) and all(
        np.array_equal(a, c) and np.array_equal(b, d) for (a, b), (c, d) in zip(left, right, strict=True)
    )


def brighten(images, rng):
    return images + rng.integers(0, 50, (len(images), 1, 1, 1), dtype=np.uint8)


def test_an_epoch_has_every_image_once_with_its_own_label():
    loader = Loader(numbered(), 5)
    steps = list(loader.epoch(0))
    assert len(steps) == len(loader) == 5
    assert [len(labels) for _, labels in steps] == [5, 5, 5, 5, 3]
    for images, labels in steps:
        assert (images.dtype, labels.dtype) == (np.float32, np.int64)
        np.testing.assert_allclose(images, np.broadcast_to((labels / 255)[:, None, None, None], images.shape))
    assert sorted(np.concatenate([labels for _, labels in steps])) == list(range(23))


def test_without_shuffle_the_order_is_the_data_sets():
    loader = Loader(numbered(), 5, shuffle=False)
    for epoch in (0, 3):
        assert np.concatenate([labels for _, labels in loader.epoch(epoch)]).tolist() == list(range(23))


def test_the_order_changes_with_epoch_and_seed_and_with_nothing_else():
    def order(epoch, seed):
        return np.concatenate([labels for _, labels in Loader(numbered(), 5, seed=seed).epoch(epoch)]).tolist()

    assert order(0, 1) == order(0, 1)
    assert len({tuple(order(epoch, seed)) for epoch in (0, 1, 2) for seed in (0, 1)}) == 6


@pytest.mark.parametrize("augment", [None, brighten, KeepOriginals(article_augment())])
def test_starting_in_the_middle_gives_the_same_bits(augment):
    loader = Loader(noise(), 7, augment=augment, normalize=per_step, seed=3)
    whole = list(loader.epoch(2))
    for start in range(len(loader) + 1):
        assert same_steps(
            whole[start:], Loader(noise(), 7, augment=augment, normalize=per_step, seed=3).epoch(2, start)
        )


def test_augmentation_differs_between_steps_epochs_and_seeds():
    draws = []

    def record(images, rng):
        draws.append(rng.random())
        return images

    for seed in (0, 1):
        for epoch in (0, 1):
            list(Loader(noise(), 20, augment=record, seed=seed).epoch(epoch))
    assert len(set(draws)) == 12


def test_an_augmenter_may_overwrite_its_images():
    dataset = noise()
    before = dataset.images.copy()

    def black(images, rng):
        images[:] = 0
        return images

    assert not next(Loader(dataset, 10, augment=black).epoch(0))[0].any()
    np.testing.assert_array_equal(dataset.images, before)


def test_k_times_as_many_images_come_with_their_labels_shuffled():
    def three(images, rng):
        return np.concatenate([images, images + 50, images + 100])

    loader = Loader(numbered(), 10, augment=three, seed=1)
    steps = list(loader.epoch(0))
    assert [len(labels) for _, labels in steps] == [30, 30, 9]
    for images, labels in steps:
        level = np.rint(images[:, 0, 0, 0] * 255).astype(int)
        assert sorted(level) == sorted(label + extra for label in set(labels.tolist()) for extra in (0, 50, 100))
        np.testing.assert_array_equal(level % 50, labels)  # the labels are 0..22
        assert level.tolist() != sorted(level, key=lambda value: value // 50)


def test_the_articles_step_standardizes_originals_and_copies_together():
    dataset = noise(50)
    loader = Loader(dataset, 25, augment=KeepOriginals(article_augment()), normalize=per_step, seed=678)
    assert len(loader) == 2
    for images, labels in loader.epoch(0):
        assert images.shape == (50, 8, 8, 3)
        np.testing.assert_array_equal(np.bincount(labels) % 2, 0)
        np.testing.assert_allclose(images.mean(axis=0), 0, atol=1e-6)
        np.testing.assert_allclose(images.std(axis=0), 1, atol=1e-5)


@pytest.mark.parametrize(
    "result",
    [
        lambda images: images.astype(np.float32),
        lambda images: images[1:],
        lambda images: images[:0],
        lambda images: np.concatenate([images, images[:3]]),
        lambda images: images[:, :3],
        lambda images: images.tolist(),
    ],
)
def test_a_wrong_result_of_augment_raises(result):
    loader = Loader(noise(), 10, augment=lambda images, rng: result(images))
    with pytest.raises(ValueError, match=r"augment must return uint8 images of shape \(k N, H, W, C\)"):
        next(loader.epoch(0))


@pytest.mark.parametrize(
    "normalize", [lambda images: images, lambda images: images / 255, lambda images: images[1:].astype(np.float32)]
)
def test_a_wrong_result_of_normalize_raises(normalize):
    with pytest.raises(ValueError, match=r"normalize must return float32 images of shape \(10, 8, 8, 3\), got"):
        next(Loader(noise(), 10, normalize=normalize).epoch(0))


def test_a_batch_of_more_images_than_there_are_cannot_be_dropped():
    with pytest.raises(ValueError, match="batch_size must be at most the number of examples, 60, with"):
        Loader(noise(), 61, drop_last=True)


@pytest.mark.parametrize(
    ("epoch", "start", "message"),
    [
        (-1, 0, "epoch must be a non-negative int, got -1"),
        (0, -1, "start must be a non-negative int, got -1"),
        (0, 7, "start must be at most the number of steps, 6, got 7"),
    ],
)
def test_epoch_checks_when_it_is_called(epoch, start, message):
    with pytest.raises(ValueError, match=message):
        Loader(noise(), 10).epoch(epoch, start)


def test_drop_last_leaves_out_the_smaller_last_step():
    loader, every = Loader(numbered(23), 5, drop_last=True), Loader(numbered(23), 5)
    assert len(loader) == 4
    assert same_steps(loader.epoch(1), list(every.epoch(1))[:4])
    assert not list(loader.epoch(1, 4))
    left_out = [set(range(23)) - set(np.concatenate([labels for _, labels in loader.epoch(e)])) for e in range(3)]
    assert len(set(map(frozenset, left_out))) == 3
    assert len(Loader(numbered(20), 5, drop_last=True)) == 4
    assert len(Loader(numbered(5), 5, drop_last=True)) == 1


def test_a_loader_itself_is_not_iterated_and_says_how_to():
    with pytest.raises(TypeError, match=r"one epoch at a time.*loader\.epoch\(0\)"):
        for _ in Loader(noise(), 10):
            pass


def features(n=23, **options):
    return Dataset(np.arange(2.0 * n).reshape(n, 2), np.arange(n) / 7, **options)


def test_floating_inputs_come_as_they_are():
    loader = Loader(features(), 5, seed=1)
    for x, y in loader.epoch(0):
        assert (x.dtype, y.dtype) == (np.float64, np.float64)
        np.testing.assert_allclose(x[:, 0], 14 * y)


def test_augment_and_normalize_get_floating_inputs_and_weights_stay_with_their_examples():
    seen = []

    def augment(inputs, rng):
        seen.append(inputs.dtype)
        return np.concatenate([inputs, inputs + 0.25])

    loader = Loader(
        features(weights=np.arange(23)), 10, augment=augment, normalize=lambda x: x.astype(np.float32) / 2, seed=1
    )
    steps = list(loader.epoch(0))
    assert [len(x) for x, *_ in steps] == [20, 20, 6]
    assert set(seen) == {np.dtype(np.float64)}
    for x, y, weights in steps:
        assert x.dtype == np.float32
        np.testing.assert_allclose(np.floor(x[:, 0]), weights)
        np.testing.assert_allclose(y, weights / 7)


def test_a_wrong_kind_for_floating_inputs_is_named():
    with pytest.raises(
        ValueError, match=r"augment must return float64 inputs of shape \(k N, \.\.\.\), here \(k 5, 2\) w"
    ):
        next(Loader(features(), 5, augment=lambda x, rng: x.astype(np.float32)).epoch(0))
    with pytest.raises(ValueError, match=r"normalize must return floating inputs of shape \(5, 2\), got .*int64"):
        next(Loader(features(), 5, normalize=lambda x: x.astype(int)).epoch(0))


def test_alternating_flips_show_each_image_both_ways_in_two_epochs():
    data = noise()
    data = Dataset(data.inputs, np.arange(60))
    loader = Loader(data, 25, alternate_flip=True, normalize=lambda images: images.astype(np.float32), seed=3)

    def flipped(epoch):
        """Return by image whether the epoch shows its mirror image."""
        shown = {
            int(label): image
            for images, labels in loader.epoch(epoch)
            for image, label in zip(images, labels, strict=True)
        }
        both = [(shown[i] == image[:, ::-1]).all() for i, image in enumerate(data.inputs)]
        assert all(mirrored or (shown[i] == data.inputs[i]).all() for i, mirrored in enumerate(both))
        return np.array(both)

    first = flipped(0)
    assert 15 < first.sum() < 45
    np.testing.assert_array_equal(flipped(1), ~first)
    np.testing.assert_array_equal(flipped(4), first)
    other = Loader(data, 25, alternate_flip=True, seed=4)
    assert not same_steps(loader.epoch(0), other.epoch(0))
    with pytest.raises(ValueError, match="alternate_flip must be False unless the inputs are images, got True"):
        Loader(Dataset(np.ones((4, 2)), np.arange(4)), 2, alternate_flip=True)
