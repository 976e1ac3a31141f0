"""The affine resampling of images, shared among the threads."""

import numpy as np

from allconv.parallel.pool import run, slices
from allconv.typing import Array

# The size of a slice, in output pixels. With its coordinates and four taps it stays in the cache of a core.
_SLICE_PIXELS = 1 << 14


def warp(images: Array, linear: Array, offset: Array) -> Array:
    r"""Return the images resampled: the output at :math:`p = (x, y)` is the input at :math:`L p + o`.

    Parameters
    ----------
    images : array of uint8, shape (N, H, W, C)
        The images.
    linear : array of float64, shape (N, 2, 2)
        The matrix L of each image, with rows and columns in the order x, y.
    offset : array of float64, shape (N, 2)
        The vector o of each image, in pixels.

    Returns
    -------
    array of uint8, shape (N, H, W, C)
        The new images: bilinear between pixels, 0 outside, and rounded to the nearest grey level.
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
        # The frame of zeros is one pixel wide before the image and two after it, so a clipped position has all taps.
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
        # A convex combination of grey levels stays within 0..255, so no clipping is needed.
        values = upper * (1 - bottom_weight) + lower * bottom_weight
        result[part] = np.rint(values).reshape(number, height, width, channels)

    run(task, len(parts))
    return result
