r"""Upsampling of images by whole factors, by repetition or by linear interpolation.

Both are the same work along each axis. Of the s outputs that belong to input i, output r lies at the place

.. math:: i + \delta_r, \qquad \delta_r = \frac{r + 1/2}{s} - \frac12

of the input, since pixels are areas whose centres count. It is a fixed mixture of two neighbouring inputs, where the
edge is repeated beyond the image.
"""

import math

import numpy as np

from allconv.typing import Array, Pair

Mixture = tuple[tuple[int, float], ...]  # pairs (distance of an input, its weight)


def upsample(x: Array, factor: Pair, mode: str) -> Array:
    """Return images with `factor` times as many rows and columns.

    Parameters
    ----------
    x : array (N, H, W, C)
        float32 or float64.
    factor : pair of int
        (vertical, horizontal).
    mode : {"nearest", "bilinear"}
        Whether an input is repeated, or mixed with its neighbours.

    Returns
    -------
    array (N, H factor[0], W factor[1], C)

    Examples
    --------
    >>> upsample(np.array([0.0, 4.0]).reshape(1, 1, 2, 1), (1, 2), "bilinear").ravel()
    array([0., 1., 3., 4.])
    """
    N, H, W, C = x.shape
    rows = _stretch(x.reshape(N, H, W * C), factor[0], mode)
    y = _stretch(rows.reshape(-1, W, C), factor[1], mode)
    return y.reshape(N, H * factor[0], W * factor[1], C)


def upsample_input_grad(dy: Array, factor: Pair, mode: str) -> Array:
    """Return the gradient of `upsample`: each input gets its share of every output that it is mixed into.

    Parameters
    ----------
    dy : array (N, H factor[0], W factor[1], C)
        dL/dy.
    factor, mode
        As in the forward pass.

    Returns
    -------
    array (N, H, W, C)

    Examples
    --------
    >>> upsample_input_grad(np.array([1.0, 2.0, 4.0, 8.0]).reshape(1, 1, 4, 1), (1, 2), "nearest").ravel()
    array([ 3., 12.])
    """
    N, H_out, W_out, C = dy.shape
    H, W = H_out // factor[0], W_out // factor[1]
    rows = _gather(dy.reshape(N * H_out, W, factor[1], C), mode)
    return _gather(rows.reshape(N, H, factor[0], W * C), mode).reshape(N, H, W, C)


def _stretch(x: Array, factor: int, mode: str) -> Array:
    """Return x (L, n, R) with `factor` values in the place of each along its middle axis, (L, n, factor, R)."""
    length, n, rest = x.shape
    padded = np.concatenate([x[:, :1], x, x[:, -1:]], axis=1)
    y = np.empty((length, n, factor, rest), x.dtype)
    for r in range(factor):
        (first, weight), *others = _mixture(r, factor, mode)
        np.multiply(padded[:, 1 + first : 1 + first + n], weight, out=y[:, :, r])
        for distance, weight in others:
            y[:, :, r] += weight * padded[:, 1 + distance : 1 + distance + n]
    return y


def _gather(dy: Array, mode: str) -> Array:
    """Return the transpose of `_stretch` for dy (L, n, factor, R), (L, n, R)."""
    length, n, factor, rest = dy.shape
    padded = np.zeros((length, n + 2, rest), dy.dtype)
    for r in range(factor):
        for distance, weight in _mixture(r, factor, mode):
            padded[:, 1 + distance : 1 + distance + n] += weight * dy[:, :, r]
    padded[:, 1] += padded[:, 0]
    padded[:, n] += padded[:, n + 1]
    return padded[:, 1:-1]


def _mixture(r: int, factor: int, mode: str) -> Mixture:
    """Return which inputs output r of an input is mixed of: their distances from this input, and their weights."""
    place = (r + 0.5) / factor - 0.5
    below = math.floor(place)
    if mode == "nearest" or place == below:
        return ((0, 1.0),)
    return ((below, below + 1 - place), (below + 1, place - below))
