"""How `winograd` cuts a batch into blocks, and the rows of a block into overlapping tiles.

Everything here follows from the shapes alone, never from the number of workers or a clock, so that the results are the
same bits on any number of threads.
"""

import functools
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from allconv.functional.padding import Pads, output_size
from allconv.functional.threads import slices
from allconv.functional.toom_cook import Bilinear, bilinear
from allconv.validation import Array, Pair

SMALL = 1_000_000  # up to this M N K OpenBLAS multiplies without packing its operands first, a fifth faster on AVX-512

_TILES = 192  # of a block, at most: V_i, U_i and M_i of 96 channels in float32 are then 1.1 MB, a core's own cache
_FEWEST_TILES = 32  # of a block: below, the products wait for U
_SHARES = 4  # blocks come in multiples of it, so that 2 and 4 workers have the same to do


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
    """The vertical axis of a block: `tiles` tiles of m output rows, each from a = m + 2 input rows.

    `input` and `output` multiply by B^T and A^T, `output_t` by the transpose A. Transformed rows are in the order
    (tile, point).
    """

    def __init__(self, f: Bilinear, size: Pair, before: int) -> None:
        m, a = f.m, len(f.input)
        self.tiles = t = -(-size[1] // m)
        self.input = Banded(f.input, t, m, (-before, 0), (size[0], t * a))
        self.output = Banded(f.output, t, a, (0, 0), (t * a, size[1]))
        self.output_t = Banded(f.output.T, t, m, (0, 0), (size[1], t * a))


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
    """A whole convolution: its output size, the blocks, and the tiles along the horizontal axis."""

    f: Bilinear
    out: Pair  # (H_out, W_out)
    columns: int  # tiles side by side
    left: int  # columns of padding; below zero, of x that are left out
    blocks: list[Block]


@functools.lru_cache(maxsize=256)
def tiling(size: tuple[int, int, int], pads: Pads, m: int, dtype: np.dtype[Any]) -> Tiling:
    """Return the tiling of a 3x3 convolution of x (N, H, W, C) for `size` (N, H, W); pads below zero cut x."""
    f = bilinear(m, 3, dtype)
    n, height, width = size
    out = output_size((height, width), pads, (3, 3), (1, 1))
    tile_rows, columns = -(-out[0] // m), -(-out[1] // m)
    blocks = []
    for images, bounds in _cut(n, tile_rows, columns):
        covered = 0
        for first, stop in pairwise(bounds):
            above = m * first - pads[0][0]  # the first row of the first tile, in x or in the padding above it
            rows_in = slice(min(max(above, 0), height), min(max(m * stop - pads[0][0] + 2, 0), height))
            rows_own = slice(covered, rows_in.stop if stop < tile_rows else height)
            rows_out = slice(m * first, min(m * stop, out[0]))
            rows = _rows(f, (rows_in.stop - rows_in.start, rows_out.stop - rows_out.start), rows_in.start - above)
            blocks.append(Block(images, rows_in, rows_own, rows_out, rows))
            covered = rows_in.stop
    return Tiling(f, out, columns, pads[1][0], blocks)


@functools.lru_cache(maxsize=256)
def _rows(f: Bilinear, size: Pair, before: int) -> Rows:
    return Rows(f, size, before)


def _cut(n: int, tile_rows: int, columns: int) -> list[tuple[slice, list[int]]]:
    """Return (images, bounds of the tile rows) so that each block has about _TILES tiles or fewer."""
    tiles = n * tile_rows * columns
    count = min(-(-tiles // (_SHARES * _TILES)) * _SHARES, max(tiles // _FEWEST_TILES, 1))
    groups = min(n, count)
    parts = min(-(-count // n), tile_rows)
    bounds = [i * tile_rows // parts for i in range(parts + 1)]
    return [(slice(i * n // groups, (i + 1) * n // groups), bounds) for i in range(groups)]
