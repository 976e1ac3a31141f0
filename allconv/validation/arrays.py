"""Checks of arrays."""

# This file is longer than 300 lines because each check states its rule in its docstring; the code is short.

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from allconv.typing import Array
from allconv.validation.describing import describe, where_the_array_is

# The size of an array that is read, in bytes. Only a view that repeats its elements can be larger than 1 TiB; no memory
# holds what a computation would make of it.
MOST_BYTES = 1 << 40


def check_dtype(name: str, value: DTypeLike) -> np.dtype[Any]:
    """Return the dtype of a layer's parameters, in native byte order.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    value : dtype
        The dtype, float32 or float64, in any form that NumPy takes.

    Returns
    -------
    dtype
        The dtype.

    Raises
    ------
    TypeError
        If `value` is another dtype, or none.

    Examples
    --------
    >>> check_dtype("dtype", "float32")
    dtype('float32')
    """
    try:
        dtype = np.dtype(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        raise TypeError(f"{name} must be float32 or float64, got {describe(value)}") from None
    if value is None or isinstance(value, np.generic) or dtype not in (np.float32, np.float64):
        raise TypeError(f"{name} must be float32 or float64, got {describe(value)}")
    return dtype.newbyteorder("=")


def check_array(name: str, value: object) -> Array:
    """Return `value` as a plain array, whatever its dtype; what would lose its meaning on the way raises TypeError.

    Refused are masked arrays, lists of unequal rows, and tensors that live on a GPU or record gradients.
    """
    if type(value) is np.ndarray:
        return _check_size(name, value)
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"{name} must be a plain array, got a masked {describe(value)[3:]}; "
            f"replace what is masked first, e.g. {name}.filled(0)"
        )
    try:
        return _check_size(name, np.asarray(value))
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        hint = where_the_array_is(name, value)
        raise TypeError(f"{name} must be an array, got {describe(value)}{hint}: {error}") from error


def _check_size(name: str, array: Array) -> Array:
    if array.nbytes > MOST_BYTES:
        raise ValueError(f"{name} must have at most {MOST_BYTES:,} bytes, got {describe(array)}")
    return array


def check_floating(name: str, value: object, dtype: DTypeLike | None = None) -> Array:
    """Return an array of a real floating dtype in native byte order, cast to `dtype` if there is one.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    value : array
        The array. Integers, bools and complex numbers are refused, and the message says how to convert them.
    dtype : dtype, optional
        The dtype to cast to.

    Returns
    -------
    array
        The array itself, unless it has to be cast.

    Raises
    ------
    TypeError
        If `value` is no array of a real floating dtype: a masked array, whose mask would be lost, counts as none.
    ValueError
        If a finite number is too large for `dtype`.

    Examples
    --------
    >>> check_floating("x", np.ones(2), np.float32)
    array([1., 1.], dtype=float32)
    """
    array = check_array(name, value)
    if array.dtype.kind != "f":
        hint = f"convert it first, e.g. {name}.astype(np.float32){' / 255' if _like_pixels(array) else ''}"
        if value is None and name == "dy":
            hint = "the backward pass of the layer after this one must return an array"
        raise TypeError(f"{name} must be an array of real floating dtype, got {describe(value)}; {hint}")
    wanted = array.dtype.newbyteorder("=") if dtype is None else _floating_dtype(dtype)
    if array.dtype == wanted:
        return array
    if array.dtype.itemsize <= wanted.itemsize:
        return np.asarray(array, dtype=wanted)
    try:
        # The processor's own flag tells of an overflow, so no second pass over the numbers is needed.
        with np.errstate(over="raise", under="ignore"):
            return array.astype(wanted)
    except FloatingPointError:
        largest = np.abs(array[np.isfinite(array)]).max()
        raise ValueError(
            f"{name} must hold numbers that fit into {wanted.name}, at most {np.finfo(wanted).max:.3g}, "
            f"got {describe(array)} with the number {largest:.3g}"
        ) from None


def _like_pixels(array: Array) -> bool:
    """Tell whether an array looks like images of bytes, which a network takes as numbers in [0, 1]."""
    return array.dtype == np.uint8 and array.ndim == 4


def _floating_dtype(value: DTypeLike) -> np.dtype[Any]:
    try:
        dtype = np.dtype(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        raise TypeError(f"dtype must be a floating dtype, got {describe(value)}") from None
    if dtype.kind != "f" or isinstance(value, np.generic):
        raise TypeError(f"dtype must be a floating dtype, got {describe(value)}")
    return dtype


def check_batch(name: str, value: object, dtype: DTypeLike | None = None) -> Array:
    """Return a batch of at least one example, as `check_floating` does.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    value : array, shape (N, ...)
        The batch.
    dtype : dtype, optional
        The dtype to cast to.

    Returns
    -------
    array, shape (N, ...)
        The array itself, unless it has to be cast.

    Raises
    ------
    TypeError, ValueError
        As for `check_floating`, and if `value` has no axis or no element.

    Examples
    --------
    >>> check_batch("x", np.ones((5, 3))).shape
    (5, 3)
    """
    array = check_floating(name, value, dtype)
    if array.ndim == 0 or array.size == 0:
        raise ValueError(f"{name} must be a batch of at least one example, (N, ...), got {describe(array)}")
    return array


def check_images(name: str, value: object, dtype: DTypeLike | None = None, channels: int | None = None) -> Array:
    """Return a batch of images, as `check_batch` does.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    value : array, shape (N, H, W, C)
        The images.
    dtype : dtype, optional
        The dtype to cast to.
    channels : int, optional
        The number of channels C; any number by default.

    Returns
    -------
    array, shape (N, H, W, C)
        The array itself, unless it has to be cast.

    Raises
    ------
    TypeError, ValueError
        As for `check_batch`, and if `value` has another shape; the message says what the shape looks like.

    Examples
    --------
    >>> check_images("x", np.ones((5, 32, 32, 3)), channels=3).shape
    (5, 32, 32, 3)
    """
    array = check_batch(name, value, dtype)
    if channels is not None and not isinstance(channels, int | np.integer):
        raise TypeError(f"channels must be an int or None, got {describe(channels)}")
    if array.ndim != 4 or channels not in (None, array.shape[3]):
        wanted = "(N, H, W, C)" if channels is None else f"(N, H, W, {channels})"
        raise ValueError(
            f"{name} must have shape {wanted}, got {describe(array)}{_images_hint(name, array.shape, channels)}"
        )
    return array


def _images_hint(name: str, shape: tuple[int, ...], channels: int | None) -> str:
    """Return the end of a message, which says what to do with an array that looks like images in another form."""
    if channels is not None and len(shape) == 4 and shape[1] == channels:
        return f"; this looks like NCHW: pass {name}.transpose(0, 2, 3, 1)"
    if channels is not None and len(shape) == 3 and shape[2] == channels:
        return f"; this looks like one image: pass {name}[None]"
    if channels in (None, 1) and len(shape) == 3:
        return f"; grey images (N, H, W) need an axis for their channel: pass {name}[..., None]"
    return ""


def check_weights(name: str, value: object, count: int) -> Array:
    """Return the weights of `count` examples as float64; they must be non-negative finite numbers, (N,)."""
    array = check_array(name, value)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be numbers, one for each example, got {describe(value)}")
    if array.shape != (count,):
        raise ValueError(f"{name} must have shape (N,) = ({count},), one for each example, got {describe(array)}")
    array = array.astype(np.float64)
    wrong = ~(np.isfinite(array) & (array >= 0))
    if wrong.any():
        place = int(wrong.argmax())
        raise ValueError(f"{name} must be non-negative finite numbers, got {array[place]:g} at index {place}")
    return array


def check_gradient(dy: object, like: Array) -> Array:
    """Return the gradient at a layer's output, in the output's dtype.

    Parameters
    ----------
    dy : array
        The gradient.
    like : array
        The output, whose shape and dtype count.

    Returns
    -------
    array
        The gradient itself, unless it has to be cast.

    Raises
    ------
    TypeError, ValueError
        As for `check_floating`, and if the two shapes differ.

    Examples
    --------
    >>> check_gradient(np.ones(3), np.zeros(3, np.float32)).dtype
    dtype('float32')
    """
    if not isinstance(like, np.ndarray):
        raise TypeError(f"like must be an array, got {describe(like)}")
    return check_gradient_shape(dy, like.shape, like.dtype)


def check_gradient_shape(dy: object, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Return the gradient at a layer's output, as `check_gradient` does, where the output is no longer there.

    Parameters
    ----------
    dy : array
        The gradient.
    shape : tuple of int
        The shape of the output.
    dtype : dtype
        The dtype of the output.

    Returns
    -------
    array
        The gradient itself, unless it has to be cast.

    Raises
    ------
    TypeError, ValueError
        As for `check_gradient`.

    Examples
    --------
    >>> check_gradient_shape(np.ones(3), (3,), np.float32).dtype
    dtype('float32')
    """
    array = check_floating("dy", dy, dtype)
    if array.shape != shape:
        raise ValueError(f"dy must have the shape of the layer's output, {shape}, got {describe(array)}")
    return array
