"""The shape of one example: `output_shape` of a layer refuses what its forward pass refuses.

The shapes have no batch axis: ``(32, 32, 3)`` for images ``(N, 32, 32, 3)``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from numpy.typing import DTypeLike

from allconv.typing import Array
from allconv.validation import check_batch, check_images, describe, is_int

if TYPE_CHECKING:
    from allconv.layers.base import Layer


class MisfitError(ValueError):
    """A shape does not fit a layer inside a model; the message names the layer's path.

    Parameters
    ----------
    path : str
        The layer's path, such as ``3.body.0``.
    kind : str
        The layer's class.
    reason : str
        What the layer itself says.
    """

    def __init__(self, path: str, kind: str, reason: str) -> None:
        super().__init__(path, kind, reason)

    def __str__(self) -> str:
        path, kind, reason = self.args
        return f"layer {path}, {kind}: {reason}"


def child_output_shape(name: str, layer: Layer, in_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return ``layer.output_shape(in_shape)`` of a layer that another one holds.

    Parameters
    ----------
    name : str
        The layer's name in the one that holds it.
    layer : Layer
        The layer.
    in_shape : tuple of int
        The shape of one example.

    Returns
    -------
    tuple of int
        The output's shape, without the batch axis.

    Raises
    ------
    MisfitError
        If the shape does not fit the layer, or one that it holds; the error has the path.
    """
    try:
        return layer.output_shape(in_shape)
    except MisfitError as error:
        path, kind, reason = error.args
        raise MisfitError(f"{name}.{path}", kind, reason) from None
    except ValueError as error:
        raise MisfitError(name, type(layer).__name__, str(error)) from error


def check_shape(in_shape: object, name: str = "in_shape") -> tuple[int, ...]:
    """Return the shape of one example as a tuple of ints.

    Parameters
    ----------
    in_shape : tuple of int
        The shape, without the batch axis. ``()`` stands for a batch of single numbers, (N,).
    name : str, default "in_shape"
        The argument's name, for the message.

    Returns
    -------
    tuple of int
        The shape.

    Raises
    ------
    TypeError, ValueError
        If `in_shape` is no tuple or list of positive ints.

    Examples
    --------
    >>> check_shape([32, 32, 3])
    (32, 32, 3)
    """
    if not isinstance(in_shape, tuple | list) or not all(is_int(size) for size in in_shape):
        raise TypeError(f"{name} must be a tuple of positive ints, without the batch axis, got {describe(in_shape)}")
    if any(size < 1 for size in in_shape):
        raise ValueError(f"{name} must be a tuple of positive ints, without the batch axis, got {describe(in_shape)}")
    return tuple(int(size) for size in in_shape)


def check_image_shape(in_shape: object, channels: int | None = None) -> tuple[int, int, int]:
    """Return the shape (H, W, C) of one image, as `check_images` does for a batch.

    Parameters
    ----------
    in_shape : tuple of int
        The shape, without the batch axis.
    channels : int, optional
        The number of channels C; any number by default.

    Returns
    -------
    tuple of int
        (H, W, C).

    Raises
    ------
    TypeError, ValueError
        If `in_shape` is another shape; the message says what it looks like.

    Examples
    --------
    >>> check_image_shape((32, 32, 3), channels=3)
    (32, 32, 3)
    """
    shape = check_shape(in_shape)
    if len(shape) != 3 or channels not in (None, shape[2]):
        wanted = "(H, W, C)" if channels is None else f"(H, W, {channels})"
        raise ValueError(f"in_shape must be {wanted}, got {shape}{_image_hint(shape, channels)}")
    height, width, last = shape
    return height, width, last


def check_channels(x: object, channels: int, dtype: DTypeLike) -> Array:
    """Return a batch whose last axis holds the channels, as `check_batch` does.

    Parameters
    ----------
    x : array, shape (N, ..., C)
        The batch.
    channels : int
        The number of channels C.
    dtype : dtype
        The dtype to cast to.

    Returns
    -------
    array, shape (N, ..., C)
        The array itself, unless it has to be cast.

    Raises
    ------
    TypeError, ValueError
        As for `check_batch`, and if `x` has another shape.

    Examples
    --------
    >>> check_channels(np.ones((2, 3)), 3, np.float32).dtype
    dtype('float32')
    """
    array = check_batch("x", x, dtype)
    if array.ndim == 4:
        return check_images("x", array, channels=channels)
    if array.ndim < 2 or array.shape[-1] != channels:
        raise ValueError(f"x must have shape (N, ..., {channels}), got {describe(array)}")
    return array


def check_channels_shape(in_shape: object, channels: int) -> tuple[int, ...]:
    """Return the shape (..., C) of one example, as `check_channels` does for a batch.

    Parameters
    ----------
    in_shape : tuple of int
        The shape, without the batch axis.
    channels : int
        The number of channels C.

    Returns
    -------
    tuple of int
        The shape.

    Raises
    ------
    TypeError, ValueError
        If `in_shape` is another shape.

    Examples
    --------
    >>> check_channels_shape((5, 3), 3)
    (5, 3)
    """
    shape = check_shape(in_shape)
    if len(shape) == 3:
        return check_image_shape(shape, channels)
    if not shape or shape[-1] != channels:
        raise ValueError(f"in_shape must be (..., {channels}), got {shape}")
    return shape


def _image_hint(shape: tuple[int, ...], channels: int | None) -> str:
    """Return the end of a message, which says what to do with a shape that looks like an image in another form."""
    if len(shape) == 4:
        return f"; leave the batch axis out: {shape[1:]}"
    if channels is not None and len(shape) == 3 and shape[0] == channels:
        return f"; this looks like NCHW: the channels are the last axis, {(*shape[1:], channels)}"
    if len(shape) == 2 and channels in (None, 1):
        return f"; grey images have an axis for their channel: {(*shape, 1)}"
    return ""
