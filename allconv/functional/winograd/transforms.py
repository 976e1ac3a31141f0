"""The transforms of images: V = B^T D B, Y = A^T M A and its adjoint dM = A dY A^T.

Each transform has two passes. The *vertical* pass is done once for a block, and a whole row of pixels and channels is
one long vector. The *horizontal* pass is done for a few rows i of points at a time, so that V_i, U_i and M_i meet
in the cache.

There are n images in a block, with R tile rows of T tiles each, and a_h x a_w points. A tile's window has w_h x w_w
samples, and it has m_h x m_w outputs.
"""

from typing import Any, NamedTuple

import numpy as np

from allconv.functional.winograd.banded import sliding_windows
from allconv.functional.winograd.tiling import TileBlock, Tiling
from allconv.parallel.buffers import Scratch
from allconv.typing import Array


class HalfOutput(NamedTuple):
    """The output between the two passes of its transform: one array, seen in two ways.

    Attributes
    ----------
    points : array (a_h, n, R, T, m_w, O)
        For the horizontal pass: the tiles of each row of points.
    lines : array (n, R a_h, W_out O)
        For the vertical pass: whole lines, without the outputs of the last tiles that lie beyond the edge.
    """

    points: Array
    lines: Array


def transform_input_vertical(tiling: Tiling, block: TileBlock, x: Array, scratch: Scratch) -> Array:
    """Return B^T D, the vertical pass of V = B^T D B.

    Parameters
    ----------
    tiling : Tiling
        The tiling of the pass.
    block : TileBlock
        The block of tiles.
    x : array (N, H, W, C)
    scratch : Scratch
        The memory for the result.

    Returns
    -------
    array (a_h, n, R, T, w_w, C)
        A view of the scratch: windows of neighbouring tiles overlap.
    """
    (width, channels), horizontal = x.shape[2:], tiling.horizontal
    images = block.images.stop - block.images.start
    # The windows cover so many columns, with padding. They skip columns of x, or begin in columns of zeros.
    covered = horizontal.step * (tiling.tile_columns - 1) + horizontal.window
    skipped, padding = max(horizontal.start, 0), max(-horizontal.start, 0)
    half = scratch.array((images, block.vertical.tile_rows, tiling.vertical.points, covered, channels), x.dtype)
    stop = min(padding + width - skipped, covered)
    half[..., :padding, :] = 0
    half[..., stop:, :] = 0
    block.vertical.input.apply(
        _as_lines(x[block.images, block.input_rows])[..., skipped * channels : (skipped + stop - padding) * channels],
        _as_lines(half)[..., padding * channels : stop * channels],
    )
    return sliding_windows(half.transpose(2, 0, 1, 3, 4), tiling.tile_columns, horizontal.step, horizontal.window)


def transform_input_horizontal(tiling: Tiling, half_input: Array, input_tiles: Array) -> None:
    """Write V_i = (B^T D)_i B, the horizontal pass, for r rows i of points.

    Parameters
    ----------
    tiling : Tiling
        The tiling of the pass.
    half_input : array (r, n, R, T, w_w, C)
        (B^T D)_i.
    input_tiles : array (r, n, R, T, a_w, C)
        V_i, which is written.
    """
    np.matmul(tiling.horizontal.input_matrix, half_input, out=input_tiles)


def empty_tiles(
    tiling: Tiling, block: TileBlock, rows: int, channels: int, dtype: np.dtype[Any], scratch: Scratch
) -> Array:
    """Return uninitialized memory for the tiles of some rows of points.

    Parameters
    ----------
    tiling : Tiling
        The tiling of the pass.
    block : TileBlock
        The block of tiles.
    rows : int
        r, the number of rows of points.
    channels : int
        C or O.
    dtype : numpy.dtype
    scratch : Scratch
        The memory for the result.

    Returns
    -------
    array (r, n, R, T, a_w, channels)
    """
    images, shape = block.images.stop - block.images.start, (tiling.tile_columns, tiling.horizontal.points, channels)
    return scratch.array((rows, images, block.vertical.tile_rows, *shape), dtype)


def empty_half_output(
    tiling: Tiling, block: TileBlock, channels: int, dtype: np.dtype[Any], scratch: Scratch
) -> HalfOutput:
    """Return uninitialized memory between the two passes of `transform_output`.

    Parameters
    ----------
    tiling : Tiling
        The tiling of the pass.
    block : TileBlock
        The block of tiles.
    channels : int
        O.
    dtype : numpy.dtype
    scratch : Scratch
        The memory for the result.

    Returns
    -------
    HalfOutput
    """
    tiles, lines = _half_output_tiles(tiling, block, channels, dtype, scratch)
    return HalfOutput(tiles, lines[..., : tiling.out_size[1] * channels])


def transform_output_horizontal(tiling: Tiling, output_tiles: Array, half_tiles: Array) -> None:
    """Write M_i A, the horizontal pass of Y = A^T M A, for r rows i of points.

    Parameters
    ----------
    tiling : Tiling
        The tiling of the pass.
    output_tiles : array (r, n, R, T, a_w, O)
        M_i.
    half_tiles : array (r, n, R, T, m_w, O)
        ``HalfOutput.points[rows]``, which is written.
    """
    np.matmul(tiling.horizontal.output_matrix, output_tiles, out=half_tiles)


def transform_output_vertical(block: TileBlock, half_output: HalfOutput, y: Array) -> None:
    """Write Y = A^T (M A), the vertical pass, to the images and rows of a block.

    Parameters
    ----------
    block : TileBlock
        The block of tiles.
    half_output : HalfOutput
        The output after the horizontal pass.
    y : array (N, H_out, W_out, O)
        All of the output; the block's part is written.
    """
    block.vertical.output.apply(half_output.lines, _as_lines(y[block.images, block.output_rows]))


def transform_output_adjoint_vertical(tiling: Tiling, block: TileBlock, dy: Array, scratch: Scratch) -> Array:
    """Return A dY, the vertical pass of dM = A dY A^T.

    Parameters
    ----------
    tiling : Tiling
        The tiling of the pass.
    block : TileBlock
        The block of tiles.
    dy : array (N, H_out, W_out, O)
    scratch : Scratch
        The memory for the result.

    Returns
    -------
    array (a_h, n, R, T, m_w, O)
        Tiles beyond the edge of the image have outputs that do not exist. Their gradients are zero.
    """
    tiles, lines = _half_output_tiles(tiling, block, dy.shape[3], dy.dtype, scratch)
    end = tiling.out_size[1] * dy.shape[3]
    lines[..., end:] = 0
    block.vertical.output_adjoint.apply(_as_lines(dy[block.images, block.output_rows]), lines[..., :end])
    return tiles


def transform_output_adjoint_horizontal(tiling: Tiling, half_adjoint: Array, output_tiles: Array) -> None:
    """Write dM_i = (A dY)_i A^T, the horizontal pass, for r rows i of points.

    Parameters
    ----------
    tiling : Tiling
        The tiling of the pass.
    half_adjoint : array (r, n, R, T, m_w, O)
        (A dY)_i.
    output_tiles : array (r, n, R, T, a_w, O)
        dM_i, which is written.
    """
    np.matmul(tiling.horizontal.output_matrix.T, half_adjoint, out=output_tiles)


def _half_output_tiles(
    tiling: Tiling, block: TileBlock, channels: int, dtype: np.dtype[Any], scratch: Scratch
) -> tuple[Array, Array]:
    """Return memory as tiles (a_h, n, R, T, m_w, O), and the same memory as lines (n, R a_h, T m_w O)."""
    images, outputs = block.images.stop - block.images.start, tiling.horizontal.outputs
    shape = (images, block.vertical.tile_rows, tiling.vertical.points, tiling.tile_columns, outputs, channels)
    tiles = scratch.array(shape, dtype)
    lines = _as_lines(tiles.reshape(*shape[:3], tiling.tile_columns * outputs, channels))
    return tiles.transpose(2, 0, 1, 3, 4, 5), lines


def _as_lines(array: Array) -> Array:
    """Return a view of (n, rows, ..., W, C) as (n, rows, W C)."""
    return array.reshape(len(array), -1, array.shape[-2] * array.shape[-1])
