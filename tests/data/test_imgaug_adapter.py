import sys

import numpy as np
import pytest

from allconv import data
from allconv.data import Affine, Fliplr, Imgaug, Sequential, imgaug_article_augment, import_imgaug


@pytest.fixture(scope="module")
def iaa():
    try:
        return import_imgaug().augmenters
    except ImportError as error:
        pytest.skip(str(error))


def noise(n=50, height=32, width=32, channels=3):
    return np.random.default_rng(0).integers(0, 256, (n, height, width, channels), dtype=np.uint8)


def rng(seed=0):
    return np.random.default_rng(seed)


def levels_apart(left, right):
    return np.abs(left.astype(int) - right.astype(int)).max()


def dots(n):
    """Images with one white pixel in the middle."""
    images = np.zeros((n, 33, 33, 1), np.uint8)
    images[:, 16, 16] = 255
    return images


FIXED = [
    {"rotate": 17.3},
    {"rotate": -25},
    {"scale": {"x": 0.83, "y": 1.17}},
    {"scale": 1.2},
    {"translate_percent": {"x": 0.125, "y": -0.1875}},
    {"rotate": 11, "scale": {"x": 1.2, "y": 0.8}, "translate_percent": {"x": -0.25, "y": 0.125}},
]


@pytest.mark.parametrize("parameters", FIXED)
@pytest.mark.parametrize("shape", [(32, 32, 3), (16, 32, 1), (32, 16, 4)])
def test_fixed_parameters_agree_with_imgaug_to_one_grey_level(iaa, parameters, shape):
    images = noise(20, *shape)
    theirs = Imgaug(iaa.Affine(**parameters))(images, rng())
    ours = Affine(**parameters)(images, rng())
    assert levels_apart(ours, theirs) <= 1
    assert np.mean(ours != theirs) < 0.01


def test_flips_agree_with_imgaug(iaa):
    np.testing.assert_array_equal(Fliplr(1.0)(noise(), rng()), Imgaug(iaa.Fliplr(1.0))(noise(), rng()))


def test_a_sequence_warps_once_for_each_operator_as_imgaug_does(iaa):
    turn, shrink = {"rotate": 20}, {"scale": {"x": 0.8, "y": 1.1}}
    theirs = Imgaug(iaa.Sequential([iaa.Affine(**shrink), iaa.Affine(**turn)]))(noise(), rng())
    ours = Sequential([Affine(**shrink), Affine(**turn)])(noise(), rng())
    assert levels_apart(ours, theirs) <= 2
    assert levels_apart(Affine(**turn, **shrink)(noise(), rng()), theirs) > 50  # one warp is not the same


def test_the_generator_alone_decides(iaa):
    images, kept = noise(), noise()
    augment = imgaug_article_augment()
    first = augment(images, rng(1))
    augment(images, rng(2))
    iaa.Fliplr(0.5)(images=images)  # moves imgaug's global generator on
    np.testing.assert_array_equal(augment(images, rng(1)), first)
    np.testing.assert_array_equal(imgaug_article_augment()(images, rng(1)), first)
    assert not np.array_equal(augment(images, rng(2)), first)
    np.testing.assert_array_equal(images, kept)


def test_the_recipe_draws_whole_pixels_per_axis_and_its_share_of_images(iaa):
    augmenter = imgaug_article_augment(33).augmenter
    [translate] = [a for a in augmenter.get_all_children(flat=True) if isinstance(a, iaa.Affine)][:1]
    moved = Imgaug(translate)(dots(3000), rng())[..., 0]
    number, y, x = np.nonzero(moved)
    assert number.tolist() == list(range(3000))
    assert set(np.unique(moved)) == {0, 255}
    for place in (x, y):
        assert sorted(set(place - 16)) == list(range(-7, 8))  # 0.2 * 33 = 6.6
    assert abs(np.corrcoef(x, y)[0, 1]) < 0.08

    images = noise(2000, 8, 8)
    result = imgaug_article_augment(8)(images, rng())
    plain = np.mean([np.array_equal(a, b[:, ::-1]) for a, b in zip(result, images, strict=True)])
    assert plain == pytest.approx(0.9**3, abs=0.04)


def test_it_works_in_a_loader(iaa):
    augment, dataset = data.KeepOriginals(imgaug_article_augment()), data.Dataset(noise(), np.arange(50))
    loader = data.Loader(dataset, 25, augment=augment, normalize=data.per_step)
    whole = list(loader.epoch(1))
    [(images, labels)] = loader.epoch(1, 1)
    assert images.shape == (50, 32, 32, 3)
    np.testing.assert_array_equal(images, whole[1][0])
    np.testing.assert_array_equal(labels, whole[1][1])


def test_the_import_leaves_numpy_as_it_was(monkeypatch, iaa):
    before = hasattr(np, "sctypes")
    for name in [name for name in sys.modules if name == "imgaug" or name.startswith("imgaug.")]:
        monkeypatch.delitem(sys.modules, name)
    assert import_imgaug().augmenters.Fliplr is not iaa.Fliplr
    assert hasattr(np, "sctypes") == before


def test_without_imgaug_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "imgaug", None)
    for function in (import_imgaug, imgaug_article_augment, lambda: Imgaug(None)):
        with pytest.raises(ImportError, match=r"needs the extra 'augment', pip install 'allconv\[augment\]'"):
            function()
    assert not hasattr(np, "sctypes")


def test_bad_input_is_named(iaa):
    with pytest.raises(TypeError, match="augmenter must be an augmenter of imgaug, got 3"):
        Imgaug(3)
    with pytest.raises(ValueError, match="size must be a positive int, got 0"):
        imgaug_article_augment(0)
    with pytest.raises(TypeError, match="images must be uint8"):
        Imgaug(iaa.Fliplr())(np.zeros((2, 8, 8, 3)), rng())
    crop = Imgaug(iaa.Crop(px=2, keep_size=False))
    with pytest.raises(ValueError, match=r"augmenter must keep the images' shape \(2, 8, 8, 3\)"):
        crop(noise(2, 8, 8), rng())


def test_equal_images_that_come_as_a_list_are_stacked(iaa):
    """imgaug returns a list here, since the padded images might differ in size: a usual recipe for CIFAR-10."""
    shift = Imgaug(iaa.Sequential([iaa.PadToFixedSize(40, 40), iaa.CropToFixedSize(32, 32)]))
    images = noise(20)
    result = shift(images, rng())
    assert (result.shape, result.dtype) == (images.shape, np.uint8)
    np.testing.assert_array_equal(result, shift(images, rng()))
    assert not np.array_equal(result, images)
    unequal = Imgaug(iaa.Sequential([iaa.PadToFixedSize(40, 40), iaa.CropToFixedSize(32, 30)]))
    with pytest.raises(ValueError, match="augmenter must keep the images' shape"):
        unequal(images, rng())
