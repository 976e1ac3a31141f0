r"""3x3 convolution with stride 1 by a bilinear algorithm: 36 products where the definition takes 144.

An output tile Y (m x m) depends on an input tile D (a x a, a = m + 2) and the kernel g (3 x 3):

.. math:: U = G\,g\,G^\top, \quad V = B^\top D\,B, \quad M_{ij} = \sum_c V_{ij,c}\,U_{ij,c}, \quad Y = A^\top M A.

With all tiles and output channels at once each :math:`M_{ij} = V_{ij} U_{ij}` is a matrix product, (tiles, C) with
(C, O). Every step is linear; transposed and read backwards, the chain gives the gradient of the kernel,

.. math:: dM = A\,dY A^\top, \qquad dU = V^\top dM, \qquad dg = G^\top dU\,G.

The gradient of the input is a convolution again, dx = dy * g', with the kernel turned by 180 degrees and C and O
exchanged, :math:`g'_{uv} = g_{2-u,2-v}^\top`. It shares its V = B^T dY B with the gradient of g' (and so of g): that
is the chain above for this convolution, where x is "dY", since <dy * g', x> = <g * x, dy>.

The matrices are those of `toom_cook`. A transform's two sides are two passes: along the vertical axis, where a whole
row of pixels and channels is one long vector, and along the horizontal one, for one of the a rows of points at a time,
so that V_i, U_i and M_i meet in the cache. Lavin and Gray (2016), "Fast Algorithms for Convolutional Neural Networks".
"""

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from allconv.functional.padding import Pads
from allconv.functional.threads import run, scratch, slices
from allconv.functional.tiling import SMALL, Block, Tiling, tiling, windows
from allconv.functional.toom_cook import bilinear
from allconv.validation import Array

# Partial sums of a weight gradient: enough for the cores of a desktop, of a number that does not depend on them, and
# fewer where they are large.
_SUMS, _FEWEST_SUMS, _SUM_BYTES = 8, 4, 24 << 20


class Gradients(NamedTuple):
    """dL/dx, dL/dW and dL/db."""

    x: Array
    weight: Array
    bias: Array


def forward(
    x: Array,
    weight: Array,
    pads: Pads,
    bias: Array | None = None,
    *,
    tile: int = 4,
    transformed: Array | None = None,
    activation: Callable[[Array], object] | None = None,
) -> Array:
    """Return y (N, H_out, W_out, O) for x (N, H, W, C), both in one dtype, float32 or float64.

    Parameters
    ----------
    x : array (N, H, W, C)
    weight : array (3, 3, C, O)
    pads : ((top, bottom), (left, right))
    bias : array (O,), optional
    tile : {4, 2}
        m: 4 takes 2.25 products an output, 2 takes 4 and rounds less; the definition takes 9.
    transformed : array (tile + 2, tile + 2, C, O), optional
        ``transform_weight(weight, tile)``, where one weight serves many calls.
    activation : callable, optional
        Called with each finished block (n, rows, W_out, O) of y, to overwrite it while it is in the cache.
    """
    t = tiling(x.shape[:3], pads, tile, x.dtype)
    u = transform_weight(weight, tile) if transformed is None else transformed
    x, y = np.ascontiguousarray(x), np.empty((len(x), *t.out, u.shape[3]), x.dtype)

    def task(index: int) -> None:
        block = t.blocks[index]
        m, (z, z_tiles) = _tiles("m", t, block, y), _output_columns("z", t, block, y)
        for i, v in enumerate(_transformed(t, block, x)):
            _multiply(_by_point(v), u[i], _by_point(m))
            if bias is not None and i == 1:
                m[..., 1, :] += bias  # the value at the points (1, 1): in A^T M A each output has it once
            np.matmul(t.f.output, m, out=z_tiles[i])
        done = y[block.images, block.rows_out]
        block.rows.output(z, _lines(done))
        if activation is not None:
            activation(done)

    run(task, len(t.blocks))
    return y


def input_grad(dy: Array, weight: Array, pads: Pads, *, tile: int = 4) -> Array:
    """Return dL/dx (N, H, W, C) alone, for dy (N, H_out, W_out, O): the convolution dy * g'."""
    return forward(dy, _turned(weight), _turned_pads(pads), tile=tile)


def weight_grad(x: Array, dy: Array, pads: Pads, *, tile: int = 4) -> Array:
    """Return dL/dW (3, 3, C, O) alone."""
    return _parameter_grads(x, dy, pads, tile)[0]


def grads(x: Array, dy: Array, weight: Array, pads: Pads, *, tile: int = 4) -> Gradients:
    """Return dL/dx, dL/dW and dL/db for dy (N, H_out, W_out, O), all from one transform of it."""
    dx = np.empty(x.shape, dy.dtype)
    u = transform_weight(_turned(weight), tile)
    return Gradients(dx, *_parameter_grads(x, dy, pads, tile, into=(u, dx)))


def _parameter_grads(
    x: Array, dy: Array, pads: Pads, tile: int, *, into: tuple[Array, Array] | None = None
) -> tuple[Array, Array]:
    """Return dW and db; with `into` (the transformed g', an array for dx) compute dx = dy * g' on the way."""
    t = tiling(dy.shape[:3], _turned_pads(pads), tile, dy.dtype)
    x, dy = np.ascontiguousarray(x), np.ascontiguousarray(dy)
    a, c, o = tile + 2, x.shape[3], dy.shape[3]
    sums = min(max(_SUM_BYTES // (a * a * c * o * dy.itemsize), _FEWEST_SUMS), _SUMS, len(t.blocks))

    def task(index: int) -> tuple[Array, Array]:
        du, db = np.empty((a, a, o, c), dy.dtype), np.zeros(o, dy.dtype)
        blocks = t.blocks[index * len(t.blocks) // sums : (index + 1) * len(t.blocks) // sums]
        for block in blocks:
            m, (z, z_tiles) = _tiles("m", t, block, x), _output_columns("z", t, block, x)
            q, q_tiles = _output_columns("q", t, block, x, zero=True)
            block.rows.output_t(_lines(x[block.images, block.rows_out]), q)
            for i, v in enumerate(_transformed(t, block, dy)):
                if into is not None:
                    _multiply(_by_point(v), into[0][i], _by_point(m))
                    np.matmul(t.f.output, m, out=z_tiles[i])
                np.matmul(t.f.output.T, q_tiles[i], out=m)
                if block is blocks[0]:
                    _multiply(_by_point(v).swapaxes(1, 2), _by_point(m), du[i])
                else:
                    du[i] += _multiply(_by_point(v).swapaxes(1, 2), _by_point(m), scratch("du", (a, o, c), dy.dtype))
            if into is not None:
                block.rows.output(z, _lines(into[1][block.images, block.rows_out]))
            lines = dy[block.images, block.rows_own].reshape(-1, o)
            db += np.ones(len(lines), dy.dtype) @ lines
        return du, db

    parts = run(task, sums)
    dw = _turned(transform_weight_grad([du for du, _ in parts], tile))
    return np.ascontiguousarray(dw), functools.reduce(np.add, [db for _, db in parts])


def _transformed(t: Tiling, block: Block, x: Array) -> Iterator[Array]:
    """Yield V_i = (B^T D B)_i for each i, (n, rows, columns, a, C): one array, each time overwritten."""
    a, (width, c) = len(t.f.input), x.shape[2:]
    v = _tiles("v", t, block, x)
    p = scratch("p", (len(v), block.rows.tiles, a, t.f.m * t.columns + 2, c), x.dtype)
    first, left = max(-t.left, 0), max(t.left, 0)  # columns of x left out, columns of padding
    right = min(left + width - first, p.shape[3])
    p[..., :left, :] = 0
    p[..., right:, :] = 0
    block.rows.input(
        _lines(x[block.images, block.rows_in])[..., first * c : (first + right - left) * c],
        _lines(p)[..., left * c : right * c],
    )
    d = windows(p.transpose(2, 0, 1, 3, 4), t.columns, t.f.m, a)
    for i in range(a):
        yield np.matmul(t.f.input, d[i], out=v)


def _tiles(name: str, t: Tiling, block: Block, like: Array) -> Array:
    """Return scratch for one i of the transformed tiles of a block, (n, rows, columns, a, channels)."""
    shape = (block.images.stop - block.images.start, block.rows.tiles, t.columns, len(t.f.input), like.shape[3])
    return scratch(name, shape, like.dtype)


def _output_columns(name: str, t: Tiling, block: Block, like: Array, *, zero: bool = False) -> tuple[Array, Array]:
    """Return scratch between the two passes of an output transform: by lines, and by i and tiles."""
    n, a, m, o = block.images.stop - block.images.start, len(t.f.input), t.f.m, like.shape[3]
    z = scratch(name, (n, block.rows.tiles, a, t.columns * m, o), like.dtype)
    if zero:
        z[..., t.out[1] :, :] = 0
    tiles = z.reshape(n, block.rows.tiles, a, t.columns, m, o).transpose(2, 0, 1, 3, 4, 5)
    return _lines(z)[..., : t.out[1] * o], tiles


def transform_weight(weight: Array, tile: int = 4) -> Array:
    """Return U = G weight G^T, (tile + 2, tile + 2, C, O), for a weight (3, 3, C, O)."""
    g = bilinear(tile, 3, weight.dtype).kernel
    a, (c, o) = tile + 2, weight.shape[2:]
    flat, u = weight.reshape(3, 3, c * o), np.empty((a, a, c * o), weight.dtype)
    parts = slices(c * o, 4096)

    def task(index: int) -> None:
        part = parts[index]
        columns = np.matmul(g, flat[:, :, part])
        np.matmul(g, columns.swapaxes(0, 1), out=u[:, :, part].swapaxes(0, 1))

    run(task, len(parts))
    return u.reshape(a, a, c, o)


def transform_weight_grad(sums: list[Array], tile: int = 4) -> Array:
    """Return dW = G^T dU G, where dU is the sum of the arrays (tile + 2, tile + 2, C, O), added in their order."""
    g_t = np.ascontiguousarray(bilinear(tile, 3, sums[0].dtype).kernel.T)
    a, (c, o) = tile + 2, sums[0].shape[2:]
    flat, dw = [du.reshape(a, a, c * o) for du in sums], np.empty((3, 3, c * o), sums[0].dtype)
    parts = slices(c * o, 4096)

    def task(index: int) -> None:
        part = parts[index]
        du = functools.reduce(np.add, (array[:, :, part] for array in flat))
        columns = np.matmul(g_t, du)
        np.matmul(g_t, columns.swapaxes(0, 1), out=dw[:, :, part].swapaxes(0, 1))

    run(task, len(parts))
    return dw.reshape(3, 3, c, o)


def _turned(weight: Array) -> Array:
    """Return a view of g', the kernel turned by 180 degrees with C and O exchanged."""
    return weight[::-1, ::-1].swapaxes(2, 3)


def _turned_pads(pads: Pads) -> Pads:
    """Return the pads with which dy * g' is dx; one below zero cuts outputs that see nothing but padding."""
    (top, bottom), (left, right) = pads
    return (2 - top, 2 - bottom), (2 - left, 2 - right)


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
