"""Max pooling for training: which input of each window is its maximum, and the gradient that follows from it.

The maximum of a window is taken in two steps: along each of its rows, then along the resulting column. Each step keeps
which of its taps held the maximum, in a byte. The gradient takes the two steps back. It needs neither the input nor
the output, which are five times as large as the choices or more::

    x (H, W)      step 1       h (H, W_out)    step 2      y (H_out, W_out)
    1 5 | 2 0     5 2          5 2             8 2
    8 3 | 1 1  ->     choice       8 1      ->     choice
                  1 0               1 0
                  0 0

Windows of 2x2 inputs side by side are the most common ones. The module `max_pool_2x2` does the same for them faster.
"""

from typing import NamedTuple

import numpy as np

from allconv.functional.masking import masked
from allconv.functional.max_pool_2x2 import are_2x2, max_pool_2x2_input_grad, max_pool_with_mask
from allconv.functional.pool import batch_slices
from allconv.functional.windows import PoolWindows, Taps
from allconv.parallel.buffers import empty
from allconv.parallel.pool import SHARED_ELEMENTS, run
from allconv.typing import Array


class Choices(NamedTuple):
    """Which tap of a step holds the maximum: its place in `PoolWindows.columns` or `PoolWindows.rows`.

    Attributes
    ----------
    columns : array of unsigned int (N, H, W_out, C)
        The choice along each row of a window.
    rows : array of unsigned int (N, H_out, W_out, C)
        The choice among the maxima of the rows.
    """

    columns: Array
    rows: Array


def max_pool_with_choices(x: Array, windows: PoolWindows) -> tuple[Array, Choices | Array]:
    """Return the maximum of each window, and where it lies; a NaN counts as the maximum.

    Parameters
    ----------
    x : array (N, H, W, C)
    windows : PoolWindows
        Where the windows lie.

    Returns
    -------
    y : array (N, H_out, W_out, C)
    choices : Choices or array of bool (N, H, W, C)
        Among several equal maxima of a window, the first one row by row is chosen. Windows that `are_2x2` have a mask,
        which is true where their maxima lie.

    Examples
    --------
    >>> from allconv.functional.windows import pool_windows
    >>> windows = pool_windows((2, 4), (2, 3), (1, 1), ((0, 0), (0, 0)))
    >>> y, choices = max_pool_with_choices(np.array([1.0, 5, 2, 0, 8, 3, 1, 1]).reshape(1, 2, 4, 1), windows)
    >>> y.ravel(), choices.columns[0, :, :, 0], choices.rows.ravel()
    (array([8., 5.]), array([[1, 0],
           [0, 0]], dtype=uint8), array([1, 0], dtype=uint8))
    """
    if are_2x2(windows):
        return max_pool_with_mask(x)
    N, H, W, C = x.shape
    H_out, W_out = windows.out
    y = empty((N, H_out, W_out, C), x.dtype)
    kind = np.min_scalar_type(max(len(windows.rows), len(windows.columns)))
    choices = Choices(empty((N, H, W_out, C), kind), empty(y.shape, kind))
    parts = batch_slices(x.shape)

    def task(index: int) -> None:
        part = parts[index]
        lines, columns = x[part].reshape(-1, W, C), choices.columns[part].reshape(-1, W_out, C)
        h = empty((part.stop - part.start, H, W_out, C), x.dtype)
        _choose(lines, windows.columns, h.reshape(columns.shape), columns)
        _choose(h, windows.rows, y[part], choices.rows[part])
        if np.isnan(y[part]).any():
            _choose_nan(lines, windows.columns, columns)
            _choose_nan(h, windows.rows, choices.rows[part])

    run(task, len(parts), shared=x.size >= SHARED_ELEMENTS)
    return y, choices


def max_pool_input_grad(dy: Array, choices: Choices | Array, windows: PoolWindows) -> Array:
    """Return the maximum's gradient: each dy goes to one input, the maximum of its window.

    Parameters
    ----------
    dy : array (N, H_out, W_out, C)
    choices : Choices or array of bool
        What `max_pool_with_choices` has returned.
    windows : PoolWindows
        Where the windows lie.

    Returns
    -------
    array (N, H, W, C)

    Examples
    --------
    >>> from allconv.functional.windows import pool_windows
    >>> windows = pool_windows((2, 4), (2, 2), (2, 2), ((0, 0), (0, 0)))
    >>> _, choices = max_pool_with_choices(np.arange(8.0).reshape(1, 2, 4, 1), windows)
    >>> max_pool_input_grad(np.array([3.0, 9.0]).reshape(1, 1, 2, 1), choices, windows)[0, :, :, 0]
    array([[0., 0., 0., 0.],
           [0., 3., 0., 9.]])
    """
    if not isinstance(choices, Choices):
        return max_pool_2x2_input_grad(dy, choices)
    (H, W), (_, W_out), (N, *_, C) = windows.size, windows.out, dy.shape
    dx = empty((N, H, W, C), dy.dtype)
    parts = batch_slices(dx.shape)

    def task(index: int) -> None:
        part = parts[index]
        dh = empty((part.stop - part.start, H, W_out, C), dy.dtype)
        _send_back(dy[part], choices.rows[part], windows.rows, dh)
        columns = choices.columns[part].reshape(-1, W_out, C)
        _send_back(dh.reshape(columns.shape), columns, windows.columns, dx[part].reshape(-1, W, C))

    run(task, len(parts), shared=dx.size >= SHARED_ELEMENTS)
    return dx


def _choose(source: Array, taps: Taps, best: Array, choice: Array) -> None:
    """Write the maximum over the taps along axis 1 of source (n, size, ...), and the place of the first tap with it."""
    (to, start), *others = taps
    choice[...] = 0
    if len(best[0, to]) < best.shape[1]:
        best[...] = -np.inf
        for place in reversed(range(len(taps))):  # -inf is no more than -inf, so the first tap of a window stands here
            choice[:, taps[place][0]] = place
    best[:, to] = source[:, start]
    for place, (to, start) in enumerate(others, start=1):
        tap, so_far = source[:, start], best[:, to]
        places = (tap > so_far).astype(choice.dtype)
        places *= place
        np.maximum(choice[:, to], places, out=choice[:, to])
        np.maximum(so_far, tap, out=so_far)


def _choose_nan(source: Array, taps: Taps, choice: Array) -> None:
    """Let the first NaN of a window be its choice."""
    for place, (to, start) in reversed(list(enumerate(taps))):
        np.copyto(choice[:, to], place, where=np.isnan(source[:, start]))


def _send_back(dy: Array, choice: Array, taps: Taps, dx: Array) -> None:
    """Write for each input along axis 1 the sum of the dy of all windows that have chosen it."""
    inputs = np.zeros(dx.shape[1], int)
    for _, start in taps:
        inputs[start] += 1
    overlap = inputs.max() > 1
    if overlap or inputs.min() == 0:
        dx[...] = 0
    part = empty(dy.shape, dy.dtype)
    for place, (to, start) in enumerate(taps):
        chosen = masked(dy[:, to], choice[:, to] == place, out=part[:, to])
        if overlap:
            dx[:, start] += chosen
        else:
            dx[:, start] = chosen
