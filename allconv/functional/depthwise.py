r"""Depthwise convolution: each channel has a filter of its own, so there is nothing to multiply as matrices.

Each tap of the kernel is one multiply-add of whole rows, with a filter (K_h, K_w, C):

.. math::

    y_{i,j,c} = \sum_{u,v} x_{i s + u d,\, j s + v d,\, c}\, w_{u,v,c}, \qquad
    dx_{i s + u d,\, j s + v d,\, c} \mathrel{+}= dy_{i,j,c}\, w_{u,v,c}, \qquad
    dw_{u,v,c} = \sum_{i,j} x_{i s + u d,\, j s + v d,\, c}\, dy_{i,j,c}.

The passes run over a few images at a time, which stay in the cache. The padded input is laid out by phases: the columns
with j mod s = 0, then the columns with j mod s = 1, and so on. With a stride of 2::

    padded input    a b c d e f
    phases          a c e | b d f        tap v = 0 reads a c, tap 1 reads b d, tap 2 reads c e

The inputs of one tap are then consecutive in a row for any stride. So a pass is over rows of length W_out C, with the
filter repeated along the row.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from allconv.functional import tuning
from allconv.functional.geometry import Geometry
from allconv.functional.rounding import ceil_div
from allconv.parallel.buffers import Scratch, borrowed, empty
from allconv.parallel.pool import divided, run, slices
from allconv.parallel.reductions import slice_sum
from allconv.typing import Array


@dataclass
class DepthwiseWorkspace:
    """The memory that a task uses again for each slice of the batch."""

    phases: Scratch = field(default_factory=Scratch)  # the padded images of a slice, or their gradient, by phases
    product: Scratch = field(default_factory=Scratch)  # the products of one tap


def forward(
    x: Array,
    weight: Array,
    geometry: Geometry,
    bias: Array | None = None,
    activation: Callable[[Array], object] | None = None,
) -> Array:
    """Return the output: for each tap, the product of its inputs and its filter entries is added.

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
            product = workspace.product.array(out.shape, x.dtype)
            phases = _to_phases(x[parts[index]], geometry, workspace)
            (first, inputs), *others = _taps(phases, geometry)
            np.multiply(inputs, filters[first], out=out)
            for tap, inputs in others:
                out += np.multiply(inputs, filters[tap], out=product)
        if bias is not None:
            y[parts[index]] += bias
        if activation is not None:
            activation(y[parts[index]])

    run(compute_slice, len(parts))
    return y


def input_grad(dy: Array, weight: Array, geometry: Geometry) -> Array:
    """Return the input's gradient: each tap's dy w is added to the inputs that it saw.

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
    filters = _repeated(weight, geometry)
    parts = _slices(geometry)

    def compute_slice(index: int) -> None:
        gradients = dy[parts[index]].reshape(-1, geometry.out[0], filters.shape[-1])
        with borrowed(DepthwiseWorkspace) as workspace:
            product = workspace.product.array(gradients.shape, dy.dtype)
            phases = workspace.phases.array(_phases_shape(len(gradients), geometry), dy.dtype)
            phases[...] = 0
            for tap, inputs in _taps(phases, geometry):
                inputs += np.multiply(gradients, filters[tap], out=product)
            for inside, columns in _columns_of_phases(phases, dx[parts[index]], geometry):
                columns[...] = inside

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

    def add_up(index: int) -> Array:
        total = np.zeros((kh, kw, row))
        with borrowed(DepthwiseWorkspace) as workspace:
            for part in partial_sums[index]:
                gradients = dy[part].reshape(-1, rows, row)
                product = workspace.product.array(gradients.shape, x.dtype)
                for tap, inputs in _taps(_to_phases(x[part], geometry, workspace), geometry):
                    total[tap] += slice_sum(np.multiply(inputs, gradients, out=product).reshape(-1, row))
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
    phases = workspace.phases.array(_phases_shape(len(x), geometry), x.dtype)
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
