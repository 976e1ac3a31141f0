"""A search for code that changes what a backward pass still needs."""

import zlib
from contextlib import AbstractContextManager

import numpy as np

from allconv.layers.base import Layer
from allconv.layers.intercept import Call
from allconv.layers.observe import observe
from allconv.layers.snapshot import arrays_in
from allconv.typing import Array, Cache
from allconv.validation import check_instance, describe


def guard_caches(model: Layer) -> AbstractContextManager[None]:
    """Return a context in which it is an error to change a cache between forward and backward.

    A layer's cache may hold its input and its output themselves. A program that writes to one of them before the
    backward pass, as ``y *= 0.5`` does, gets a wrong gradient without a word. Here it gets an error instead.

    Parameters
    ----------
    model : Layer
        The model. Both passes must lie within the context.

    Returns
    -------
    context manager
        At its end the layers are as before. Within it, a backward pass raises RuntimeError where an array in the cache
        of a layer is no longer what it was; the message has the layer's path.

    Raises
    ------
    TypeError
        If `model` is not a Layer.

    Notes
    -----
    Each array in a cache is read twice, for a checksum in each pass: this is for debugging, not for training.

    Examples
    --------
    >>> from allconv import Softmax
    >>> layer = Softmax()
    >>> with guard_caches(layer):
    ...     y, cache = layer.forward(np.zeros((1, 2)))
    ...     y *= 0.5
    ...     layer.backward(np.ones((1, 2)), cache)
    Traceback (most recent call last):
    ...
    RuntimeError: the cache of the Softmax must stay unchanged until backward, got another array of shape (1, 2) ...
    """
    check_instance("model", model, Layer)
    return observe(model.leaves(), forward=_remember, backward=_compare)


def _remember(call: Call, x: Array) -> tuple[Array, Cache]:
    """Pass on a forward pass, and put the checksums of its cache beside it."""
    y, cache = call(x)
    return y, (cache, [_checksum(array) for array in arrays_in(cache)])


def _compare(call: Call, dy: Array, cache: Cache) -> Array | None:
    """Pass on a backward pass, unless its cache has changed."""
    own_cache, checksums = cache
    for array, checksum in zip(arrays_in(own_cache), checksums, strict=True):
        if _checksum(array) != checksum:
            layer = (
                f"layer {call.path}, {type(call.layer).__name__}," if call.path else f"the {type(call.layer).__name__}"
            )
            raise RuntimeError(
                f"the cache of {layer} must stay unchanged until backward, got another {describe(array)[3:]} in it; "
                "it may be the layer's input or output: write y = 0.5 * y in place of y *= 0.5"
            )
    dx: Array | None = call(dy, own_cache)
    return dx


def _checksum(array: Array) -> int:
    return zlib.crc32(np.ascontiguousarray(array).tobytes())
