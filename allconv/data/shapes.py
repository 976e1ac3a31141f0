"""An embedded data set: ten classes of drawn colour images, the same bits for the same seed on any machine."""

from collections.abc import Callable

import numpy as np

from allconv.data.dataset import Dataset
from allconv.parallel.pool import run, slices
from allconv.typing import Array
from allconv.validation import check_int, check_size

# A function from the places u, v (N, P) and the radius (N, 1) to the signed distances (N, P) from the edge of a shape.
# All lengths are in pixels, and the distance is negative inside the shape.
Distance = Callable[[Array, Array, Array], Array]

SIZE = 32  # The height and the width of an image, in pixels.
_CONTRAST = 96  # The least difference between a shape and its ground in each channel, in grey levels.
_SLICE = 250  # The number of images that one generator draws. Another number would give other images for a seed.


def shapes(n: int, *, seed: int) -> Dataset:
    """Return `n` drawn 32x32 colour images of ten classes, in equal numbers as far as `n` allows.

    Each image has one shape or texture of random place, size, aspect, rotation and colour. The colour of the ground
    changes from side to side, with specks of clutter and noise. The data set serves lessons, tests and machines without
    CIFAR-10: a convolutional network learns it in minutes, and a linear classifier on the pixels does not.

    Parameters
    ----------
    n : int
        The number of images, at least 1.
    seed : int
        The seed of all random numbers, at least 0. The test set needs another seed than the training set.

    Returns
    -------
    Dataset
        The images (n, 32, 32, 3) uint8, shuffled, with their labels and the names of the classes.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    Notes
    -----
    The code uses only operations that IEEE 754 rounds exactly: no trigonometric functions, and no sums whose order the
    machine chooses. So the bits depend on the arguments and on NumPy's generator alone.

    Examples
    --------
    >>> train, test = shapes(50, seed=0), shapes(20, seed=1)
    >>> len(train), train.names[:3]
    (50, ('disc', 'ring', 'square'))
    """
    n = check_size("n", n)
    seed = check_int("seed", seed, minimum=0)
    labels = np.random.default_rng(seed).permutation(np.arange(n) % len(CLASSES))
    images = np.empty((n, SIZE, SIZE, 3), np.uint8)
    parts = slices(n, _SLICE)

    def task(index: int) -> None:
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
        images[parts[index]] = _draw(labels[parts[index]], rng)

    run(task, len(parts))
    return Dataset(images, labels, names=list(CLASSES))


def _draw(labels: Array, rng: np.random.Generator) -> Array:
    """Return an image for each label, (N, 32, 32, 3) uint8."""
    count = len(labels)
    y, x = np.divmod(np.arange(SIZE * SIZE), SIZE)  # (1024,)
    u, v = _coordinates(x, y, count, rng)
    radius = _uniform(rng, 8.0, 12.0, (count, 1))
    coverage = np.empty((count, SIZE * SIZE))
    for label, distance in enumerate(CLASSES.values()):
        chosen = labels == label
        coverage[chosen] = cover(distance(u[chosen], v[chosen], radius[chosen]))

    # Grounds are dark, so a shape is lighter in most images; it is darker where the sum passes 255.
    ground = rng.integers(0, 144, (count, 1, 3))
    shade = (ground + rng.integers(_CONTRAST, 257 - _CONTRAST, (count, 1, 3))) % 256
    slope_x, slope_y = _uniform(rng, -1.5, 1.5, (2, count, 1, 3))
    picture = ground + slope_x * (x - 15.5)[:, None] + slope_y * (y - 15.5)[:, None]
    picture += (shade - ground) * coverage[:, :, None]
    _clutter(picture, x, y, rng)
    strength = _uniform(rng, 0.0, 24.0, (count, 1, 1))
    picture += strength * (rng.random(picture.shape) + rng.random(picture.shape) - 1)
    images: Array = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    return images.reshape(count, SIZE, SIZE, 3)


def _coordinates(x: Array, y: Array, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return the pixels' places (N, 1024) in each shape's own coordinates: shifted, rotated, squeezed."""
    centre_x, centre_y = _uniform(rng, 12.0, 19.0, (2, count, 1))
    # (1 - t^2, 2 t) / (1 + t^2) is a point of the unit circle, so this rotates by -33 to 33 degrees without a sine.
    t = _uniform(rng, -0.3, 0.3, (count, 1))
    cos, sin = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    aspect = _uniform(rng, 0.9, 1.1, (count, 1))
    dx, dy = x - centre_x, y - centre_y
    return (cos * dx + sin * dy) * aspect, (cos * dy - sin * dx) / aspect


def _clutter(picture: Array, x: Array, y: Array, rng: np.random.Generator) -> None:
    """Draw two specks of 1 to 3 pixels a side over each picture, in place."""
    count = len(picture)
    for _ in range(2):
        place_x, place_y = rng.integers(0, SIZE, (2, count, 1))
        reach_x, reach_y = rng.integers(0, 2, (2, count, 1))
        inside = (np.abs(x - place_x) <= reach_x) & (np.abs(y - place_y) <= reach_y)
        np.copyto(picture, rng.integers(0, 256, (count, 1, 3)), where=inside[:, :, None])


def _uniform(rng: np.random.Generator, low: float, high: float, shape: tuple[int, ...]) -> Array:
    return low + (high - low) * rng.random(shape)


def cover(distance: Array) -> Array:
    """Return the share of each pixel that a shape covers, from 0 to 1; the edge is a ramp one pixel wide."""
    coverage: Array = np.clip(0.5 - distance, 0, 1)
    return coverage


def _stripes_of(position: Array, period: Array) -> Array:
    """Return the signed distance to stripes half a period wide, across `position`."""
    phase = position / period
    return (np.abs(phase - np.floor(phase) - 0.5) - 0.25) * period


def _disc(u: Array, v: Array, radius: Array) -> Array:
    distance: Array = np.sqrt(u * u + v * v) - radius
    return distance


def _ring(u: Array, v: Array, radius: Array) -> Array:
    return np.abs(_disc(u, v, 0.8 * radius)) - 0.2 * radius


def _square(u: Array, v: Array, radius: Array) -> Array:
    return np.maximum(np.abs(u), np.abs(v)) - 0.85 * radius


def _frame(u: Array, v: Array, radius: Array) -> Array:
    return np.abs(_square(u, v, 0.8 * radius)) - 0.17 * radius


def _triangle(u: Array, v: Array, radius: Array) -> Array:
    return np.maximum(v, 0.8660254037844386 * np.abs(u) - 0.5 * v) - 0.55 * radius  # The factor is sqrt(3) / 2.


def _cross(u: Array, v: Array, radius: Array) -> Array:
    a, b = np.abs(u), np.abs(v)
    distance: Array = np.minimum(np.maximum(a - radius, b - 0.3 * radius), np.maximum(b - radius, a - 0.3 * radius))
    return distance


def _stripes(u: Array, v: Array, radius: Array) -> Array:  # noqa: ARG001 - one signature for all
    return _stripes_of(u, 0.8 * radius)


def _checks(u: Array, v: Array, radius: Array) -> Array:
    a, b = _stripes_of(u, radius), _stripes_of(v, radius)
    distance: Array = np.maximum(np.minimum(a, b), -np.maximum(a, b))  # Inside one of the two, and not inside both.
    return distance


def _dots(u: Array, v: Array, radius: Array) -> Array:
    period = 0.8 * radius
    a, b = u / period, v / period
    return _disc((a - np.floor(a) - 0.5) * period, (b - np.floor(b) - 0.5) * period, 0.3 * period)


def _target(u: Array, v: Array, radius: Array) -> Array:
    return _stripes_of(np.sqrt(u * u + v * v), 0.8 * radius)


CLASSES: dict[str, Distance] = {
    "disc": _disc,
    "ring": _ring,
    "square": _square,
    "frame": _frame,
    "triangle": _triangle,
    "cross": _cross,
    "stripes": _stripes,
    "checks": _checks,
    "dots": _dots,
    "target": _target,
}
