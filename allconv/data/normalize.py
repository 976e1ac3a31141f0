"""From images or features to the input of a network: standardized over the step, or by fixed statistics."""

from collections.abc import Callable

import numpy as np

from allconv.data.dataset import check_inputs
from allconv.parallel.pool import run, slices
from allconv.typing import Array
from allconv.validation import check_array, check_choice, check_floating, describe, quietly

# The size of a slice of inputs, in numbers. The wider temporaries of a slice then stay in the cache of a core.
_SLICE_SIZE = 1 << 18


@quietly
def per_step(images: Array) -> Array:
    r"""Standardize every pixel of every channel over the images of one step, as the 2018 article does.

    .. math:: y_{nhwc} = (x_{nhwc} - \mu_{hwc}) / \sigma_{hwc}, \qquad
        \mu_{hwc} = \frac{1}{N} \sum_n x_{nhwc}, \qquad \sigma_{hwc}^2 = \frac{1}{N} \sum_n (x_{nhwc} - \mu_{hwc})^2

    There is no epsilon. A pixel whose deviation is 0 becomes 0.

    Parameters
    ----------
    images : array, shape (N, H, W, C) or (N, ..., C)
        The images of the step, uint8 or floating, or floating features; finite.

    Returns
    -------
    array, shape (N, H, W, C) or (N, ..., C)
        The standardized images: float32 for uint8, and in their own dtype otherwise.

    Raises
    ------
    TypeError, ValueError
        If `images` is neither uint8 images nor floating, or not finite.

    Notes
    -----
    The result for an image depends on the other images of its step, and a single image becomes all 0. To predict for
    a few images, use `Standardize` with the statistics of a large set.

    Examples
    --------
    >>> per_step(np.array([10, 30], np.uint8).reshape(2, 1, 1, 1)).ravel()
    array([-1.,  1.], dtype=float32)
    """
    return Standardize.fit(images, per="pixel")(images)


class Standardize:
    r"""Standardize inputs by fixed statistics: :math:`y = (x - \mu) / \sigma`, and 0 where :math:`\sigma = 0`.

    Parameters
    ----------
    mean, std : array, shape (C,), or that of an input, such as (H, W, C)
        The finite statistics :math:`\mu` and :math:`\sigma` of each channel, or of each pixel of each channel. The
        channels are the last axis: the features of inputs (N, F) are channels. `std` must be 0, or at least
        2.2e-308, the smallest normal float64.

    Attributes
    ----------
    mean, std : array of float64
        The statistics, which are all there is to save: ``Standardize(mean, std)`` makes an equal normalizer.

    Raises
    ------
    TypeError, ValueError
        If the statistics are out of their range or differ in shape; from a call, if the inputs are neither uint8 images
        nor floating, or do not match the statistics.

    Notes
    -----
    A call takes uint8 images (N, H, W, C), and returns an array of the same shape in float32; or floating inputs
    (N, ..., C), whose dtype the result keeps.

    Examples
    --------
    >>> images = np.array([[10, 7], [30, 7]], np.uint8).reshape(2, 1, 1, 2)
    >>> normalize = Standardize.fit(images)
    >>> normalize.mean, normalize.std
    (array([20.,  7.]), array([10.,  0.]))
    >>> normalize(images).reshape(2, 2)
    array([[-1.,  0.],
           [ 1.,  0.]], dtype=float32)
    >>> features = np.array([[1.0, 500.0], [3.0, 100.0]])
    >>> Standardize.fit(features)(features)
    array([[-1.,  1.],
           [ 1., -1.]])
    """

    def __init__(self, mean: Array, std: Array) -> None:
        self.mean = _check_statistic("mean", mean)
        self.std = _check_statistic("std", std)
        if self.mean.shape != self.std.shape:
            raise ValueError(f"std must have the shape of mean, {self.mean.shape}, got {describe(self.std)}")
        if self.std.min() < 0:
            raise ValueError(f"std must not be negative, got {self.std.min()}")
        positive = self.std[self.std > 0]
        if positive.size and positive.min() < np.finfo(np.float64).tiny:  # Its reciprocal would be infinite.
            raise ValueError(f"std must be 0 or at least {np.finfo(np.float64).tiny:.3g}, got {positive.min()}")

    @classmethod
    @quietly
    def fit(cls, images: Array, *, per: str = "channel") -> "Standardize":
        """Return the normalizer with the mean and the population standard deviation of `images`.

        Parameters
        ----------
        images : array, shape (N, H, W, C) or (N, ..., C)
            The images, uint8 or floating, or floating features, usually the whole training set; finite.
        per : {"channel", "pixel"}, default "channel"
            The axes of the statistics. "channel" takes them over images and positions, so that their shape is (C,);
            "pixel" takes them over the images alone, so that it is that of an image, (H, W, C) or (..., C).

        Returns
        -------
        Standardize
            The normalizer.

        Raises
        ------
        TypeError, ValueError
            If an argument is out of its range.
        """
        images = check_inputs("images", images)
        check_choice("per", per, ("channel", "pixel"))
        if images.ndim == 1:
            raise ValueError(
                f"images must have an axis of channels, (N, ..., C), got {describe(images)}; "
                "N single numbers are images[:, None]"
            )
        if images.dtype != np.uint8:
            mean, std = _floating_statistics(images, per)
            if not (np.isfinite(mean).all() and np.isfinite(std).all()):
                raise ValueError(f"images must be finite, and their squares too, got {describe(images)}")
            return cls(mean, std)
        parts = _parts(images)

        def sums(index: int) -> tuple[Array, Array]:
            block = images[parts[index]].astype(np.int32)
            total = block.sum(axis=0, dtype=np.int64)
            np.square(block, out=block)
            return total, block.sum(axis=0, dtype=np.int64)

        blocks = run(sums, len(parts))
        total, squares = (np.sum(values, axis=0) for values in zip(*blocks, strict=True))
        count = len(images)
        if per == "channel":
            count *= images.shape[1] * images.shape[2]
            total, squares = total.sum(axis=(0, 1)), squares.sum(axis=(0, 1))
        # The sums are exact integers, and remain so around an integer next to the mean. The two terms of the variance
        # then cannot cancel: their difference is exactly 0 for constant pixels, and only for those.
        centre = np.rint(total / count).astype(np.int64)
        squares = squares - 2 * centre * total + count * centre**2
        rest = (total - count * centre) / count
        return cls(centre + rest, np.sqrt(squares / count - rest**2))

    @quietly
    def __call__(self, images: Array) -> Array:
        """Return the standardized images, (N, H, W, C) float32, or inputs in their floating dtype."""
        images = check_inputs("images", images)
        if self.mean.shape not in (images.shape[1:], images.shape[1:][-1:]):
            raise ValueError(f"images must match the statistics of shape {self.mean.shape}, got {describe(images)}")
        scale = np.divide(1.0, self.std, out=np.zeros_like(self.std), where=self.std > 0)
        y = np.empty(images.shape, np.float32 if images.dtype == np.uint8 else images.dtype)
        parts = _parts(images)

        def task(index: int) -> None:
            part = parts[index]
            y[part] = (images[part] - self.mean) * scale

        run(task, len(parts))
        return y

    def __repr__(self) -> str:
        return f"Standardize(mean and std of shape {self.mean.shape})"


def _floating_statistics(inputs: Array, per: str) -> tuple[Array, Array]:
    """Return mean and deviation of floating inputs, from sums in float64 of a slice at a time.

    The differences from the first input are summed. So a constant feature has exactly the deviation 0, and a large mean
    costs no digits.
    """
    axes = tuple(range(inputs.ndim - 1)) if per == "channel" else (0,)
    first = inputs[0].astype(np.float64)
    if axes != (0,):
        first = first.reshape(-1, first.shape[-1])[0]
    parts = _parts(inputs)
    count = inputs.size // first.size

    def mean_of(function: Callable[[Array], Array]) -> Array:
        sums = run(lambda index: function(inputs[parts[index]] - first).sum(axis=axes), len(parts))
        mean: Array = np.sum(sums, axis=0) / count
        return mean

    offset = mean_of(lambda difference: difference)
    return first + offset, np.sqrt(mean_of(lambda difference: np.square(difference - offset)))


def _parts(images: Array) -> list[slice]:
    """Cut the batch into slices by the size of the images alone."""
    return slices(len(images), max(1, _SLICE_SIZE * len(images) // images.size))


def _check_statistic(name: str, value: object) -> Array:
    given = check_array(name, value)
    if given.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be an array of numbers, got {describe(value)}")
    statistic = np.array(check_floating(name, given, np.float64) if given.dtype.kind == "f" else given, np.float64)
    if statistic.size == 0 or statistic.ndim == 0:
        raise ValueError(
            f"{name} must have shape (C,), or that of an input, such as (H, W, C), got {describe(statistic)}"
        )
    if not np.isfinite(statistic).all():
        raise ValueError(f"{name} must be finite, got {describe(statistic)} with NaN or infinity")
    return statistic
