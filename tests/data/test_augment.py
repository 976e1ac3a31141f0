import re

import numpy as np
import pytest
from helpers.bits import same_with_any_threads
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from allconv.data import Affine, Fliplr, KeepOriginals, RandomShift, Sequential, Sometimes, article_augment


def noise(n=8, height=32, width=32, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, channels), dtype=np.uint8)


def rng(seed=0):
    return np.random.default_rng(seed)


def levels_apart(left, right):
    return np.abs(left.astype(int) - right.astype(int)).max()


def equal(left, right):
    """Tell for each image whether it is the same in both."""
    return (left == right).all(axis=(1, 2, 3))


def by_scipy(image, *, scale=(1.0, 1.0), rotate=0.0, shift=(0, 0)):
    """Warp one image, channel by channel; all pairs are (x, y), scipy's axes (y, x)."""
    angle = np.deg2rad(rotate)
    forward = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag(scale)
    inverse = np.linalg.inv(forward)[::-1, ::-1]
    centre = (np.array(image.shape[:2]) - 1) / 2
    offset = centre - inverse @ (centre + np.array(shift)[::-1])
    channels = [
        ndimage.affine_transform(channel.astype(np.float64), inverse, offset, order=1, mode="grid-constant")
        for channel in np.moveaxis(image, 2, 0)
    ]
    return np.rint(np.stack(channels, axis=2)).astype(np.uint8)


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(1, 4)),
    st.tuples(st.floats(0.3, 3.0), st.floats(0.3, 3.0)),
    st.floats(-180, 180),
    st.tuples(st.floats(-1.2, 1.2), st.floats(-1.2, 1.2)),
)
def test_affine_agrees_with_scipy(shape, scale, rotate, percent):
    height, width, channels = shape
    images = noise(2, height, width, channels)
    result = Affine(
        scale={"x": scale[0], "y": scale[1]}, rotate=rotate, translate_percent={"x": percent[0], "y": percent[1]}
    )(images, rng())
    shift = np.rint(percent[0] * width), np.rint(percent[1] * height)
    for image, warped in zip(images, result, strict=True):
        assert levels_apart(warped, by_scipy(image, scale=scale, rotate=rotate, shift=shift)) <= 1


@pytest.mark.parametrize("scale", [1e-6, 1e6])
@pytest.mark.parametrize("far", [-1e6, 1e6])
def test_an_affine_warp_computes_at_its_bounds(scale, far):
    assert Affine(scale=scale, translate_percent=far, rotate=far)(noise(), rng()).shape == noise().shape


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 1e-308}, "scale must be a number in [1e-06, 1e+06], got 1e-308"),
        ({"scale": {"y": (1, 1e7)}}, "scale['y'] must be a number in [1e-06, 1e+06], got 10000000.0"),
        ({"rotate": (-1e308, 1e308)}, "rotate must be a number in [-1e+06, 1e+06], got -1e+308"),
        ({"translate_percent": 1e308}, "translate_percent must be a number in [-1e+06, 1e+06], got 1e+308"),
    ],
)
def test_an_affine_warp_refuses_what_it_cannot_compute_with(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Affine(**options)


@pytest.mark.parametrize(("percent", "pixels"), [(0.15, 5), (0.14, 4)])  # 4.8 and 4.48 pixels
def test_translation_moves_whole_pixels_right_and_down(percent, pixels):
    images = noise(3)
    expected = np.zeros_like(images)
    expected[:, pixels:, :-3] = images[:, :-pixels, 3:]
    moved = Affine(translate_percent={"x": -0.1, "y": percent})(images, rng())  # -3.2 pixels: -3
    np.testing.assert_array_equal(moved, expected)


def test_quarter_turns_are_exact_and_clockwise():
    images = noise(3)
    np.testing.assert_array_equal(Affine(rotate=90)(images, rng()), np.rot90(images, -1, axes=(1, 2)))
    np.testing.assert_array_equal(Affine(rotate=-180)(images, rng()), images[:, ::-1, ::-1])


def test_flip():
    images = noise(400)
    np.testing.assert_array_equal(Fliplr()(images, rng()), images[:, :, ::-1])
    np.testing.assert_array_equal(Fliplr(0.0)(images, rng()), images)
    flipped = Fliplr(0.3)(images, rng())
    mirrored, kept = equal(flipped, images[:, :, ::-1]), equal(flipped, images)
    assert (mirrored ^ kept).all()
    assert 0.2 < mirrored.mean() < 0.4  # 4.4 standard deviations


def test_sometimes_augments_the_given_share_of_the_images():
    seen = []

    def invert(images, rng):
        seen.append(len(images))
        return 255 - images

    images = noise(1000, 4, 4)
    result = Sometimes(0.1, invert)(images, rng())
    changed = equal(result, 255 - images)
    assert (changed ^ equal(result, images)).all()
    assert seen == [changed.sum()]
    assert 60 < changed.sum() < 140  # 4.2 standard deviations


def test_sometimes_never_calls_with_an_empty_batch():
    def fail(images, rng):
        raise AssertionError

    np.testing.assert_array_equal(Sometimes(0.0, fail)(noise(), rng()), noise())


@pytest.mark.parametrize(
    "wrong",
    [
        lambda images, rng: images.astype(np.float32) / 255,
        lambda images, rng: images[:1],
        lambda images, rng: images[:, :1],
        lambda images, rng: list(images),
    ],
)
def test_an_augmenter_within_another_must_keep_number_size_and_dtype(wrong):
    with pytest.raises(ValueError, match=r"augmenter must return uint8 images of shape \(8, 32, 32, 3\), got "):
        Sometimes(1.0, wrong)(noise(), rng())
    with pytest.raises(ValueError, match=r"augmenter must return uint8 images of shape \(k 8, 32, 32, 3\), got "):
        KeepOriginals(wrong)(noise(), rng())


def test_several_copies_fit_beside_the_originals_alone():
    twice = KeepOriginals(Fliplr())
    assert len(KeepOriginals(twice)(noise(), rng())) == 24
    with pytest.raises(ValueError, match=r"augmenter must return uint8 images of shape \(8, 32, 32, 3\), got "):
        Sometimes(1.0, twice)(noise(), rng())


@pytest.mark.parametrize("random_order", [False, True])
def test_sequential_keeps_the_order_or_draws_one_per_call(random_order):
    called, generator = [], rng()
    steps = [lambda images, rng, name=name: called.append(name) or images for name in "abc"]
    augment = Sequential(steps, random_order=random_order)
    for _ in range(200):
        augment(noise(2, 4, 4), generator)
    orders = ["".join(called[at : at + 3]) for at in range(0, 600, 3)]
    counts = [orders.count(order) for order in set(orders)]
    assert len(counts) == (6 if random_order else 1)
    assert not random_order or all(12 < count < 60 for count in counts)  # 33 expected, 4 standard deviations
    assert random_order or orders[0] == "abc"


def test_each_warp_of_a_sequence_is_rounded_by_itself():
    images, turn, shrink = noise(), Affine(rotate=20), Affine(scale=0.9)
    expected = shrink(turn(images, rng()), rng())
    np.testing.assert_array_equal(Sequential([turn, shrink])(images, rng()), expected)
    assert expected.dtype == np.uint8


def test_keep_originals():
    images = noise()
    np.testing.assert_array_equal(KeepOriginals(Fliplr())(images, rng()), np.concatenate([images, images[:, :, ::-1]]))


def parameters(monkeypatch, augment, n=4000, size=32):
    """Return the matrices and offsets that `augment` passes to the warp, for n images."""
    calls = []

    def record(images, linear, offset):
        calls.append((linear, offset))
        return images

    monkeypatch.setitem(Affine.__call__.__globals__, "warp", record)
    augment(np.zeros((n, size, size, 1), np.uint8), rng(5))
    return calls


def test_translations_are_drawn_per_axis_over_all_whole_pixels(monkeypatch):
    [(linear, offset)] = parameters(monkeypatch, Affine(translate_percent={"x": (-0.2, 0.2), "y": (-0.2, 0.2)}))
    np.testing.assert_array_equal(linear, np.broadcast_to(np.eye(2), (4000, 2, 2)))
    np.testing.assert_array_equal(offset, np.rint(offset))
    assert abs(np.corrcoef(offset.T)[0, 1]) < 0.07
    for axis in (0, 1):
        values, counts = np.unique(offset[:, axis], return_counts=True)
        assert values.tolist() == list(range(-6, 7))
        # U(-6.4, 6.4) rounded: an end takes 0.9 / 12.8, every other value 1 / 12.8.
        expected = 4000 * np.array([0.9] + 11 * [1.0] + [0.9]) / 12.8
        assert ((counts - expected) ** 2 / expected).sum() < 33  # chi-squared, 12 degrees of freedom, p = 0.001


def test_rotations_are_uniform(monkeypatch):
    [(linear, _)] = parameters(monkeypatch, Affine(rotate=(-25, 25)))
    np.testing.assert_allclose(np.linalg.det(linear), 1)
    angle = np.rad2deg(np.arctan2(linear[:, 0, 1], linear[:, 0, 0]))
    assert -25 <= angle.min() < -24.5
    assert 24.5 < angle.max() <= 25
    assert abs(angle.mean()) < 1
    assert angle.std() == pytest.approx(50 / np.sqrt(12), rel=0.03)


@pytest.mark.parametrize("scale", [{"x": (0.8, 1.2), "y": (0.8, 1.2)}, (0.8, 1.2)])
def test_scales_are_uniform_apart_or_together(monkeypatch, scale):
    [(linear, _)] = parameters(monkeypatch, Affine(scale=scale))
    x, y = 1 / linear[:, 0, 0], 1 / linear[:, 1, 1]
    for values in (x, y):
        assert 0.8 <= values.min() < 0.805
        assert 1.195 < values.max() <= 1.2
        assert values.std() == pytest.approx(0.4 / np.sqrt(12), rel=0.03)
    correlation = np.corrcoef(x, y)[0, 1]
    assert correlation > 0.999 if isinstance(scale, tuple) else abs(correlation) < 0.07


def test_a_missing_axis_stays_as_it_is(monkeypatch):
    [(linear, offset)] = parameters(monkeypatch, Affine(scale={"x": 2.0}, translate_percent={"y": 0.25}), n=1)
    np.testing.assert_array_equal(linear[0], [[0.5, 0], [0, 1]])
    np.testing.assert_array_equal(offset[0], [15.5 / 2, -8])


def test_the_articles_recipe(monkeypatch):
    calls = parameters(monkeypatch, article_augment())
    assert all(320 < len(linear) < 480 for linear, _ in calls)  # a tenth of 4000, 4 standard deviations
    kinds = [(bool((linear == np.eye(2)).all()), bool(linear[:, 0, 1].any())) for linear, _ in calls]
    assert len(kinds) == 3
    assert set(kinds) == {(True, False), (False, True), (False, False)}  # translation, rotation, scaling


def test_most_images_of_the_recipe_are_plain_mirror_images():
    images = noise(2000, 8, 8)
    plain = equal(article_augment()(images, rng()), images[:, :, ::-1])
    assert plain.mean() == pytest.approx(0.9**3, abs=0.04)


@pytest.mark.parametrize("augment", [article_augment(), Affine(rotate=(-25, 25), scale=(0.8, 1.2)), Fliplr(0.5)])
def test_deterministic_for_any_number_of_threads(augment):
    images = noise(200)
    kept = images.copy()
    result = same_with_any_threads(lambda: augment(images, rng(9)).tobytes())
    assert augment(images, rng(10)).tobytes() != result
    np.testing.assert_array_equal(images, kept)


def test_an_images_slice_does_not_change_its_pixels():
    images, turn = noise(100), Affine(rotate=17)
    np.testing.assert_array_equal(turn(images, rng())[40:41], turn(images[40:41], rng()))


@pytest.mark.parametrize(
    "augment",
    [article_augment(), Affine(), Fliplr(), RandomShift(1), Sometimes(1.0, Affine()), KeepOriginals(Affine())],
)
def test_bad_images_and_generators_are_named(augment):
    with pytest.raises(TypeError, match="images must be uint8 images"):
        augment(noise().astype(np.float32), rng())
    with pytest.raises(ValueError, match="images must be at least one image"):
        augment(noise()[0], rng())
    for bad in (0, None):
        with pytest.raises(TypeError, match=f"rng must be a numpy.random.Generator, got {bad}"):
            augment(noise(), bad)


def test_random_shifts_are_windows_of_the_reflected_image_and_all_come():
    images = np.random.default_rng(0).integers(0, 256, (2000, 5, 4, 2), dtype=np.uint8)
    shifted = RandomShift(2)(images, rng())
    larger = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    counts = np.zeros((5, 5))
    for image, result in zip(larger, shifted, strict=True):
        places = [(i, j) for i in range(5) for j in range(5) if (image[i : i + 5, j : j + 4] == result).all()]
        assert len(places) == 1
        counts[places[0]] += 1
    assert counts.min() > 40  # The mean is 80.
    assert counts.max() < 130


def test_a_shift_as_large_as_the_image_is_refused():
    with pytest.raises(ValueError, match="pixels must be less than the height and width of 8x3, got 3"):
        RandomShift(3)(np.zeros((1, 8, 3, 1), np.uint8), rng())
