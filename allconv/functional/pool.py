"""Pooling: the mean or the maximum of each window of an image, and the gradients.

No padded copy is made. Along one axis, position i of the kernel lies over input o s + i d - p of window o (stride s,
dilation d, padding p before it): for all windows at once, that is a strided slice of the input, called a tap here.
Means and maxima take the rows first and then the columns, so K_h + K_w slices in place of K_h K_w.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from allconv.functional.masking import masked
from allconv.functional.padding import Pads, output_size
from allconv.parallel.buffers import empty
from allconv.parallel.threads import SHARED_ELEMENTS, run, slices
from allconv.typing import Array, Pair

Taps = tuple[tuple[slice, slice], ...]  # for each kernel position: windows, and the inputs it lies over in them

_SLICE_ELEMENTS = 1 << 16  # 256 KB of float32: a slice of the batch and its temporaries stay in a core's cache


@dataclass(frozen=True)
class Windows:
    """Where the windows of a pooling lie: what forward and backward share."""

    size: Pair  # (H, W)
    kernel: Pair
    stride: Pair
    pads: Pads
    dilation: Pair
    out: Pair  # (H_out, W_out)
    rows: Taps
    columns: Taps

    def divisor(self, count_padding: bool) -> Array:
        """Return how many positions each window's mean counts, (H_out, W_out, 1), or (1,) where all are equal."""
        along = []
        for axis, taps in enumerate((self.rows, self.columns)):
            first = np.arange(self.out[axis]) * self.stride[axis] - self.pads[axis][0]
            end = self.size[axis] + self.pads[axis][1]  # what hangs over it with ceil_mode never counts
            padded = np.minimum(first + self.kernel[axis], end) - first
            along.append(padded if count_padding else _count(taps, self.out[axis]))
        divisor = along[0][:, None, None] * along[1][:, None]
        return divisor.ravel()[:1] if (divisor == divisor[0, 0]).all() else divisor


@lru_cache(maxsize=256)
def pool_windows(
    size: Pair, kernel: Pair, stride: Pair, pads: Pads, dilation: Pair = (1, 1), ceil_mode: bool = False
) -> Windows:
    """Return the windows over an input of `size` (H, W).

    With `ceil_mode` a window may hang over the end of the padded input by up to stride - 1, but one that would start
    in the end padding is dropped: PyTorch's rule.

    Raises
    ------
    ValueError
        Where no window fits, and where one would hold padding only: it has neither mean nor maximum.
    """
    if ceil_mode:
        (top, bottom), (left, right) = pads
        reach = (top, bottom + stride[0] - 1), (left, right + stride[1] - 1)
        fitting = output_size(size, reach, kernel, stride, dilation)
        starting = -(-(size[0] + top) // stride[0]), -(-(size[1] + left) // stride[1])
        out = min(fitting[0], starting[0]), min(fitting[1], starting[1])
    else:
        out = output_size(size, pads, kernel, stride, dilation)
    rows, columns = (_taps(size[a], pads[a][0], kernel[a], stride[a], dilation[a], out[a]) for a in range(2))
    if min(_count(rows, out[0]).min(), _count(columns, out[1]).min()) == 0:
        raise ValueError(
            f"padding must leave an input in every window of kernel {kernel}, stride {stride} and dilation {dilation} "
            f"on input {size}, got {pads}"
        )
    return Windows(size, kernel, stride, pads, dilation, out, rows, columns)


def _taps(size: int, before: int, kernel: int, stride: int, dilation: int, out: int) -> Taps:
    """Return the taps along one axis, without those that lie over padding in every window."""
    taps = []
    for offset in range(-before, -before + kernel * dilation, dilation):
        first = max(0, -(offset // stride))  # the first o with o s + offset >= 0
        last = min(out - 1, (size - 1 - offset) // stride)
        if first <= last:
            inputs = slice(first * stride + offset, last * stride + offset + 1, stride)
            taps.append((slice(first, last + 1), inputs))
    return tuple(taps)


def _count(taps: Taps, out: int) -> Array:
    """Return how many inputs each window holds along one axis, (out,)."""
    count = np.zeros(out, int)
    for windows, _ in taps:
        count[windows] += 1
    return count


def mean_pool(x: Array, windows: Windows, *, count_padding: bool = False) -> Array:
    """Return the mean of each window of x (N, H, W, C), as (N, H_out, W_out, C).

    The mean is over the window's inputs, with `count_padding` over its padding too, which holds zeros.
    """
    y = _reduce_windows(np.add, 0, x, windows)
    y /= windows.divisor(count_padding).astype(x.dtype)
    return y


def mean_pool_input_grad(dy: Array, windows: Windows, *, count_padding: bool = False) -> Array:
    """Return dL/dx (N, H, W, C) for dy (N, H_out, W_out, C): each input gets dy / divisor of all its windows."""
    N, H_out, W_out, C = dy.shape
    H, W = windows.size
    divisor = windows.divisor(count_padding).astype(dy.dtype)
    dx = empty((N, H, W, C), dy.dtype)
    parts = _batch_slices(dx.shape)

    def task(index: int) -> None:
        part = parts[index]
        share = dy[part] / divisor
        wide = empty((len(share), H_out, W, C), dy.dtype)
        _combine(np.add, 0, share.reshape(-1, W_out, C), _reverse(windows.columns), wide.reshape(-1, W, C))
        _combine(np.add, 0, wide, _reverse(windows.rows), dx[part])

    run(task, len(parts), shared=dx.size >= SHARED_ELEMENTS)
    return dx


def max_pool(x: Array, windows: Windows) -> Array:
    """Return the maximum of each window of x (N, H, W, C), as (N, H_out, W_out, C); a NaN is the maximum."""
    return _reduce_windows(np.maximum, -np.inf, x, windows)


def max_pool_input_grad(dy: Array, x: Array, y: Array, windows: Windows) -> Array:
    """Return dL/dx (N, H, W, C) for dy and the output y, both (N, H_out, W_out, C).

    Each dy goes to one input, its window's maximum: of several equal ones to the first, row by row.
    """
    geometry = zip(windows.kernel, windows.stride, windows.dilation, strict=True)
    disjoint = all(s > d * (k - 1) for k, s, d in geometry)
    dx = empty(x.shape, x.dtype)
    parts = _batch_slices(x.shape)

    def task(index: int) -> None:
        part = parts[index]
        dx[part] = 0
        has_nan = np.isnan(y[part]).any()
        open_windows = np.ones(y[part].shape, bool)  # whose maximum is yet to be found
        for rows, input_rows in windows.rows:
            for columns, input_columns in windows.columns:
                here, inputs = (part, rows, columns), (part, input_rows, input_columns)
                hit = x[inputs] == y[here]
                if has_nan:
                    hit |= np.isnan(x[inputs])
                hit &= open_windows[:, rows, columns]
                open_windows[:, rows, columns] ^= hit
                if disjoint:
                    masked(dy[here], hit, out=dx[inputs])
                else:
                    dx[inputs] += masked(dy[here], hit)

    run(task, len(parts), shared=dx.size >= SHARED_ELEMENTS)
    return dx


def _reduce_windows(ufunc: np.ufunc, identity: float, x: Array, windows: Windows) -> Array:
    """Return ``ufunc`` over each window, (N, H_out, W_out, C)."""
    N, _, W, C = x.shape
    H_out, W_out = windows.out
    y = empty((N, H_out, W_out, C), x.dtype)
    parts = _batch_slices(x.shape)

    def task(index: int) -> None:
        part = parts[index]
        wide = empty((part.stop - part.start, H_out, W, C), x.dtype)
        _combine(ufunc, identity, x[part], windows.rows, wide)
        _combine(ufunc, identity, wide.reshape(-1, W, C), windows.columns, y[part].reshape(-1, W_out, C))

    run(task, len(parts), shared=x.size >= SHARED_ELEMENTS)
    return y


def _combine(ufunc: np.ufunc, identity: float, source: Array, taps: Taps, out: Array) -> None:
    """Combine the taps along axis 1 of source (n, size, ...) into out (n, size_out, ...)."""
    (to, start), *others = taps
    if len(out[0, to]) < out.shape[1]:
        out[...] = identity
    out[:, to] = source[:, start]
    for to, start in others:
        ufunc(out[:, to], source[:, start], out=out[:, to])


def _reverse(taps: Taps) -> Taps:
    """Return the transposed taps: from the windows to the inputs."""
    return tuple((inputs, windows) for windows, inputs in taps)


def _batch_slices(shape: tuple[int, ...]) -> list[slice]:
    """Cut a batch of `shape` into slices that fit the cache."""
    return slices(shape[0], max(1, _SLICE_ELEMENTS // math.prod(shape[1:])))
