"""What an estimator is given as X, and what its network takes: features (N, n), or images (N, H, W, C)."""

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from allconv.typing import Array
from allconv.validation import describe


def as_rows(X: Any, input_shape: tuple[int, ...] | None) -> tuple[Any, tuple[int, ...] | None]:
    """Return images (N, H, W, C) as rows (N, H W C), which scikit-learn can check, and anything else unchanged.

    Parameters
    ----------
    X : array_like
        Images, or what scikit-learn takes as rows of features.
    input_shape : tuple of int, optional
        The shape that one example must have, where it is known.

    Returns
    -------
    rows : array_like
        The rows.
    input_shape : tuple of int, or None
        The shape of one example. None says that an example is a row, of any length.

    Raises
    ------
    ValueError
        If the images have another shape, or no axis for their channels.
    """
    if getattr(X, "ndim", 0) == 3:
        hint = "grey images need an axis for their channel, X[..., None]"
        raise ValueError(f"X must be rows (N, n) or images (N, H, W, C), got {describe(X)}; {hint}")
    if getattr(X, "ndim", 0) != 4:
        return X, input_shape
    shape = tuple(X.shape[1:])
    if input_shape is not None and shape != input_shape:
        raise ValueError(f"X must hold examples of shape {input_shape}, got {describe(X)}")
    return X.reshape(len(X), math.prod(shape)), shape


def dtypes_of(input_shape: tuple[int, ...] | None) -> list[DTypeLike]:
    """Return the dtypes that X may keep; one of another dtype is cast to the first.

    Images in float64 would take twice the time, and pixels do not need its digits. The library divides uint8 by 255.
    """
    are_images = input_shape is not None and len(input_shape) == 3
    return [np.float32, np.uint8] if are_images else [np.float64, np.float32]


def shaped(rows: Array, input_shape: tuple[int, ...] | None) -> Array:
    """Return rows as examples of the shape that the network takes."""
    if input_shape is None:
        return rows
    if math.prod(input_shape) != rows.shape[1]:
        raise ValueError(f"image_shape must have as many numbers as X has features, {rows.shape[1]}, got {input_shape}")
    return rows.reshape(len(rows), *input_shape)
