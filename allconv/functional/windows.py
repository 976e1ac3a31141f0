"""Where the windows of a pooling lie in an image.

Along one axis, position i of the kernel lies over input o s + i d - p of window o, where s is the stride, d the
dilation and p the padding before the input. For all windows at once these inputs are a strided slice, called a tap.
With a kernel of 3 and a stride of 2, the three taps along one axis are::

    input     0 1 2 3 4 5 6
    tap 0     ^   ^   ^          window o has input 2 o,
    tap 1       ^   ^   ^        input 2 o + 1
    tap 2         ^   ^   ^      and input 2 o + 2
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from allconv.functional.padding import Pads, output_size
from allconv.functional.rounding import ceil_div
from allconv.typing import Array, Pair

Taps = tuple[tuple[slice, slice], ...]  # for each kernel position: the windows, and the input of each at this position


@dataclass(frozen=True)
class PoolWindows:
    """Where the windows of a pooling lie: what forward and backward share.

    Attributes
    ----------
    size, out : pair of int
        (H, W) and (H_out, W_out).
    kernel, stride, dilation : pair of int
        (vertical, horizontal).
    pads : pair of pairs of int
        ((top, bottom), (left, right)).
    rows, columns : tuple of pairs of slices
        The taps along the vertical and the horizontal axis.
    """

    size: Pair
    kernel: Pair
    stride: Pair
    pads: Pads
    dilation: Pair
    out: Pair
    rows: Taps
    columns: Taps

    def divisor(self, count_padding: bool) -> Array:
        """Return how many positions each window's mean counts.

        Parameters
        ----------
        count_padding : bool
            Whether padding counts.

        Returns
        -------
        array of int (H_out, W_out, 1), or (1,) where all windows count as many
        """
        along = []
        for axis, taps in enumerate((self.rows, self.columns)):
            first = np.arange(self.out[axis]) * self.stride[axis] - self.pads[axis][0]
            end = self.size[axis] + self.pads[axis][1]  # with ceil_mode, positions beyond this end never count
            padded = np.minimum(first + self.kernel[axis], end) - first
            along.append(padded if count_padding else _count(taps, self.out[axis]))
        divisor = along[0][:, None, None] * along[1][:, None]
        return divisor.ravel()[:1] if (divisor == divisor[0, 0]).all() else divisor


@lru_cache(maxsize=256)
def pool_windows(
    size: Pair, kernel: Pair, stride: Pair, pads: Pads, dilation: Pair = (1, 1), ceil_mode: bool = False
) -> PoolWindows:
    """Return where the windows lie.

    Parameters
    ----------
    size : pair of int
        (H, W).
    kernel, stride, dilation : pair of int
        (vertical, horizontal).
    pads : pair of pairs of int
        ((top, bottom), (left, right)).
    ceil_mode : bool, default False
        Whether a window may hang over the end of the padded input, by up to stride - 1. A window that would start in
        the padding at the end is dropped: PyTorch's rule.

    Returns
    -------
    PoolWindows

    Raises
    ------
    ValueError
        Where no window fits, and where a window would hold padding only: it has neither mean nor maximum.

    Examples
    --------
    >>> pool_windows((5, 5), (2, 2), (2, 2), ((0, 0), (0, 0))).out
    (2, 2)
    >>> pool_windows((5, 5), (2, 2), (2, 2), ((0, 0), (0, 0)), ceil_mode=True).out
    (3, 3)
    """
    if ceil_mode:
        (top, bottom), (left, right) = pads
        reach = (top, bottom + stride[0] - 1), (left, right + stride[1] - 1)
        fitting = output_size(size, reach, kernel, stride, dilation)
        starting = ceil_div(size[0] + top, stride[0]), ceil_div(size[1] + left, stride[1])
        out = min(fitting[0], starting[0]), min(fitting[1], starting[1])
    else:
        out = output_size(size, pads, kernel, stride, dilation)
    rows, columns = (_taps(size[a], pads[a][0], kernel[a], stride[a], dilation[a], out[a]) for a in (0, 1))
    if min(_count(rows, out[0]).min(), _count(columns, out[1]).min()) == 0:
        raise ValueError(
            f"padding must leave an input in every window of kernel {kernel}, stride {stride} and dilation {dilation} "
            f"on input {size}, got {pads}"
        )
    return PoolWindows(size, kernel, stride, pads, dilation, out, rows, columns)


def _taps(size: int, before: int, kernel: int, stride: int, dilation: int, out: int) -> Taps:
    """Return the taps along one axis; a tap that lies over padding in every window is left out."""
    taps = []
    for offset in range(-before, -before + kernel * dilation, dilation):
        first = max(0, ceil_div(-offset, stride))  # the first window o with o stride + offset >= 0
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
