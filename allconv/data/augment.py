"""Augmentation in NumPy, vectorized over the batch: flips and affine warps, each image with its own parameters.

An augmenter is called as ``augmenter(images, rng)``, with images (N, H, W, C) uint8, and returns new images of the
same shape and dtype. All parameters are drawn from `rng` before the arithmetic is shared among threads. Names and
meanings are those of imgaug 0.4, so that a recipe reads alike with both.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from allconv.data.dataset import check_uint8_images
from allconv.parallel.threads import run, slices
from allconv.typing import Array
from allconv.validation import check_bool, check_generator, check_real, describe

Augmenter = Callable[[Array, np.random.Generator], Array]
Range = tuple[float, float]
RangeLike = float | Range
AxesLike = RangeLike | Mapping[str, RangeLike]

_SLICE_PIXELS = 1 << 14  # positions of a slice: with its coordinates and four taps it stays in a core's cache


class Fliplr:
    """Mirror each image left to right with probability `p`.

    Parameters
    ----------
    p : float, default 1.0
        In [0, 1].

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


class Affine:
    r"""Scale, rotate and translate each image about its centre, with its own parameters.

    A pixel at :math:`p = (x, y)` moves to :math:`R S (p - c) + t + c`, with :math:`c = (W / 2 - 1/2, H / 2 - 1/2)`,
    :math:`S` the diagonal of the two scales, :math:`R` the rotation and :math:`t` the translation. Values between
    pixels are bilinear, the outside is 0, and the result is rounded to the nearest grey level.

    Parameters
    ----------
    scale : number, (low, high), or {"x": ..., "y": ...}; default 1.0
        Above 0. A pair is drawn from uniformly, for each image. Without "x" and "y", both axes share one draw;
        with them, they are drawn apart, and one that is missing stays at 1.
    translate_percent : number, (low, high), or {"x": ..., "y": ...}; default 0.0
        Fraction of the image's width ("x", to the right) and height ("y", down), drawn as `scale`, then rounded to
        whole pixels, as imgaug did until 0.2.
    rotate : number or (low, high); default 0.0
        Degrees, clockwise.

    Examples
    --------
    >>> images = np.array([[1, 2], [3, 4]], np.uint8).reshape(1, 2, 2, 1)
    >>> Affine(rotate=90)(images, np.random.default_rng(0))[0, :, :, 0]
    array([[3, 1],
           [4, 2]], dtype=uint8)
    """

    def __init__(self, *, scale: AxesLike = 1.0, translate_percent: AxesLike = 0.0, rotate: RangeLike = 0.0) -> None:
        self.scale = _check_axes("scale", scale, default=1.0, minimum=0.0)
        self.translate_percent = _check_axes("translate_percent", translate_percent, default=0.0)
        self.rotate = _check_range("rotate", rotate)

    def __call__(self, images: Array, rng: np.random.Generator) -> Array:
        """Return the warped images."""
        images, rng = check_call(images, rng)
        count, height, width, _ = images.shape
        scale_x, scale_y = _draw(self.scale, count, rng)
        shift_x, shift_y = _draw(self.translate_percent, count, rng)
        angle = np.deg2rad(rng.uniform(*self.rotate, count))
        # The inverse, S^-1 R^T (p - c - t) + c, says from where an output pixel takes its value.
        cos, sin = np.cos(angle), np.sin(angle)
        linear = np.stack([cos / scale_x, sin / scale_x, -sin / scale_y, cos / scale_y], axis=1).reshape(-1, 2, 2)
        centre = np.array([width / 2 - 0.5, height / 2 - 0.5])
        shift = np.stack([np.rint(shift_x * width), np.rint(shift_y * height)], axis=1)
        offset = centre - (linear @ (centre + shift)[:, :, None])[:, :, 0]
        return warp(images, linear, offset)

    def __repr__(self) -> str:
        return f"Affine(scale={self.scale}, translate_percent={self.translate_percent}, rotate={self.rotate})"


class Sometimes:
    """Apply an augmenter to each image with probability `p`; the others stay as they are.

    Parameters
    ----------
    p : float
        In [0, 1].
    augmenter : callable
        Gets the chosen images of a batch together, at least one.
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
            result[chosen] = self.augmenter(images[chosen], rng)
        return result

    def __repr__(self) -> str:
        return f"Sometimes({self.p:g}, {self.augmenter!r})"


class Sequential:
    """Apply augmenters one after the other.

    Parameters
    ----------
    augmenters : sequence of callables
    random_order : bool, default False
        Draw a new order at each call, one for the whole batch.
    """

    def __init__(self, augmenters: Sequence[Augmenter], *, random_order: bool = False) -> None:
        self.augmenters = [_check_augmenter(augmenter) for augmenter in augmenters]
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
    """Return the images as they are, followed by their augmented copies: twice as many.

    Parameters
    ----------
    augmenter : callable
        Makes the copies.
    """

    def __init__(self, augmenter: Augmenter) -> None:
        self.augmenter = _check_augmenter(augmenter)

    def __call__(self, images: Array, rng: np.random.Generator) -> Array:
        """Return (2 N, H, W, C) for images (N, H, W, C)."""
        images, rng = check_call(images, rng)
        return np.concatenate([images, self.augmenter(images.copy(), rng)])

    def __repr__(self) -> str:
        return f"KeepOriginals({self.augmenter!r})"


def article_augment() -> Sequential:
    """Return the article's augmenter: four operators in an order drawn once per step.

    A mirror image always; each with probability 0.1, image by image: a translation of up to 20 % an axis, a
    rotation of up to 25 degrees either way, a scaling by 0.8 to 1.2 an axis.
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


def warp(images: Array, linear: Array, offset: Array) -> Array:
    r"""Return the images resampled: the output at :math:`p = (x, y)` is the input at :math:`L p + o`.

    Parameters
    ----------
    images : (N, H, W, C) uint8
    linear : (N, 2, 2) float64
        L, for each image; rows and columns in the order x, y.
    offset : (N, 2) float64
        o, in pixels.

    Returns
    -------
    (N, H, W, C) uint8
        Bilinear, 0 outside, rounded to the nearest grey level.
    """
    count, height, width, channels = images.shape
    result = np.empty_like(images, order="C")
    parts = slices(count, max(1, _SLICE_PIXELS // (height * width)))
    y, x = np.divmod(np.arange(height * width), width)
    stride = width + 3

    def task(index: int) -> None:
        part = parts[index]
        number = part.stop - part.start
        matrix, shift = linear[part, :, :, None], offset[part, :, None]
        # The frame of zeros, one pixel before and two after, makes the taps of any clipped position valid.
        frame = np.zeros((number, height + 3, stride, channels), np.uint8)
        frame[:, 1 : height + 1, 1 : width + 1] = images[part]
        pixels = frame.reshape(-1, channels)
        from_x = np.clip(matrix[:, 0, 0] * x + matrix[:, 0, 1] * y + shift[:, 0], -1, width)
        from_y = np.clip(matrix[:, 1, 0] * x + matrix[:, 1, 1] * y + shift[:, 1], -1, height)
        left, top = np.floor(from_x).astype(np.intp), np.floor(from_y).astype(np.intp)
        right_weight = (from_x - left).astype(np.float32)[:, :, None]
        bottom_weight = (from_y - top).astype(np.float32)[:, :, None]
        tap = (np.arange(number)[:, None] * (height + 3) + top + 1) * stride + left + 1  # (number, H W)
        upper = pixels[tap] * (1 - right_weight) + pixels[tap + 1] * right_weight
        lower = pixels[tap + stride] * (1 - right_weight) + pixels[tap + stride + 1] * right_weight
        # A convex combination of grey levels stays within 0..255: there is nothing to clip.
        values = upper * (1 - bottom_weight) + lower * bottom_weight
        result[part] = np.rint(values).reshape(number, height, width, channels)

    run(task, len(parts))
    return result


def _draw(ranges: tuple[Range, Range | None], count: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return `count` values for the x axis and for the y axis; without a range for y, they are the same."""
    x = rng.uniform(*ranges[0], count)
    return x, x if ranges[1] is None else rng.uniform(*ranges[1], count)


def check_call(images: object, rng: object) -> tuple[Array, np.random.Generator]:
    """Return the arguments of an augmenter's call: uint8 images, and a Generator."""
    return check_uint8_images("images", images), check_generator("rng", rng)


def _check_augmenter(value: Augmenter) -> Augmenter:
    if not callable(value):
        raise TypeError(f"an augmenter must be callable, augmenter(images, rng), got {describe(value)}")
    return value


def _check_range(name: str, value: object, *, minimum: float | None = None) -> Range:
    """Return a number or a pair low <= high as a pair; above `minimum` where that is given."""
    ends = value if isinstance(value, tuple | list) else (value, value)
    if len(ends) != 2:
        raise ValueError(f"{name} must be a number or a pair (low, high), got {describe(value)}")
    limits = {} if minimum is None else {"minimum": minimum, "open_below": True}
    low, high = (check_real(name, end, **limits) for end in ends)  # type: ignore[arg-type]
    if low > high:
        raise ValueError(f"{name} must be a number or a pair (low, high) with low <= high, got {describe(value)}")
    return low, high


def _check_axes(
    name: str, value: object, *, default: float, minimum: float | None = None
) -> tuple[Range, Range | None]:
    """Return the ranges of the x and y axes; None for y where one draw serves both."""
    if not isinstance(value, Mapping):
        return _check_range(name, value, minimum=minimum), None
    if not value or not set(value) <= {"x", "y"}:
        raise ValueError(f"{name} must be a number, a pair or a dict with keys 'x', 'y', got {describe(value)}")
    x, y = (_check_range(f"{name}[{axis!r}]", value.get(axis, default), minimum=minimum) for axis in "xy")
    return x, y
