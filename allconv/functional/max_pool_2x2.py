"""Max pooling for training by windows of 2x2 inputs, each of which belongs to one window at most.

NumPy is several times as fast with long runs of consecutive numbers as with strided pixels of a few channels. So both
steps work on whole rows. The first takes the maximum of the two rows of a window. The second compares each pixel of the
result with its right neighbour, also where the two belong to different windows; these comparisons are not used::

    x (H, W)      step 1      m (H_out, W)    step 2      y (H_out, W_out)
    1 5 | 2 0     8 5 | 2 1                   8 | 2
    8 3 | 1 1  ->                          ->

The mask has True for the maximum of each window. The gradient needs nothing else.
"""

from functools import lru_cache
from itertools import product

import numpy as np

from allconv.functional.masking import masked
from allconv.functional.pool import batch_slices
from allconv.functional.windows import PoolWindows
from allconv.parallel.buffers import empty
from allconv.parallel.pool import SHARED_ELEMENTS, run
from allconv.typing import Array

_BOOL = np.dtype(bool)


def are_2x2(windows: PoolWindows) -> bool:
    """Tell whether the windows are 2x2 inputs side by side, without padding; a last odd row or column is in none.

    Parameters
    ----------
    windows : PoolWindows
        Where the windows lie.

    Returns
    -------
    bool

    Examples
    --------
    >>> from allconv.functional.windows import pool_windows
    >>> are_2x2(pool_windows((7, 7), (2, 2), (2, 2), ((0, 0), (0, 0))))
    True
    >>> are_2x2(pool_windows((7, 7), (2, 2), (2, 2), ((0, 0), (0, 0)), ceil_mode=True))
    False
    """
    side_by_side = windows.kernel == windows.stride == (2, 2) and windows.dilation == (1, 1)
    height, width = windows.size
    return side_by_side and windows.pads == ((0, 0), (0, 0)) and windows.out == (height // 2, width // 2)


def max_pool_with_mask(x: Array) -> tuple[Array, Array]:
    """Return the maximum of each window, and a mask that is true where it lies; a NaN counts as the maximum.

    Parameters
    ----------
    x : array (N, H, W, C)

    Returns
    -------
    y : array (N, H // 2, W // 2, C)
    mask : array of bool (N, H, W, C)
        True once in each window: at the first of several equal maxima, row by row.

    Examples
    --------
    >>> y, mask = max_pool_with_mask(np.array([1.0, 5, 2, 0, 8, 3, 1, 1]).reshape(1, 2, 4, 1))
    >>> y.ravel(), mask.ravel().astype(int)
    (array([8., 2.]), array([0, 0, 1, 0, 1, 0, 0, 0]))
    """
    N, H, W, C = x.shape
    y = empty((N, H // 2, W // 2, C), x.dtype)
    mask = empty(x.shape, _BOOL)
    parts = batch_slices(x.shape)

    def task(index: int) -> None:
        part = parts[index]
        _choose(x[part], y[part], mask[part])
        if np.isnan(y[part]).any():
            _choose_again(x[part], y[part], mask[part])

    run(task, len(parts), shared=x.size >= SHARED_ELEMENTS)
    return y, mask


def max_pool_2x2_input_grad(dy: Array, mask: Array) -> Array:
    """Return the maximum's gradient: each dy goes to the input that the mask marks in its window.

    Parameters
    ----------
    dy : array (N, H // 2, W // 2, C)
    mask : array of bool (N, H, W, C)
        What `max_pool_with_mask` has returned.

    Returns
    -------
    array (N, H, W, C)

    Examples
    --------
    >>> _, mask = max_pool_with_mask(np.arange(8.0).reshape(1, 2, 4, 1))
    >>> max_pool_2x2_input_grad(np.array([3.0, 9.0]).reshape(1, 1, 2, 1), mask)[0, :, :, 0]
    array([[0., 0., 0., 0.],
           [0., 3., 0., 9.]])
    """
    (_, _, W, C), (_, H_out, W_out, _) = mask.shape, dy.shape
    dx = empty(mask.shape, dy.dtype)
    parts = batch_slices(dx.shape)

    def task(index: int) -> None:
        part = parts[index]
        wide = empty((part.stop - part.start, H_out, 1, W, C), dy.dtype)
        for column in (0, 1):
            wide[:, :, 0, column : 2 * W_out : 2] = dy[part]
        rows = _pairs_of_rows(dx[part])
        masked(np.broadcast_to(wide.reshape(*wide.shape[:3], W * C), rows.shape), _pairs_of_rows(mask[part]), out=rows)
        dx[part, 2 * H_out :] = 0

    run(task, len(parts), shared=dx.size >= SHARED_ELEMENTS)
    return dx


def _pairs_of_rows(images: Array) -> Array:
    """Return a view (n, H // 2, 2, W C) of the two rows of each window."""
    n, H, W, C = images.shape
    return images[:, : H // 2 * 2].reshape(n, H // 2, 2, W * C)


@lru_cache(maxsize=64)
def _starts(width: int, channels: int) -> Array:
    """Return where in a row the first pixel of a window is, bool (W C,)."""
    starts = np.zeros((width, channels), bool)
    starts[: width // 2 * 2 : 2] = True
    starts.flags.writeable = False
    return starts.ravel()


def _choose(x: Array, y: Array, mask: Array) -> None:
    """Write the maximum of each window, and where it lies; the place of a NaN is not found."""
    n, H_out, W_out, C = y.shape
    starts = _starts(x.shape[2], C)
    top, bottom = _pairs_of_rows(x)[:, :, 0], _pairs_of_rows(x)[:, :, 1]
    larger, maximum = empty(top.shape, x.dtype), empty(top.shape, x.dtype)
    np.maximum(top, bottom, out=larger)
    is_bottom = bottom > top
    to_right = np.zeros_like(is_bottom)

    # From here on, position k is compared with position k + C, its right neighbour, in one run through all rows.
    left, right = larger.reshape(-1)[:-C], larger.reshape(-1)[C:]
    np.maximum(left, right, out=maximum.reshape(-1)[:-C])
    y[...] = maximum.reshape(n, H_out, -1, C)[:, :, : 2 * W_out : 2]

    right_is_chosen = to_right.reshape(-1)[:-C]
    np.greater(right, left, out=right_is_chosen)
    lower = is_bottom.reshape(-1)
    # Of two equal maxima the right one comes first where it alone lies in the upper row.
    right_is_chosen |= (right == left) & (lower[:-C] > lower[C:])
    to_right &= starts
    column = to_right ^ starts  # the left pixels that are chosen
    column.reshape(-1)[C:] |= right_is_chosen
    np.greater(column, is_bottom, out=_pairs_of_rows(mask)[:, :, 0])
    np.logical_and(column, is_bottom, out=_pairs_of_rows(mask)[:, :, 1])
    mask[:, 2 * H_out :] = False


def _choose_again(x: Array, y: Array, mask: Array) -> None:
    """Mark the first maximum of each window, where a maximum may be NaN."""
    found = np.zeros(y.shape, bool)
    for row, column in product((0, 1), (0, 1)):
        tap = (slice(None), slice(row, 2 * y.shape[1], 2), slice(column, 2 * y.shape[2], 2))
        is_maximum = (x[tap] == y) | np.isnan(x[tap])
        mask[tap] = is_maximum & ~found
        found |= is_maximum
