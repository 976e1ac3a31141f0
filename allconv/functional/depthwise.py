r"""Depthwise convolution: each channel has a filter of its own, so there is nothing to multiply as matrices.

With a filter (K_h, K_w, C) and g the gradient of the padded input,

.. math::

    y_{i,j,c} = \sum_{u,v} x_{i s + u d,\, j s + v d,\, c}\, w_{u,v,c}, \qquad
    dw_{u,v,c} = \sum_{i,j} x_{i s + u d,\, j s + v d,\, c}\, dy_{i,j,c}, \qquad
    dx_{h,w,c} = \sum_{i s + u d = h,\; j s + v d = w} dy_{i,j,c}\, w_{u,v,c}.

The passes run over a few images at a time, which stay in the cache. The padded input is laid out by phases: the columns
with j mod s = 0, then the columns with j mod s = 1, and so on. With a stride of 2::

    padded input    a b c d e f
    phases          a c e | b d f        tap v = 0 reads a c, tap 1 reads b d, tap 2 reads c e

The inputs of one tap are then consecutive in a row for any stride. So each sum over taps or positions is a contraction
of rows of W_out C numbers, with the filter repeated along the row. `numpy.einsum` computes it as one multiply-add for
each product, and keeps the row of sums in the cache. A ufunc would write the products to memory first.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from allconv.functional import tuning
from allconv.functional.geometry import Geometry
from allconv.functional.rounding import ceil_div
from allconv.parallel.buffers import Scratch, borrowed, empty
from allconv.parallel.pool import divided, run, slices
from allconv.typing import Array, Pair


@dataclass
class DepthwiseWorkspace:
    """The memory that a task uses again for each slice of the batch."""

    padded: Scratch = field(default_factory=Scratch)  # the padded images of a slice by phases, or their padded gradient
    sums: Scratch = field(default_factory=Scratch)  # the sums over the taps of one phase


def forward(
    x: Array,
    weight: Array,
    geometry: Geometry,
    bias: Array | None = None,
    activation: Callable[[Array], object] | None = None,
) -> Array:
    """Return the output.

    Parameters
    ----------
    x : array (N, H, W, C)
    weight : array (kh, kw, 1, C)
    geometry : Geometry
        The sizes of the convolution.
    bias : array (C,), optional
    activation : callable, optional
        Called with each finished slice (n, H_out, W_out, C) of the output, to overwrite it while it is in the cache.

    Returns
    -------
    array (N, H_out, W_out, C)

    Examples
    --------
    >>> from allconv.functional.geometry import geometry_of
    >>> x, weight = np.ones((1, 2, 2, 2)), np.arange(8.0).reshape(2, 2, 1, 2)
    >>> forward(x, weight, geometry_of(x.shape, weight.shape, (1, 1), "valid", (1, 1), 2)).ravel()  # 0+2+4+6, 1+3+5+7
    array([12., 16.])
    """
    y = empty(geometry.y_shape, x.dtype)
    filters = _repeated(weight, geometry)
    parts = _slices(geometry)

    def compute_slice(index: int) -> None:
        out = y[parts[index]].reshape(-1, geometry.out[0], filters.shape[-1])
        with borrowed(DepthwiseWorkspace) as workspace:
            phases = _to_phases(x[parts[index]], geometry, workspace)
            sums = out
            for taps, windows in _windows(phases, geometry):
                np.einsum("nhuvr,uvr->nhr", windows, filters[:, taps], out=sums)
                if sums is not out:
                    out += sums
                sums = workspace.sums.array(out.shape, x.dtype)
        if bias is not None:
            y[parts[index]] += bias
        if activation is not None:
            activation(y[parts[index]])

    run(compute_slice, len(parts))
    return y


def input_grad(dy: Array, weight: Array, geometry: Geometry) -> Array:
    """Return the input's gradient.

    Parameters
    ----------
    dy : array (N, H_out, W_out, C)
    weight : array (kh, kw, 1, C)
    geometry : Geometry
        The sizes of the convolution.

    Returns
    -------
    array (N, H, W, C)

    Examples
    --------
    >>> from allconv.functional.geometry import geometry_of
    >>> dy, weight = np.ones((1, 1, 1, 2)), np.arange(8.0).reshape(2, 2, 1, 2)
    >>> sizes = geometry_of((1, 2, 2, 2), weight.shape, (1, 1), "valid", (1, 1), 2)
    >>> input_grad(dy, weight, sizes).ravel()
    array([0., 1., 2., 3., 4., 5., 6., 7.])
    """
    dx = empty(geometry.x_shape, dy.dtype)
    filters = np.tile(weight[:, :, 0], ceil_div(geometry.x_shape[2], geometry.stride[1]))
    parts = _slices(geometry)
    vertical, horizontal = (_input_phases(geometry, axis) for axis in (0, 1))

    def compute_slice(index: int) -> None:
        with borrowed(DepthwiseWorkspace) as workspace:
            padded = _pad_gradient(dy[parts[index]], geometry, workspace)
            for rows in vertical:
                for columns in horizontal:
                    out = dx[parts[index], rows.inputs, columns.inputs]
                    if not rows.taps or not columns.taps:
                        out[...] = 0
                        continue
                    windows = _gradient_windows(padded, rows, columns)
                    row = windows.shape[-1]
                    kernel = filters[rows.taps, :, :row][:, columns.taps]
                    if out.flags.c_contiguous:
                        np.einsum("nhuvr,uvr->nhr", windows, kernel, out=out.reshape(*out.shape[:2], row))
                    else:
                        sums = workspace.sums.array((*out.shape[:2], row), dy.dtype)
                        np.einsum("nhuvr,uvr->nhr", windows, kernel, out=sums)
                        out[...] = sums.reshape(out.shape)

    run(compute_slice, len(parts))
    return dx


def weight_grad(x: Array, dy: Array, geometry: Geometry) -> Array:
    """Return the weight's gradient, summed over slices of the batch in a fixed order.

    Parameters
    ----------
    x : array (N, H, W, C)
    dy : array (N, H_out, W_out, C)
    geometry : Geometry
        The sizes of the convolution.

    Returns
    -------
    array (kh, kw, 1, C)

    Examples
    --------
    >>> from allconv.functional.geometry import geometry_of
    >>> x, dy = np.arange(8.0).reshape(1, 2, 2, 2), np.ones((1, 1, 1, 2))
    >>> weight_grad(x, dy, geometry_of(x.shape, (2, 2, 1, 2), (1, 1), "valid", (1, 1), 2)).ravel()
    array([0., 1., 2., 3., 4., 5., 6., 7.])
    """
    parts = _slices(geometry)
    partial_sums = divided(parts, min(tuning.PARTIAL_SUMS, len(parts)))
    kh, kw = geometry.kernel
    rows, row = geometry.out[0], geometry.out[1] * geometry.out_channels
    most_rows = tuning.DEPTHWISE.summed_rows

    def add_up(index: int) -> Array:
        total = np.zeros((kh, kw, row))
        with borrowed(DepthwiseWorkspace) as workspace:
            for part in partial_sums[index]:
                gradients = dy[part].reshape(-1, rows, row)
                images, heights = slices(len(gradients), max(1, most_rows // rows)), slices(rows, most_rows)
                for taps, windows in _windows(_to_phases(x[part], geometry, workspace), geometry):
                    for block in itertools.product(images, heights):
                        total[:, taps] += np.einsum("nhuvr,nhr->uvr", windows[block], gradients[block])
        sums_of_columns: Array = total.reshape(kh, kw, geometry.out[1], -1).sum(axis=2)
        return sums_of_columns

    total: Array = np.sum(run(add_up, len(partial_sums)), axis=0)
    return total.astype(x.dtype)[:, :, None]


def _slices(geometry: Geometry) -> list[slice]:
    """Cut the batch into slices of images that fit a core's cache."""
    n, height, width, channels = geometry.x_shape
    return slices(n, max(1, tuning.DEPTHWISE.slice_elements // (height * width * channels)))


def _repeated(weight: Array, geometry: Geometry) -> Array:
    """Return the filters repeated along an output row, (kh, kw, W_out C)."""
    return np.tile(weight[:, :, 0], geometry.out[1])


def _phases_shape(n: int, geometry: Geometry) -> tuple[int, ...]:
    """Return (n, H_padded, s, ceil(W_padded / s), C)."""
    (_, height, width, channels), stride = geometry.x_shape, geometry.stride[1]
    return n, height + sum(geometry.pads[0]), stride, ceil_div(width + sum(geometry.pads[1]), stride), channels


def _to_phases(x: Array, geometry: Geometry, workspace: DepthwiseWorkspace) -> Array:
    """Return the padded images by phases, (n, H_padded, s, ceil(W_padded / s), C)."""
    phases = workspace.padded.array(_phases_shape(len(x), geometry), x.dtype)
    phases[...] = 0
    for inside, columns in _columns_of_phases(phases, x, geometry):
        inside[...] = columns
    return phases


def _columns_of_phases(phases: Array, x: Array, geometry: Geometry) -> list[tuple[Array, Array]]:
    """Return for each phase the views of its columns in `phases` and in the images."""
    (top, _), (left, _), stride = *geometry.pads, geometry.stride[1]
    views = []
    for phase in range(stride):
        first = (phase - left) % stride  # the first column of x in this phase
        columns = x[:, :, first::stride]
        place = (first + left) // stride
        views.append((phases[:, top : top + x.shape[1], phase, place : place + columns.shape[2]], columns))
    return views


def _windows(phases: Array, geometry: Geometry) -> Iterator[tuple[slice, Array]]:
    """Yield columns of the kernel that read the same phase, and their inputs, a view (n, H_out, kh, columns, W_out C).

    The columns of the kernel from one to the next of the same phase are `period` apart.
    """
    (kh, kw), (sh, sw), (dh, dw), (height, width) = geometry.kernel, geometry.stride, geometry.dilation, geometry.out
    period = sw // math.gcd(sw, dw)
    bn, bh, _, bw, bc = phases.strides  # bytes from one image, row, phase, column and channel to the next
    for first in range(min(period, kw)):
        taps = slice(first, kw, period)
        place, phase = divmod(first * dw, sw)
        shape = (len(phases), height, kh, len(range(kw)[taps]), width * phases.shape[-1])
        strides = (bn, sh * bh, dh * bh, period * dw // sw * bw, bc)
        yield taps, as_strided(phases[:, :, phase, place:], shape, strides, writeable=False)


class _InputPhase(NamedTuple):
    """The inputs along one axis that are p mod s in the padded input, and the taps that reach them."""

    inputs: slice
    length: int
    taps: list[int]  # in the order of the positions of dy that they meet
    first: int  # the position of the padded dy that the first tap meets at the first of these inputs
    step: int  # The next tap meets a position that is so much further.


def _input_phases(geometry: Geometry, axis: int) -> list[_InputPhase]:
    """Return the phases of an axis: tap u meets dy at i = (h + before - u d) / s."""
    size, before = geometry.x_shape[1 + axis], geometry.pads[axis][0]
    kernel, stride, dilation = geometry.kernel[axis], geometry.stride[axis], geometry.dilation[axis]
    zeros = _zeros_around(geometry, axis)[0]
    phases = []
    for first in range(min(stride, size)):
        place, phase = divmod(first + before, stride)
        taps = [u for u in reversed(range(kernel)) if u * dilation % stride == phase]
        reach = taps[0] * dilation // stride if taps else 0
        step = (taps[0] - taps[1]) * dilation // stride if len(taps) > 1 else 0
        inputs = range(first, size, stride)
        phases.append(_InputPhase(slice(first, size, stride), len(inputs), taps, zeros + place - reach, step))
    return phases


def _zeros_around(geometry: Geometry, axis: int) -> Pair:
    """Return how many zeros the taps meet before and after dy."""
    last_input = (geometry.x_shape[1 + axis] - 1 + geometry.pads[axis][0]) // geometry.stride[axis]
    before = (geometry.kernel[axis] - 1) * geometry.dilation[axis] // geometry.stride[axis]
    return before, max(last_input - (geometry.out[axis] - 1), 0)


def _pad_gradient(dy: Array, geometry: Geometry, workspace: DepthwiseWorkspace) -> Array:
    """Return dy with zeros around it."""
    n, height, width, channels = dy.shape
    (top, bottom), (left, right) = (_zeros_around(geometry, axis) for axis in (0, 1))
    padded = workspace.padded.array((n, top + height + bottom, left + width + right, channels), dy.dtype)
    padded[...] = 0
    padded[:, top : top + height, left : left + width] = dy
    return padded


def _gradient_windows(padded: Array, rows: _InputPhase, columns: _InputPhase) -> Array:
    """Return for each input of two phases what its taps meet, a view (n, inputs, taps, taps, inputs C)."""
    bn, bh, bw, bc = padded.strides  # bytes from one image, row, column and channel to the next
    shape = (len(padded), rows.length, len(rows.taps), len(columns.taps), columns.length * padded.shape[-1])
    strides = (bn, bh, rows.step * bh, columns.step * bw, bc)
    return as_strided(padded[:, rows.first :, columns.first :], shape, strides, writeable=False)
