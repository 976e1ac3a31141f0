"""What `winograd` does for which sizes: the tile that it takes, whether it pays, how it cuts a batch into blocks.

Everything here follows from the shapes alone, never from the number of workers or a clock, so that the results are the
same bits on any number of threads.
"""

import functools
import math
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from allconv.functional.geometry import Geometry
from allconv.functional.winograd.bilinear import Bilinear, convolution, gradient
from allconv.parallel.threads import slices
from allconv.typing import Array, Pair

SMALL = 1_000_000  # up to this M N K OpenBLAS multiplies without packing its operands first, a fifth faster on AVX-512

# Tiles times products a tile and axis, of a block at most: 192 tiles of F(4, 3). V_i, U_i and M_i of 96 channels in
# float32 are then 1.1 MB, a core's own cache.
_PRODUCTS = 192 * 6
_FEWEST_TILES = 32  # of a block: below, the products wait for U
_ONE_BLOCK = 64  # up to so many tiles are not cut: the workers share their products, and each reads a part of U
_SHARES = 4  # blocks come in multiples of it, so that 2 and 4 workers have the same to do


_MOST_POINTS = 8  # of one phase of an axis: more cost too many digits


def applies(kernel: Pair, stride: Pair, dilation: Pair, groups: int) -> bool:
    """Tell whether there is an algorithm: for kernels from 3x3 to 7x7 with stride 1 or 2, dilation 1 and one group."""
    plain = dilation == (1, 1) and groups == 1 and max(stride) <= 2
    return plain and min(kernel) >= 3 and max(kernel) <= 7


def best_tile(kernel: Pair, stride: Pair) -> int:
    """Return the number of outputs of a tile along each axis: 4, or 2 where 4 would cost too many digits."""
    taps = max(-(-r // s) for r, s in zip(kernel, stride, strict=True))  # of the longest phase
    return 4 if taps + 3 <= _MOST_POINTS else 2


def products(kernel: Pair, stride: Pair) -> int:
    """Return the number of products of a tile, a_h a_w: 36 for a 3x3 kernel with stride 1."""
    tile = best_tile(kernel, stride)
    return math.prod(s * (tile - 1) + r for r, s in zip(kernel, stride, strict=True))


class Banded:
    """The matrix that maps window t of rows, from first[0] + t step on, to group t, from first[1] + t height on.

    Every window is multiplied by the same `block` (height, length). Rows beyond the `size` of the input are zero, rows
    beyond that of the output are left out: there the block is cut. Padding is never stored.
    """

    def __init__(self, block: Array, count: int, step: int, first: Pair, size: Pair) -> None:
        height, length = block.shape

        def cut(t: int) -> tuple[int, int, int, int]:
            source, target = first[0] + t * step, first[1] + t * height
            start = max(-source, 0)
            return start, max(min(size[0] - source, length), start), max(-target, 0), min(size[1] - target, height)

        self.step, self.span = step, SMALL // block.size
        self.runs = []  # of windows that are cut alike: the interior, and a few at either edge
        for (start, stop, top, bottom), group in groupby(range(count), cut):
            t, *more = group
            if top < bottom:
                source = first[0] + t * step + start if start < stop else 0
                matrix = np.ascontiguousarray(block[top:bottom, start:stop])
                self.runs.append((matrix, 1 + len(more), source, first[1] + t * height + top))

    def __call__(self, x: Array, out: Array) -> None:
        """Apply to x (n, rows, L) and write to out (n, rows, L)."""
        for block, count, source, target in self.runs:
            height, length = block.shape
            sources = windows(x[:, source:], count, self.step, length)
            targets = out[:, target : target + count * height].reshape(len(out), count, height, out.shape[2])
            for part in slices(x.shape[2], self.span):
                np.matmul(block, sources[..., part], out=targets[..., part])


def windows(x: Array, count: int, step: int, length: int) -> Array:
    """Return a view of (..., size, C) as (..., count, length, C): overlapping windows, `step` apart."""
    *lead, across, along = x.strides
    return as_strided(x, (*x.shape[:-2], count, length, x.shape[-1]), (*lead, step * across, across, along))


class Rows:
    """The vertical axis of a block of `tiles` tiles, for an input and an output of so many rows.

    `input` and `output` multiply by B^T and A^T, `output_t` by the transpose A. Transformed rows are in the order
    (tile, point).
    """

    def __init__(self, f: Bilinear, tiles: int, size: Pair, start: int) -> None:
        outputs, a = f.output.shape
        self.tiles = tiles
        self.input = Banded(f.input, tiles, f.step, (start, 0), (size[0], tiles * a))
        self.output = Banded(f.output, tiles, a, (0, 0), (tiles * a, size[1]))
        self.output_t = Banded(f.output.T, tiles, outputs, (0, 0), (size[1], tiles * a))


@dataclass(frozen=True)
class Block:
    """Some tile rows of some images: what one task computes."""

    images: slice
    rows_in: slice  # of x, that the tiles cover
    rows_own: slice  # of x, that are this block's where each row must be counted once
    rows_out: slice  # of y
    rows: Rows


@dataclass(frozen=True)
class Tiling:
    """The blocks of a convolution, its two algorithms, and the number of tiles side by side."""

    vertical: Bilinear
    horizontal: Bilinear
    out: Pair  # (H_out, W_out)
    columns: int
    blocks: list[Block]


@functools.lru_cache(maxsize=256)
def forward_tiling(geometry: Geometry, tile: int, dtype: np.dtype[Any]) -> Tiling:
    """Return the tiling that computes y from x."""
    vertical, horizontal = (
        convolution(tile, r, s, before, dtype)
        for r, s, (before, _) in zip(geometry.kernel, geometry.stride, geometry.pads, strict=True)
    )
    return _tiling(vertical, horizontal, geometry.x_shape, geometry.out)


@functools.lru_cache(maxsize=256)
def gradient_tiling(geometry: Geometry, tile: int, dtype: np.dtype[Any]) -> Tiling:
    """Return the tiling that computes dx from dy."""
    vertical, horizontal = (
        gradient(tile, r, s, before, dtype)
        for r, s, (before, _) in zip(geometry.kernel, geometry.stride, geometry.pads, strict=True)
    )
    return _tiling(vertical, horizontal, geometry.y_shape, geometry.x_shape[1:3])


def _tiling(vertical: Bilinear, horizontal: Bilinear, shape: tuple[int, int, int, int], out: Pair) -> Tiling:
    """Return the tiling from an input of `shape` (N, H, W, C) to an output of `out` (H_out, W_out)."""
    n, height = shape[:2]
    outputs, a = vertical.output.shape
    window = vertical.input.shape[1]
    tile_rows, columns = -(-out[0] // outputs), -(-out[1] // len(horizontal.output))
    blocks = []
    for images, bounds in _cut(n, tile_rows, columns, _PRODUCTS // a):
        covered = 0
        for first, stop in pairwise(bounds):
            above, below = vertical.start + vertical.step * first, vertical.start + vertical.step * (stop - 1) + window
            rows_in = slice(min(max(above, 0), height), min(max(below, 0), height))
            rows_own = slice(covered, rows_in.stop if stop < tile_rows else height)
            rows_out = slice(outputs * first, min(outputs * stop, out[0]))
            sizes = rows_in.stop - rows_in.start, rows_out.stop - rows_out.start
            rows = _rows(vertical, stop - first, sizes, above - rows_in.start)
            blocks.append(Block(images, rows_in, rows_own, rows_out, rows))
            covered = rows_in.stop
    return Tiling(vertical, horizontal, out, columns, blocks)


@functools.lru_cache(maxsize=256)
def _rows(f: Bilinear, tiles: int, size: Pair, start: int) -> Rows:
    return Rows(f, tiles, size, start)


def _cut(n: int, tile_rows: int, columns: int, most: int) -> list[tuple[slice, list[int]]]:
    """Return (images, bounds of the tile rows) so that each block has about `most` tiles or fewer."""
    tiles = n * tile_rows * columns
    count = 1 if tiles <= _ONE_BLOCK else min(-(-tiles // (_SHARES * most)) * _SHARES, tiles // _FEWEST_TILES)
    groups = min(n, count)
    parts = min(-(-count // n), tile_rows)
    bounds = [i * tile_rows // parts for i in range(parts + 1)]
    return [(slice(i * n // groups, (i + 1) * n // groups), bounds) for i in range(groups)]
