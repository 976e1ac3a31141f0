r"""Depthwise convolution: each channel has a filter of its own, so there is nothing to multiply as matrices.

One multiply-add of whole rows for each tap of the kernel, with a filter (K_h, K_w, C):

.. math::

    y_{i,j,c} = \sum_{u,v} x_{i s + u d,\, j s + v d,\, c}\, w_{u,v,c}, \qquad
    dx_{i s + u d,\, j s + v d,\, c} \mathrel{+}= dy_{i,j,c}\, w_{u,v,c}, \qquad
    dw_{u,v,c} = \sum_{i,j} x_{i s + u d,\, j s + v d,\, c}\, dy_{i,j,c}.

The passes run over a few images at a time, which stay in the cache. The padded input is laid out by phases: the columns
with j mod s = 0, then those with 1, ... Then the inputs of one tap are consecutive in a row for any stride, and a pass
is over (rows, W_out C) with the filter repeated along the row.
"""

import functools
from collections.abc import Callable

import numpy as np

from allconv.functional.geometry import Geometry
from allconv.parallel.buffers import empty, scratch
from allconv.parallel.threads import divided, run, slices
from allconv.typing import Array

_SLICE_ELEMENTS = 1 << 15  # the padded input, the output and a product of this size fit a core's cache together
_SUMS = 8  # partial sums of a weight gradient, a number that does not depend on the cores


def forward(
    x: Array,
    weight: Array,
    geometry: Geometry,
    bias: Array | None = None,
    activation: Callable[[Array], object] | None = None,
) -> Array:
    """Return y (N, H_out, W_out, C) for x (N, H, W, C), weight (kh, kw, 1, C) and bias (C,).

    `activation` is called with each finished block of y, to overwrite it while it is in the cache.
    """
    y = empty(geometry.y_shape, x.dtype)
    filters = _repeated(weight, geometry)
    parts = _slices(geometry)

    def task(index: int) -> None:
        out = y[parts[index]].reshape(-1, geometry.out[0], filters.shape[-1])
        product = scratch("product", out.shape, x.dtype)
        phases = _phases(x[parts[index]], geometry)
        for (u, v), inputs in _taps(phases, geometry):
            np.multiply(inputs, filters[u, v], out=product if (u, v) != (0, 0) else out)
            if (u, v) != (0, 0):
                out += product
        if bias is not None:
            y[parts[index]] += bias
        if activation is not None:
            activation(y[parts[index]])

    run(task, len(parts))
    return y


def input_grad(dy: Array, weight: Array, geometry: Geometry) -> Array:
    """Return dx (N, H, W, C): each tap's dy w added to the inputs that it saw."""
    dx = empty(geometry.x_shape, dy.dtype)
    filters = _repeated(weight, geometry)
    parts = _slices(geometry)

    def task(index: int) -> None:
        gradients = dy[parts[index]].reshape(-1, geometry.out[0], filters.shape[-1])
        product = scratch("product", gradients.shape, dy.dtype)
        phases = scratch("phases", _phases_shape(len(gradients), geometry), dy.dtype)
        phases[...] = 0
        for (u, v), inputs in _taps(phases, geometry):
            inputs += np.multiply(gradients, filters[u, v], out=product)
        for inside, columns in _columns_of_phases(phases, dx[parts[index]], geometry):
            columns[...] = inside

    run(task, len(parts))
    return dx


def weight_grad(x: Array, dy: Array, geometry: Geometry) -> Array:
    """Return dw (kh, kw, 1, C), summed over slices of the batch in a fixed order."""
    parts = _slices(geometry)
    sums = divided(parts, min(_SUMS, len(parts)))
    kh, kw = geometry.kernel
    rows, row = geometry.out[0], geometry.out[1] * geometry.out_channels

    def task(index: int) -> Array:
        total = np.zeros((kh, kw, row), x.dtype)
        for part in sums[index]:
            gradients = dy[part].reshape(-1, rows, row)
            product = scratch("product", gradients.shape, x.dtype)
            for (u, v), inputs in _taps(_phases(x[part], geometry), geometry):
                total[u, v] += np.multiply(inputs, gradients, out=product).sum(axis=(0, 1))
        sums_of_columns: Array = total.reshape(kh, kw, geometry.out[1], -1).sum(axis=2)
        return sums_of_columns

    return functools.reduce(np.add, run(task, len(sums)))[:, :, None]


def _slices(geometry: Geometry) -> list[slice]:
    n, height, width, channels = geometry.x_shape
    return slices(n, max(1, _SLICE_ELEMENTS // (height * width * channels)))


def _repeated(weight: Array, geometry: Geometry) -> Array:
    """Return the filters repeated along an output row, (kh, kw, W_out C)."""
    return np.tile(weight[:, :, 0], geometry.out[1])


def _phases_shape(n: int, geometry: Geometry) -> tuple[int, ...]:
    """Return (n, H_padded, s, ceil(W_padded / s), C)."""
    (_, height, width, channels), stride = geometry.x_shape, geometry.stride[1]
    return n, height + sum(geometry.pads[0]), stride, -(-(width + sum(geometry.pads[1])) // stride), channels


def _phases(x: Array, geometry: Geometry) -> Array:
    """Return the padded images by phases, (n, H_padded, s, ceil(W_padded / s), C)."""
    phases = scratch("phases", _phases_shape(len(x), geometry), x.dtype)
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


def _taps(phases: Array, geometry: Geometry) -> list[tuple[tuple[int, int], Array]]:
    """Return for each tap (u, v) of the kernel its inputs, a view (n, H_out, W_out C)."""
    (kh, kw), (sh, sw), (dh, dw), (rows, columns) = geometry.kernel, geometry.stride, geometry.dilation, geometry.out
    flat = phases.reshape(*phases.shape[:3], -1)
    channels = phases.shape[-1]
    taps = []
    for u, v in np.ndindex(kh, kw):
        place, phase = divmod(v * dw, sw)
        inputs = flat[:, u * dh : u * dh + (rows - 1) * sh + 1 : sh, phase]
        taps.append(((u, v), inputs[..., place * channels : (place + columns) * channels]))
    return taps
