r"""Convolution by bilinear algorithms: 36 products where the definition of a 3x3 kernel takes 144.

A tile Y of m x m outputs depends on a window D of the input and the kernel g:

.. math:: U = G\,g\,G^\top, \quad V = B^\top D\,B, \quad M_{ij} = \sum_c V_{ij,c}\,U_{ij,c}, \quad Y = A^\top M A.

With all tiles and output channels at once each :math:`M_{ij} = V_{ij} U_{ij}` is a matrix product, (tiles, C) with
(C, O). `toom_cook` has the matrices for y = g * x, and others for dx as a function of dy and g.

The chain for dx gives dW as well. It is linear in g, and <dx(dy, g), x> = <y(x, g), dy>: the gradient of the left side
for g is that of the right side, dW. Transposed and read backwards, with x where the upstream gradient stands, it is

.. math:: dM = A\,x A^\top, \qquad dU_{ij} = V_{ij}^\top dM_{ij}, \qquad dW = G^\top dU\,G, \qquad V = B^\top dY B.

So one transform of dy serves both gradients. A transform's two sides are two passes: along the vertical axis, where a
whole row of pixels and channels is one long vector, and along the horizontal one, for one row i of products at a time,
so that V_i, U_i and M_i meet in the cache. Lavin and Gray (2016), "Fast Algorithms for Convolutional Neural Networks";
the page "Convolution with a quarter of the products" of the documentation derives it all.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from allconv.functional.geometry import Geometry
from allconv.functional.winograd.bilinear import Bilinear, convolution
from allconv.functional.winograd.tiling import SMALL, Block, Tiling, best_tile, forward_tiling, gradient_tiling, windows
from allconv.parallel.buffers import empty, scratch
from allconv.parallel.threads import divided, run, slices
from allconv.typing import Array, Pair

# Partial sums of a weight gradient: enough for the cores of a desktop, of a number that does not depend on them, and
# fewer where they are large.
_SUMS, _FEWEST_SUMS, _SUM_BYTES = 8, 4, 24 << 20
_WEIGHTS = 4096  # in a task that transforms weights


class Gradients(NamedTuple):
    """dL/dx, dL/dW and dL/db."""

    x: Array
    weight: Array
    bias: Array


def forward(
    x: Array,
    weight: Array,
    geometry: Geometry,
    bias: Array | None = None,
    *,
    tile: int | None = None,
    transformed: Array | None = None,
    activation: Callable[[Array], object] | None = None,
) -> Array:
    """Return y (N, H_out, W_out, O) for x (N, H, W, C), both in one dtype, float32 or float64.

    Parameters
    ----------
    x : array (N, H, W, C)
    weight : array (kh, kw, C, O)
    geometry : Geometry
        One for which `tiling.applies` is true.
    bias : array (O,), optional
    tile : {4, 2}, optional
        m; by default the one of `best_tile`. For 3x3 kernels with stride 1, 4 takes 2.25 products an output, 2 takes 4
        and rounds less; the definition takes 9.
    transformed : array (a_h, a_w, C, O), optional
        ``transform_weight(weight, stride, tile=tile)``, where one weight serves many calls.
    activation : callable, optional
        Called with each finished block (n, rows, W_out, O) of y, to overwrite it while it is in the cache.
    """
    t = forward_tiling(geometry, tile or best_tile(geometry.kernel, geometry.stride), x.dtype)
    return _convolve(
        t, x, _transform(t.vertical, t.horizontal, weight) if transformed is None else transformed, bias, activation
    )


def input_grad(dy: Array, weight: Array, geometry: Geometry, *, tile: int | None = None) -> Array:
    """Return dL/dx (N, H, W, C) alone, for dy (N, H_out, W_out, O)."""
    t = gradient_tiling(geometry, tile or best_tile(geometry.kernel, geometry.stride), dy.dtype)
    return _convolve(t, dy, _transform(t.vertical, t.horizontal, weight.swapaxes(2, 3)))


def weight_grad(x: Array, dy: Array, geometry: Geometry, *, tile: int | None = None) -> Array:
    """Return dL/dW (kh, kw, C, O) alone."""
    return _parameter_grads(
        gradient_tiling(geometry, tile or best_tile(geometry.kernel, geometry.stride), dy.dtype), x, dy
    )[0]


def grads(x: Array, dy: Array, weight: Array, geometry: Geometry, *, tile: int | None = None) -> Gradients:
    """Return dL/dx, dL/dW and dL/db for dy (N, H_out, W_out, O), all from one transform of it."""
    t = gradient_tiling(geometry, tile or best_tile(geometry.kernel, geometry.stride), dy.dtype)
    dx = empty(x.shape, dy.dtype)
    return Gradients(
        dx, *_parameter_grads(t, x, dy, into=(_transform(t.vertical, t.horizontal, weight.swapaxes(2, 3)), dx))
    )


def transform_weight(weight: Array, stride: Pair = (1, 1), *, tile: int | None = None) -> Array:
    """Return U = G weight G^T, (a_h, a_w, C, O): `transformed` in a `forward` with that stride and tile."""
    kernel = (weight.shape[0], weight.shape[1])
    tile = tile or best_tile(kernel, stride)
    vertical, horizontal = (convolution(tile, r, s, 0, weight.dtype) for r, s in zip(kernel, stride, strict=True))
    return _transform(vertical, horizontal, weight)


def _convolve(
    t: Tiling,
    x: Array,
    u: Array,
    bias: Array | None = None,
    activation: Callable[[Array], object] | None = None,
) -> Array:
    """Return y = A^T [(B^T x B) u] A + bias."""
    x, y = np.ascontiguousarray(x), empty((len(x), *t.out, u.shape[3]), x.dtype)

    def task(index: int) -> None:
        block = t.blocks[index]
        d, (z, z_tiles) = _input_windows(t, block, x), _output_columns("z", t, block, y)

        def row(i: int) -> None:
            v, m = _tiles("v", t, block, x), _tiles("m", t, block, y)
            np.matmul(t.horizontal.input, d[i], out=v)
            _multiply(_by_point(v), u[i], _by_point(m))
            if bias is not None and i == 1:
                m[..., 1, :] += bias  # the value at the points (1, 1): in A^T M A each output has it once
            np.matmul(t.horizontal.output, m, out=z_tiles[i])

        run(row, t.vertical.points)  # shared where there is one block only
        done = y[block.images, block.rows_out]
        block.rows.output(z, _lines(done))
        if activation is not None:
            activation(done)

    run(task, len(t.blocks))
    return y


def _parameter_grads(t: Tiling, x: Array, dy: Array, *, into: tuple[Array, Array] | None = None) -> tuple[Array, Array]:
    """Return dW and db; with `into`, (the transformed weight, an array for dx), compute dx on the way."""
    x, dy = np.ascontiguousarray(x), np.ascontiguousarray(dy)
    shape = (t.vertical.points, t.horizontal.points, dy.shape[3], x.shape[3])
    sums = min(max(_SUM_BYTES // (math.prod(shape) * dy.itemsize), _FEWEST_SUMS), _SUMS, len(t.blocks))
    blocks_of_sum = divided(t.blocks, sums)

    def task(index: int) -> tuple[Array, Array]:
        du, db = empty(shape, dy.dtype), np.zeros(dy.shape[3], dy.dtype)
        for block in blocks_of_sum[index]:
            v, m = _tiles("v", t, block, dy), _tiles("m", t, block, x)
            d, (z, z_tiles) = _input_windows(t, block, dy), _output_columns("z", t, block, x)
            q, q_tiles = _output_columns("q", t, block, x, zero=True)
            block.rows.output_t(_lines(x[block.images, block.rows_out]), q)
            for i in range(t.vertical.points):
                np.matmul(t.horizontal.input, d[i], out=v)
                if into is not None:
                    _multiply(_by_point(v), into[0][i], _by_point(m))
                    np.matmul(t.horizontal.output, m, out=z_tiles[i])
                np.matmul(t.horizontal.output.T, q_tiles[i], out=m)
                if block is blocks_of_sum[index][0]:
                    _multiply(_by_point(v).swapaxes(1, 2), _by_point(m), du[i])
                else:
                    du[i] += _multiply(_by_point(v).swapaxes(1, 2), _by_point(m), scratch("du", shape[1:], dy.dtype))
            if into is not None:
                block.rows.output(z, _lines(into[1][block.images, block.rows_out]))
            lines = dy[block.images, block.rows_own].reshape(-1, dy.shape[3])
            db += np.ones(len(lines), dy.dtype) @ lines
        return du, db

    parts = run(task, sums)
    dw = _transform_t(t, [du for du, _ in parts]).swapaxes(2, 3)
    return np.ascontiguousarray(dw), functools.reduce(np.add, [db for _, db in parts])


def _transform(vertical: Bilinear, horizontal: Bilinear, weight: Array) -> Array:
    """Return U = G weight G^T, (a_h, a_w, C, O), for a weight (kh, kw, C, O)."""
    kh, kw, c, o = weight.shape
    flat, u = weight.reshape(kh, kw, c * o), empty((vertical.points, horizontal.points, c * o), weight.dtype)
    parts = slices(c * o, _WEIGHTS)

    def task(index: int) -> None:
        part = parts[index]
        columns = np.matmul(horizontal.kernel, flat[:, :, part])
        np.matmul(vertical.kernel, columns.swapaxes(0, 1), out=u[:, :, part].swapaxes(0, 1))

    run(task, len(parts))
    return u.reshape(*u.shape[:2], c, o)


def _transform_t(t: Tiling, sums: list[Array]) -> Array:
    """Return dW = G^T dU G, (kh, kw, C, O), where dU is the sum of arrays (a_h, a_w, C, O), added in their order."""
    kh, kw = t.vertical.kernel.shape[1], t.horizontal.kernel.shape[1]
    a_h, a_w, c, o = sums[0].shape
    flat, dw = [du.reshape(a_h, a_w, c * o) for du in sums], empty((kh, kw, c * o), sums[0].dtype)
    parts = slices(c * o, _WEIGHTS)

    def task(index: int) -> None:
        part = parts[index]
        columns = np.matmul(t.horizontal.kernel.T, functools.reduce(np.add, (du[:, :, part] for du in flat)))
        np.matmul(t.vertical.kernel.T, columns.swapaxes(0, 1), out=dw[:, :, part].swapaxes(0, 1))

    run(task, len(parts))
    return dw.reshape(kh, kw, c, o)


def _input_windows(t: Tiling, block: Block, x: Array) -> Array:
    """Return B^T D, the vertical pass, as windows: a view (a_h, n, rows, columns, window, C) of scratch."""
    (n, width, c), f = (block.images.stop - block.images.start, *x.shape[2:]), t.horizontal
    window = f.input.shape[1]
    shape = (n, block.rows.tiles, t.vertical.points, f.step * (t.columns - 1) + window, c)
    p = scratch("p", shape, x.dtype)
    first, left = max(f.start, 0), max(-f.start, 0)  # columns of x left out, columns of padding
    right = min(left + width - first, p.shape[3])
    p[..., :left, :] = 0
    p[..., right:, :] = 0
    block.rows.input(
        _lines(x[block.images, block.rows_in])[..., first * c : (first + right - left) * c],
        _lines(p)[..., left * c : right * c],
    )
    return windows(p.transpose(2, 0, 1, 3, 4), t.columns, f.step, window)


def _tiles(name: str, t: Tiling, block: Block, like: Array) -> Array:
    """Return scratch for one i of the transformed tiles of a block, (n, rows, columns, a, channels)."""
    shape = (block.images.stop - block.images.start, block.rows.tiles, t.columns, t.horizontal.points, like.shape[3])
    return scratch(name, shape, like.dtype)


def _output_columns(name: str, t: Tiling, block: Block, like: Array, *, zero: bool = False) -> tuple[Array, Array]:
    """Return scratch between the two passes of an output transform: by lines, and by i and tiles."""
    n, outputs, o = block.images.stop - block.images.start, len(t.horizontal.output), like.shape[3]
    shape = (n, block.rows.tiles, t.vertical.points, t.columns, outputs, o)
    tiles = scratch(name, shape, like.dtype)
    lines = _lines(tiles.reshape(*shape[:3], t.columns * outputs, o))
    if zero:
        lines[..., t.out[1] * o :] = 0
    return lines[..., : t.out[1] * o], tiles.transpose(2, 0, 1, 3, 4, 5)


def _multiply(left: Array, right: Array, out: Array) -> Array:
    """Compute out = left @ right for each point, in pieces small enough for BLAS to take the operands as they lie."""
    (points, rows, inner), columns = left.shape, right.shape[2]
    height = min(rows, 64)
    width = _width(columns, SMALL // (height * inner))
    if not width:
        return np.matmul(left, right, out=out)
    whole = rows // height * height
    np.matmul(
        left[:, :whole].reshape(points, -1, 1, height, inner),
        right.reshape(points, 1, inner, -1, width).swapaxes(2, 3),
        out=out[:, :whole].reshape(points, -1, height, columns // width, width).swapaxes(2, 3),
    )
    if whole < rows:
        np.matmul(left[:, whole:], right, out=out[:, whole:])
    return out


@functools.cache
def _width(columns: int, most: int) -> int:
    """Return the largest divisor of `columns` from 32 to `most`, or 0: narrower pieces cost more than packing."""
    return next((n for n in range(min(columns, most), 31, -1) if columns % n == 0), 0)


def _by_point(tiles: Array) -> Array:
    """Return a view of the transformed tiles (n, rows, columns, a, C) as (a, tiles, C)."""
    return tiles.reshape(-1, *tiles.shape[3:]).swapaxes(0, 1)


def _lines(array: Array) -> Array:
    """Return a view of (n, rows, ..., W, C) as (n, rows, W C)."""
    return array.reshape(len(array), -1, array.shape[-2] * array.shape[-1])
