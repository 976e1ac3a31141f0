"""Pooling: the mean or the maximum of each window of an image, and the gradient of the mean.

No padded copy is made: each kernel position of all windows is a strided slice of the input, a tap of `PoolWindows`.
Means and maxima take the rows first and then the columns: K_h + K_w slices in place of K_h K_w.
"""

import math

import numpy as np

from allconv.functional.windows import PoolWindows, Taps
from allconv.parallel.buffers import empty
from allconv.parallel.pool import SHARED_ELEMENTS, SLICE_ELEMENTS, run, slices
from allconv.typing import Array

_FEW_TAPS = 16  # bounds the taps that are combined one after another; 16 additions keep the error near 1e-7


def mean_pool(x: Array, windows: PoolWindows, *, count_padding: bool = False) -> Array:
    """Return the mean of each window.

    Parameters
    ----------
    x : array (N, H, W, C)
    windows : PoolWindows
        Where the windows lie.
    count_padding : bool, default False
        Whether the mean is over the window's padding too, which holds zeros, or over its inputs alone.

    Returns
    -------
    array (N, H_out, W_out, C)

    Examples
    --------
    >>> from allconv.functional.windows import pool_windows
    >>> windows = pool_windows((2, 4), (2, 2), (2, 2), ((0, 0), (0, 0)))
    >>> mean_pool(np.arange(8.0).reshape(1, 2, 4, 1), windows).ravel()
    array([2.5, 4.5])
    """
    y = _reduce_windows(np.add, 0, x, windows)
    y /= windows.divisor(count_padding).astype(x.dtype)
    return y


def mean_pool_input_grad(dy: Array, windows: PoolWindows, *, count_padding: bool = False) -> Array:
    """Return the mean's gradient: each input gets dy / divisor of every window that it lies in.

    Parameters
    ----------
    dy : array (N, H_out, W_out, C)
    windows : PoolWindows
        Where the windows lie.
    count_padding : bool, default False
        As in the forward pass.

    Returns
    -------
    array (N, H, W, C)

    Examples
    --------
    >>> from allconv.functional.windows import pool_windows
    >>> windows = pool_windows((2, 4), (2, 2), (2, 2), ((0, 0), (0, 0)))
    >>> mean_pool_input_grad(np.array([4.0, 8.0]).reshape(1, 1, 2, 1), windows)[0, :, :, 0]
    array([[1., 1., 2., 2.],
           [1., 1., 2., 2.]])
    """
    N, H_out, W_out, C = dy.shape
    H, W = windows.size
    divisor = windows.divisor(count_padding).astype(dy.dtype)
    dx = empty((N, H, W, C), dy.dtype)
    parts = batch_slices(dx.shape)

    def task(index: int) -> None:
        part = parts[index]
        share = dy[part] / divisor
        wide = empty((len(share), H_out, W, C), dy.dtype)
        _combine(np.add, 0, share.reshape(-1, W_out, C), _reverse(windows.columns), wide.reshape(-1, W, C))
        _combine(np.add, 0, wide, _reverse(windows.rows), dx[part])

    run(task, len(parts), shared=dx.size >= SHARED_ELEMENTS)
    return dx


def max_pool(x: Array, windows: PoolWindows) -> Array:
    """Return the maximum of each window; a NaN counts as the maximum.

    Parameters
    ----------
    x : array (N, H, W, C)
    windows : PoolWindows
        Where the windows lie.

    Returns
    -------
    array (N, H_out, W_out, C)

    Examples
    --------
    >>> from allconv.functional.windows import pool_windows
    >>> windows = pool_windows((2, 4), (2, 2), (2, 2), ((0, 0), (0, 0)))
    >>> max_pool(np.arange(8.0).reshape(1, 2, 4, 1), windows).ravel()
    array([5., 7.])
    """
    return _reduce_windows(np.maximum, -np.inf, x, windows)


def _reduce_windows(ufunc: np.ufunc, identity: float, x: Array, windows: PoolWindows) -> Array:
    """Return ``ufunc`` over each window, (N, H_out, W_out, C)."""
    N, _, W, C = x.shape
    H_out, W_out = windows.out
    y = empty((N, H_out, W_out, C), x.dtype)
    parts = batch_slices(x.shape)

    def task(index: int) -> None:
        part = parts[index]
        wide = empty((part.stop - part.start, H_out, W, C), x.dtype)
        _combine(ufunc, identity, x[part], windows.rows, wide)
        _combine(ufunc, identity, wide.reshape(-1, W, C), windows.columns, y[part].reshape(-1, W_out, C))

    run(task, len(parts), shared=x.size >= SHARED_ELEMENTS)
    return y


def _combine(ufunc: np.ufunc, identity: float, source: Array, taps: Taps, out: Array) -> None:
    """Combine the taps along axis 1 of source (n, size, ...) into out (n, size_out, ...).

    Many taps are halved again and again, as in NumPy's pairwise sums, so that long sums keep their digits.
    """
    if len(taps) > _FEW_TAPS:
        half, rest = len(taps) // 2, empty(out.shape, out.dtype)
        _combine(ufunc, identity, source, taps[:half], out)
        _combine(ufunc, identity, source, taps[half:], rest)
        ufunc(out, rest, out=out)
        return
    (to, start), *others = taps
    whole = slice(0, out.shape[1])
    if others and to == others[0][0] == whole:
        ufunc(source[:, start], source[:, others.pop(0)[1]], out=out)  # saves a copy of the first tap
    else:
        if to != whole:
            out[...] = identity
        out[:, to] = source[:, start]
    for to, start in others:
        ufunc(out[:, to], source[:, start], out=out[:, to])


def _reverse(taps: Taps) -> Taps:
    """Return the transposed taps: from the windows to the inputs."""
    return tuple((inputs, windows) for windows, inputs in taps)


def batch_slices(shape: tuple[int, ...]) -> list[slice]:
    """Cut a batch of `shape` into slices of images.

    They are four times as large as those of other passes, because the calls of a pool concern parts of a slice, or one
    byte an element: they would be too short otherwise.
    """
    return slices(shape[0], max(1, 4 * SLICE_ELEMENTS // math.prod(shape[1:])))
