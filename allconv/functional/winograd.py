r"""3x3 convolution with stride 1 by a bilinear algorithm: 36 products where the definition takes 144.

An output tile Y (m x m) depends on an input tile D (a x a, a = m + r - 1) and the kernel g (r x r):

.. math:: U = G\,g\,G^\top, \quad V = B^\top D\,B, \quad M_{ij} = \sum_c V_{ij,c}\,U_{ij,c}, \quad Y = A^\top M A.

The sum over channels makes each of the :math:`a^2` products a matrix product of (tiles, C) with (C, O). Every step is
linear in the data, so the gradients are the same chain, transposed and read backwards:

.. math:: dM = A\,dY A^\top, \quad dU = V^\top dM, \quad dV = dM\,U^\top, \quad dD = B\,dV B^\top, \quad dg = G^\top dU\,G.

The matrices come from polynomials evaluated at a few points (`Algorithm`). A transform acts along one axis as a matrix
with the same small block again and again (`Band`), clipped where a tile hangs over the edge, so that neither padding
nor tiles are ever stored as such. Lavin and Gray (2016), "Fast Algorithms for Convolutional Neural Networks".
"""

import functools
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby

import numpy as np
from numpy.lib.stride_tricks import as_strided

from allconv.functional.padding import Pads, output_size
from allconv.functional.threads import run, scratch, slices
from allconv.validation import Array, Pair

Rational = list[list[Fraction]]


@dataclass(frozen=True)
class Algorithm:
    """F(m, r): m outputs of a filter with r taps by a = m + r - 1 products."""

    m: int
    r: int
    input: Array  # B^T, (a, a)
    kernel: Array  # G, (a, r)
    output: Array  # A^T, (m, a)


@functools.cache
def algorithm(m: int, r: int, dtype: np.dtype) -> Algorithm:
    bt, g, at = toom_cook(m, r)
    return Algorithm(m, r, *(np.array(matrix, dtype) for matrix in (bt, g, at)))


def toom_cook(m: int, r: int) -> tuple[Rational, Rational, Rational]:
    a = m + r - 1
    points = [Fraction(p) for p in (0, 1, -1, 2, -2, Fraction(1, 2), Fraction(-1, 2))][: a - 1]
    at = [[p**i for p in points] + [Fraction(i == m - 1)] for i in range(m)]
    g = [[p**k for k in range(r)] for p in points] + [[Fraction(k == r - 1) for k in range(r)]]
    vandermonde = [[p**k for k in range(a)] for p in points] + [[Fraction(k == a - 1) for k in range(a)]]
    inverse = _inverse(vandermonde)
    bt = [list(column) for column in zip(*inverse, strict=True)]
    for row in range(a):
        scale = np.lcm.reduce([value.denominator for value in bt[row]])
        bt[row] = [value * int(scale) for value in bt[row]]
        g[row] = [value / int(scale) for value in g[row]]
    for i in range(m):
        for k in range(r):
            for x in range(a):
                total = sum(at[i][p] * g[p][k] * bt[p][x] for p in range(a))
                if total != (x == i + k):
                    raise AssertionError("not exact")
    return bt, g, at


def _inverse(matrix: Rational) -> Rational:
    size = len(matrix)
    rows = [[*row, *(Fraction(i == j) for j in range(size))] for i, row in enumerate(matrix)]
    for k in range(size):
        pivot = next(i for i in range(k, size) if rows[i][k])
        rows[k], rows[pivot] = rows[pivot], rows[k]
        rows[k] = [value / rows[k][k] for value in rows[k]]
        for i in range(size):
            if i != k:
                factor = rows[i][k]
                rows[i] = [x - factor * y for x, y in zip(rows[i], rows[k], strict=True)]
    return [row[size:] for row in rows]


class Band:
    """A matrix of the same block again and again: block t maps a window of samples to a group of samples."""

    def __init__(
        self,
        block: Array,
        count: int,
        step_in: int,
        start_in: int,
        size_in: int,
        step_out: int,
        start_out: int,
        size_out: int,
    ) -> None:
        rows, columns = block.shape
        self.size_out = size_out

        def clip(t: int) -> tuple[int, int, int, int]:
            i, o = start_in + t * step_in, start_out + t * step_out
            return max(-i, 0), min(size_in - i, columns), max(-o, 0), min(size_out - o, rows)

        self.runs = []
        for (c0, c1, r0, r1), group in groupby(range(count), clip):
            ts = list(group)
            if r0 >= r1:
                continue
            c1 = max(c1, c0)
            self.runs.append(
                (
                    np.ascontiguousarray(block[r0:r1, c0:c1]),
                    len(ts),
                    max(start_in + ts[0] * step_in + c0, 0) if c1 > c0 else 0,
                    start_out + ts[0] * step_out + r0,
                )
            )
        self.step_in, self.step_out = step_in, step_out

    def __call__(self, x: Array, out: Array) -> Array:
        """Apply along the second last axis."""
        for block, count, i, o in self.runs:
            np.matmul(
                block,
                _windows(x[..., i:, :], count, self.step_in, block.shape[1]),
                out=_windows(out[..., o:, :], count, self.step_out, block.shape[0]),
            )
        return out


def _windows(x: Array, count: int, step: int, length: int) -> Array:
    s = x.strides
    return as_strided(x, (*x.shape[:-2], count, length, x.shape[-1]), (*s[:-2], step * s[-2], *s[-2:]))


class _Axis:
    def __init__(self, al: Algorithm, size: int, before: int, out: int) -> None:
        m, a = al.m, al.m + al.r - 1
        self.tiles = t = -(-out // m)
        self.out = out
        self.bt = Band(al.input, t, m, -before, size, a, 0, t * a)
        self.at = Band(al.output, t, a, 0, t * a, m, 0, out)
        self.a = Band(np.ascontiguousarray(al.output.T), t, m, 0, out, a, 0, t * a)
        b = al.input.T
        shifted = np.zeros((m, 2 * a), b.dtype)
        shifted[:, a:] = b[:m]
        shifted[: a - m, :a] = b[m:]
        # The groups of the last blocks lie past the tiles: samples that only one tile, or none, reaches.
        count = -(-(size + before) // m)
        self.b = Band(shifted, count, a, -a, t * a, m, -before, size)


@functools.lru_cache(maxsize=256)
def _plan(size: Pair, pads: Pads, tile: int, dtype: np.dtype):
    al = algorithm(tile, 3, dtype)
    out = output_size(size, pads, (3, 3), (1, 1))
    return al, _Axis(al, size[0], pads[0][0], out[0]), _Axis(al, size[1], pads[1][0], out[1])


def kernel_transform(weight: Array, tile: int = 4) -> Array:
    g = algorithm(tile, 3, weight.dtype).kernel
    c, o = weight.shape[2:]
    rows = g @ weight.reshape(3, -1)
    return np.matmul(g, rows.reshape(len(g), 3, c * o)).reshape(len(g), len(g), c, o)


def kernel_transform_grad(du: Array, tile: int = 4) -> Array:
    g = algorithm(tile, 3, du.dtype).kernel
    a, _, c, o = du.shape
    rows = np.matmul(g.T, du.reshape(a, a, c * o))
    return (g.T @ rows.reshape(a, -1)).reshape(3, 3, c, o)


def _size(n: int, tiles: int) -> int:
    return max(1, min(128 // tiles, -(-n // 8)))


def forward(x: Array, weight: Array, pads: Pads, bias: Array | None = None, *, tile: int = 4, keep: bool = False):
    n, height, width, c = x.shape
    o = weight.shape[3]
    al, ver, hor = _plan((height, width), pads, tile, x.dtype)
    a = len(al.input)
    u = kernel_transform(weight, tile)
    y = np.empty((n, ver.out, hor.out, o), x.dtype)
    parts = slices(n, _size(n, ver.tiles * hor.tiles))
    kept = np.empty((a, n, ver.tiles, hor.tiles * a, c), x.dtype) if keep else None
    x = np.ascontiguousarray(x)

    def task(index: int) -> None:
        part = parts[index]
        k = part.stop - part.start
        t = k * ver.tiles * hor.tiles
        p = ver.bt(x[part].reshape(k, height, -1), scratch("p", (k, ver.tiles * a, width * c), x.dtype))
        p = p.reshape(k, ver.tiles, a, width, c)
        z = scratch("z", (k, ver.tiles, a, hor.out, o), x.dtype)
        for i in range(a):
            v = scratch("v", (k, ver.tiles, hor.tiles * a, c), x.dtype) if kept is None else kept[i, part]
            hor.bt(p[:, :, i], v)
            mm = scratch("m", (k, ver.tiles, hor.tiles * a, o), x.dtype)
            _product(v.reshape(t, a, c).swapaxes(0, 1), u[i], mm.reshape(t, a, o).swapaxes(0, 1))
            if bias is not None and i == 1:
                mm.reshape(t, a, o)[:, 1] += bias  # the point 1, whose column in A^T is all ones
            hor.at(mm, z[:, :, i])
        ver.at(z.reshape(k, ver.tiles * a, -1), y[part].reshape(k, ver.out, -1))

    run(task, len(parts))
    return y, kept


def _product(v: Array, u: Array, out: Array) -> None:
    rows = max(8, 1000000 // (u.shape[-1] * u.shape[-2]))
    t = v.shape[1]
    full = t // rows * rows

    def cut(x):
        return as_strided(
            x, (len(x), full // rows, rows, x.shape[2]), (x.strides[0], rows * x.strides[1], *x.strides[1:])
        )

    if full:
        np.matmul(cut(v), u[:, None], out=cut(out))
    if full < t:
        np.matmul(v[:, full:], u, out=out[:, full:])


def grads(
    x: Array,
    dy: Array,
    weight: Array,
    pads: Pads,
    *,
    tile: int = 4,
    tiles: Array | None = None,
    need_dx: bool = True,
    need_dw: bool = True,
    x_shape=None,
):
    n, height, width, c = x.shape if x_shape is None else x_shape
    o = dy.shape[3]
    al, ver, hor = _plan((height, width), pads, tile, dy.dtype)
    a = len(al.input)
    u = ut = None
    if need_dx:
        u = kernel_transform(weight, tile)
        ut = np.ascontiguousarray(u.swapaxes(-1, -2))
    parts = slices(n, _size(n, ver.tiles * hor.tiles))
    sums = min(8, len(parts))
    dx = np.empty((n, height, width, c), dy.dtype) if need_dx else None
    dy = np.ascontiguousarray(dy)
    if need_dw and tiles is None:
        x = np.ascontiguousarray(x)

    def task(index: int):
        du = np.zeros((a, a, c, o), dy.dtype) if need_dw else None
        for part in parts[index * len(parts) // sums : (index + 1) * len(parts) // sums]:
            k = part.stop - part.start
            t = k * ver.tiles * hor.tiles
            q = ver.a(dy[part].reshape(k, ver.out, -1), scratch("z", (k, ver.tiles * a, hor.out * o), dy.dtype))
            q = q.reshape(k, ver.tiles, a, hor.out, o)
            if need_dw and tiles is None:
                p = ver.bt(x[part].reshape(k, height, -1), scratch("p", (k, ver.tiles * a, width * c), x.dtype))
                p = p.reshape(k, ver.tiles, a, width, c)
            if need_dx:
                rr = scratch("r", (k, ver.tiles, a, width, c), dy.dtype)
            for i in range(a):
                dm = hor.a(q[:, :, i], scratch("m", (k, ver.tiles, hor.tiles * a, o), dy.dtype))
                dm = dm.reshape(t, a, o).swapaxes(0, 1)
                if need_dw:
                    if tiles is None:
                        v = hor.bt(p[:, :, i], scratch("v", (k, ver.tiles, hor.tiles * a, c), x.dtype))
                    else:
                        v = tiles[i, part]
                    v = v.reshape(t, a, c).transpose(1, 2, 0)
                    du[i] += np.matmul(v, dm, out=scratch("du", (a, c, o), dy.dtype))
                if need_dx:
                    dv = scratch("v", (k, ver.tiles, hor.tiles * a, c), dy.dtype)
                    _product(dm, ut[i], dv.reshape(t, a, c).swapaxes(0, 1))
                    hor.b(dv, rr[:, :, i])
            if need_dx:
                ver.b(rr.reshape(k, ver.tiles * a, -1), dx[part].reshape(k, height, -1))
        return du

    dus = run(task, sums)
    dw = kernel_transform_grad(functools.reduce(np.add, dus), tile) if need_dw else None
    return dx, dw


def input_grad(dy, weight, x_shape, pads, *, tile=4):
    return grads(None, dy, weight, pads, tile=tile, need_dw=False, x_shape=x_shape)[0]


def weight_grad(x, dy, pads, *, tile=4, tiles=None):
    return grads(x, dy, None, pads, tile=tile, tiles=tiles, need_dx=False)[1]
