"""Augmentation in NumPy, vectorized over the batch: flips and affine warps, drawn for each image separately.

An augmenter is called as ``augmenter(images, rng)``, with images (N, H, W, C) uint8 and a Generator. It returns new
images of the same shape and dtype. All parameters are drawn from `rng` before the arithmetic is shared among threads.
Names and meanings are taken from imgaug 0.4, so that a recipe reads alike with both.
"""

# This file is longer than 300 lines because the augmenters share their checks and their draws, and each docstring has
# an example.

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from allconv.data.dataset import check_uint8_images
from allconv.data.views import reflected
from allconv.data.warp import warp
from allconv.typing import Array
from allconv.validation import check_bool, check_callable, check_int, check_real, describe, items_of

Augmenter = Callable[[Array, np.random.Generator], Array]
Range = tuple[float, float]
RangeLike = float | Range
AxesLike = RangeLike | Mapping[str, RangeLike]
_LARGEST = 1e6  # bounds scales, fractions and angles far beyond any use, so that no coordinate overflows


class Fliplr:
    """Mirror each image left to right with probability `p`.

    Parameters
    ----------
    p : float, default 1.0
        The probability, in [0, 1].

    Raises
    ------
    TypeError, ValueError
        If `p` is out of its range; from a call, if the images are not uint8 images or `rng` is no Generator.

    Examples
    --------
    >>> images = np.arange(3, dtype=np.uint8).reshape(1, 1, 3, 1)
    >>> Fliplr()(images, np.random.default_rng(0)).ravel()
    array([2, 1, 0], dtype=uint8)
    """

    def __init__(self, p: float = 1.0) -> None:
        self.p = check_real("p", p, minimum=0.0, maximum=1.0)

    def __call__(self, images: Array, rng: np.random.Generator) -> Array:
        """Return the images, some of them mirrored."""
        images, rng = check_call(images, rng)
        chosen = rng.random(len(images)) < self.p
        result = images.copy()
        result[chosen] = images[chosen, :, ::-1]
        return result

    def __repr__(self) -> str:
        return f"Fliplr({self.p:g})"


class RandomShift:
    """Shift each image by whole pixels, and fill it up by reflection at its border pixels.

    Parameters
    ----------
    pixels : int, default 2
        The largest shift to either side, the same for both axes. Each image draws both of its shifts by itself, and all
        are as likely. It must be less than the height and width of the images.

    Raises
    ------
    TypeError, ValueError
        If `pixels` is no positive int; from a call, if the images are not uint8 images that are larger, or `rng` is no
        Generator.

    Examples
    --------
    >>> images = np.arange(4, dtype=np.uint8).reshape(1, 2, 2, 1)
    >>> RandomShift(1)(images, np.random.default_rng(0))[0, :, :, 0]  # down by one row
    array([[2, 3],
           [0, 1]], dtype=uint8)
    """

    def __init__(self, pixels: int = 2) -> None:
        self.pixels = check_int("pixels", pixels)

    def __call__(self, images: Array, rng: np.random.Generator) -> Array:
        """Return the shifted images."""
        images, rng = check_call(images, rng)
        count, height, width, _ = images.shape
        larger = reflected(images, self.pixels)
        tops, lefts = rng.integers(0, 2 * self.pixels + 1, (2, count))
        # The windows of the larger images are views; indexing copies one window of each image.
        windows = np.lib.stride_tricks.sliding_window_view(larger, (height, width), axis=(1, 2))
        windows = windows.transpose(0, 1, 2, 4, 5, 3)
        shifted: Array = windows[np.arange(count), tops, lefts]
        return shifted

    def __repr__(self) -> str:
        return f"RandomShift({self.pixels})"


class Affine:
    r"""Scale, rotate and translate each image about its centre, with its own parameters.

    A pixel at :math:`p = (x, y)` moves to :math:`R S (p - c) + t + c`, with :math:`c = (W / 2 - 1/2, H / 2 - 1/2)`,
    :math:`S` the diagonal matrix of the two scales, :math:`R` the rotation and :math:`t` the translation. Values
    between pixels are interpolated bilinearly, and values outside the image are 0. The result is rounded to the nearest
    grey level.

    Parameters
    ----------
    scale : number, (low, high), or {"x": ..., "y": ...}; default 1.0
        The factor of the size, from 1e-6 to 1e6. A pair is the range of a uniform draw for each image. A number or a
        pair is one draw for both axes. A dict has a draw for each axis, and an axis that is missing keeps the factor 1.
    translate_percent : number, (low, high), or {"x": ..., "y": ...}; default 0.0
        The translation as a fraction of the image's width ("x", to the right) and height ("y", down), drawn like
        `scale`, from -1e6 to 1e6. It is rounded to whole pixels, as in imgaug up to version 0.2.
    rotate : number or (low, high); default 0.0
        The angle in degrees, clockwise, from -1e6 to 1e6.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range; from a call, if the images are not uint8 images or `rng` is no Generator.

    Examples
    --------
    >>> images = np.array([[1, 2], [3, 4]], np.uint8).reshape(1, 2, 2, 1)
    >>> Affine(rotate=90)(images, np.random.default_rng(0))[0, :, :, 0]
    array([[3, 1],
           [4, 2]], dtype=uint8)
    """

    def __init__(self, *, scale: AxesLike = 1.0, translate_percent: AxesLike = 0.0, rotate: RangeLike = 0.0) -> None:
        self.scale = _check_axes("scale", scale, default=1.0, minimum=1 / _LARGEST)
        self.translate_percent = _check_axes("translate_percent", translate_percent, default=0.0)
        self.rotate = _check_range("rotate", rotate)

    def __call__(self, images: Array, rng: np.random.Generator) -> Array:
        """Return the warped images."""
        images, rng = check_call(images, rng)
        count, height, width, _ = images.shape
        scale_x, scale_y = _draw(self.scale, count, rng)
        shift_x, shift_y = _draw(self.translate_percent, count, rng)
        angle = np.deg2rad(rng.uniform(*self.rotate, count))
        # An output pixel at p takes its value from the inverse of the motion, S^-1 R^T (p - c - t) + c.
        cos, sin = np.cos(angle), np.sin(angle)
        linear = np.stack([cos / scale_x, sin / scale_x, -sin / scale_y, cos / scale_y], axis=1).reshape(-1, 2, 2)
        centre = np.array([width / 2 - 0.5, height / 2 - 0.5])
        shift = np.stack([np.rint(shift_x * width), np.rint(shift_y * height)], axis=1)
        offset = centre - (linear @ (centre + shift)[:, :, None])[:, :, 0]
        return warp(images, linear, offset)

    def __repr__(self) -> str:
        return f"Affine(scale={self.scale}, translate_percent={self.translate_percent}, rotate={self.rotate})"


class Sometimes:
    """Apply an augmenter to each image with probability `p`, and leave the other images unchanged.

    Parameters
    ----------
    p : float
        The probability, in [0, 1].
    augmenter : callable
        The augmenter, which gets the chosen images of a batch together, at least one. It returns as many images, of
        the same size and dtype.

    Raises
    ------
    TypeError, ValueError
        If `p` is out of its range, or `augmenter` is not callable; from a call, if the images are not uint8 images,
        `rng` is no Generator, or `augmenter` returns other images.

    Examples
    --------
    >>> images = np.arange(6, dtype=np.uint8).reshape(2, 1, 3, 1)
    >>> Sometimes(0.5, Fliplr())(images, np.random.default_rng(8)).reshape(2, 3)
    array([[2, 1, 0],
           [3, 4, 5]], dtype=uint8)
    """

    def __init__(self, p: float, augmenter: Augmenter) -> None:
        self.p = check_real("p", p, minimum=0.0, maximum=1.0)
        self.augmenter = _check_augmenter(augmenter)

    def __call__(self, images: Array, rng: np.random.Generator) -> Array:
        """Return the images, some of them augmented."""
        images, rng = check_call(images, rng)
        chosen = rng.random(len(images)) < self.p
        result = images.copy()
        if chosen.any():
            result[chosen] = _augmented(self.augmenter, images[chosen], rng)
        return result

    def __repr__(self) -> str:
        return f"Sometimes({self.p:g}, {self.augmenter!r})"


class Sequential:
    """Apply augmenters one after the other.

    Parameters
    ----------
    augmenters : sequence of callables
        The augmenters in their order.
    random_order : bool, default False
        Whether each call draws a new order for the whole batch.

    Raises
    ------
    TypeError, ValueError
        If an augmenter is not callable, or `random_order` is not a bool; from a call, if the images are not uint8
        images or `rng` is no Generator.

    Examples
    --------
    >>> images = np.arange(3, dtype=np.uint8).reshape(1, 1, 3, 1)
    >>> twice = Sequential([Fliplr(), Fliplr()])
    >>> twice(images, np.random.default_rng(0)).ravel()
    array([0, 1, 2], dtype=uint8)
    """

    def __init__(self, augmenters: Sequence[Augmenter], *, random_order: bool = False) -> None:
        listed = items_of(augmenters)
        if listed is None:
            raise TypeError(f"augmenters must be a sequence of augmenters, got {describe(augmenters)}")
        self.augmenters = [_check_augmenter(augmenter) for augmenter in listed]
        self.random_order = check_bool("random_order", random_order)

    def __call__(self, images: Array, rng: np.random.Generator) -> Array:
        """Return the augmented images."""
        images, rng = check_call(images, rng)
        order = rng.permutation(len(self.augmenters)) if self.random_order else range(len(self.augmenters))
        for index in order:
            images = self.augmenters[index](images, rng)
        return images

    def __repr__(self) -> str:
        return f"Sequential({self.augmenters!r}, random_order={self.random_order})"


class KeepOriginals:
    """Return the unchanged images, followed by their augmented copies: twice as many images.

    Parameters
    ----------
    augmenter : callable
        The augmenter that makes the copies. It returns as many images, or a multiple, of the same size and dtype.

    Raises
    ------
    TypeError, ValueError
        If `augmenter` is not callable; from a call, if the images are not uint8 images, `rng` is no Generator, or
        `augmenter` returns other images.

    Examples
    --------
    >>> images = np.arange(3, dtype=np.uint8).reshape(1, 1, 3, 1)
    >>> KeepOriginals(Fliplr())(images, np.random.default_rng(0)).reshape(2, 3)
    array([[0, 1, 2],
           [2, 1, 0]], dtype=uint8)
    """

    def __init__(self, augmenter: Augmenter) -> None:
        self.augmenter = _check_augmenter(augmenter)

    def __call__(self, images: Array, rng: np.random.Generator) -> Array:
        """Return (2 N, H, W, C) for images (N, H, W, C)."""
        images, rng = check_call(images, rng)
        return np.concatenate([images, _augmented(self.augmenter, images.copy(), rng, several=True)])

    def __repr__(self) -> str:
        return f"KeepOriginals({self.augmenter!r})"


def article_augment() -> Sequential:
    """Return the augmenter of the 2018 article: four operators in an order that is drawn once per step.

    Every image is mirrored. Each of the other three operators applies to an image with probability 0.1. They are a
    translation by up to 20 % per axis, a rotation by up to 25 degrees either way, and a scaling by 0.8 to 1.2 per axis.

    Returns
    -------
    Sequential
        The augmenter.

    Examples
    --------
    >>> images = np.zeros((4, 32, 32, 3), np.uint8)
    >>> article_augment()(images, np.random.default_rng(0)).shape
    (4, 32, 32, 3)
    """
    return Sequential(
        [
            Fliplr(1.0),
            Sometimes(0.1, Affine(translate_percent={"x": (-0.2, 0.2), "y": (-0.2, 0.2)})),
            Sometimes(0.1, Affine(rotate=(-25, 25))),
            Sometimes(0.1, Affine(scale={"x": (0.8, 1.2), "y": (0.8, 1.2)})),
        ],
        random_order=True,
    )


def _draw(ranges: tuple[Range, Range | None], count: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return `count` values for the x axis and for the y axis; both are the same if y has no range of its own."""
    x = rng.uniform(*ranges[0], count)
    return x, x if ranges[1] is None else rng.uniform(*ranges[1], count)


def check_call(images: object, rng: object) -> tuple[Array, np.random.Generator]:
    """Return the arguments of an augmenter's call, which must be uint8 images and a Generator."""
    images = check_uint8_images("images", images)
    if not isinstance(rng, np.random.Generator):  # None would draw other numbers in each run.
        raise TypeError(f"rng must be a numpy.random.Generator, got {describe(rng)}")
    return images, rng


def _augmented(augmenter: Augmenter, images: Array, rng: np.random.Generator, *, several: bool = False) -> Array:
    """Return what an augmenter makes of N images: N of their size and dtype or, with `several`, k N of them."""
    count, *size = images.shape
    result = augmenter(images, rng)
    valid = isinstance(result, np.ndarray) and result.dtype == np.uint8 and list(result.shape[1:]) == size
    if not valid or len(result) == 0 or (len(result) % count if several else len(result) != count):
        wanted = ", ".join([f"k {count}" if several else f"{count}", *map(str, size)])
        raise ValueError(f"augmenter must return uint8 images of shape ({wanted}), got {describe(result)}")
    return result


def _check_augmenter(value: Augmenter) -> Augmenter:
    if not callable(value):
        raise TypeError(f"an augmenter must be callable, augmenter(images, rng), got {describe(value)}")
    check_callable("augmenter", value, takes="images, rng")
    return value


def _check_range(name: str, value: object, *, minimum: float = -_LARGEST) -> Range:
    """Return a number or a pair low <= high as a pair; both ends must be from `minimum` to 1e6."""
    ends = value if isinstance(value, tuple | list) else (value, value)
    if len(ends) != 2:
        raise ValueError(f"{name} must be a number or a pair (low, high), got {describe(value)}")
    low, high = (check_real(name, end, minimum=minimum, maximum=_LARGEST) for end in ends)
    if low > high:
        raise ValueError(f"{name} must be a number or a pair (low, high) with low <= high, got {describe(value)}")
    return low, high


def _check_axes(name: str, value: object, *, default: float, minimum: float = -_LARGEST) -> tuple[Range, Range | None]:
    """Return the ranges of the x axis and of the y axis; None for y means one draw for both axes."""
    if not isinstance(value, Mapping):
        return _check_range(name, value, minimum=minimum), None
    if not value or not set(value) <= {"x", "y"}:
        raise ValueError(f"{name} must be a number, a pair or a dict with keys 'x', 'y', got {describe(value)}")
    x, y = (_check_range(f"{name}[{axis!r}]", value.get(axis, default), minimum=minimum) for axis in "xy")
    return x, y
