"""A planned convolution by a bilinear algorithm: one call for each step, over all tiles of a part."""

from functools import partial
from typing import NamedTuple

import numpy as np

from allconv.functional.cost import COST
from allconv.functional.padding import Pads
from allconv.functional.rounding import ceil_div
from allconv.functional.winograd.bilinear import POINT_ONE
from allconv.functional.winograd.pieces import pieces
from allconv.functional.winograd.tiling import Tiling, best_tile, forward_tiling
from allconv.models.fused_layers import FusedConv2D
from allconv.models.planning.builder import Builder, Stored, divided_batch, length, view
from allconv.parallel.stages import Part
from allconv.typing import Array, Pair

# Bounds the tiles from below, as a multiple of the output channels, where the parts of a layer have different tiles.
# With fewer tiles, there is more to read of the transformed kernel than of the tiles. So each part then has all tiles,
# and reads the kernel of its own channels.
_TILES_FOR_EACH_CHANNEL = 0.25


def tiling_of(layer: FusedConv2D, shape: tuple[int, ...]) -> Tiling:
    """Return the tiling for an input of the shape (N, H, W, C)."""
    tile = best_tile(layer.kernel_size, layer.stride, (layer.in_channels, layer.out_channels))
    return forward_tiling(layer.geometry(shape), tile, layer.weight.value.dtype)


def margins_of(tiling: Tiling, size: Pair) -> Pads:
    """Return the margins of an input of `size` (H, W) with which it covers the windows of all tiles."""
    margins = []
    for axis, count, end in zip((tiling.vertical, tiling.horizontal), _tiles(tiling), size, strict=True):
        margins.append((-axis.start, max(axis.start + axis.step * (count - 1) + axis.window - end, 0)))
    return margins[0], margins[1]


def _tiles(tiling: Tiling) -> Pair:
    """Return the numbers of tile rows and of tile columns of an image."""
    return ceil_div(tiling.out_size[0], tiling.vertical.outputs), tiling.tile_columns


class _Part(NamedTuple):
    """What one part computes.

    Attributes
    ----------
    name : str
        Distinguishes its scratch memory.
    images, tile_rows, channels : slice
        The outputs of these images, tile rows and channels.
    kernel : array (a_h, a_w, C, O)
        The transformed kernel of these channels.
    """

    name: str
    images: slice
    tile_rows: slice
    channels: slice
    kernel: Array


def plan_winograd(builder: Builder, layer: FusedConv2D, x: Stored, y: Stored, tiling: Tiling) -> None:
    """Add the convolution of `x`, which has the margins of `margins_of`; its output goes to `y`."""
    images, outputs, (rows, columns) = len(x.whole), layer.out_channels, _tiles(tiling)
    tiles, points = images * rows * columns, tiling.vertical.points * tiling.horizontal.points
    # To read an entry of the transformed kernel takes as long as some multiply-adds with it.
    count = builder.parts(points * (tiles + int(COST.kernel_read)) * layer.in_channels * outputs)
    parts: list[_Part] = []
    if tiles >= _TILES_FOR_EACH_CHANNEL * outputs:
        (kernel,) = layer.transformed_parts(1)
        for own_images, own_rows in divided_batch(images, rows, count):
            parts.append(_Part(str(len(parts)), own_images, own_rows, slice(0, outputs), kernel))
    else:
        first = 0
        for kernel in layer.transformed_parts(count):
            channels = slice(first, first + kernel.shape[3])
            parts.append(_Part(str(len(parts)), slice(0, images), slice(0, rows), channels, kernel))
            first = channels.stop
    builder.add(*(_calls(builder, layer, x, y, tiling, part) for part in parts))


def _calls(builder: Builder, layer: FusedConv2D, x: Stored, y: Stored, tiling: Tiling, part: _Part) -> Part:
    """Return the calls of a part: the steps of the page "Convolution with a quarter of the products"."""
    a_h, a_w, inputs, outputs = part.kernel.shape
    tiles = length(part.images) * length(part.tile_rows) * tiling.tile_columns
    input_tiles = builder.scratch("input tiles" + part.name, (a_h, tiles, a_w, inputs))
    output_tiles = builder.scratch("output tiles" + part.name, (a_h, tiles, a_w, outputs))
    calls = _transform_input(builder, x, tiling, part, input_tiles)
    for left, right, products in pieces(input_tiles.swapaxes(1, 2), part.kernel, output_tiles.swapaxes(1, 2)):
        calls.append(partial(np.matmul, left, right, out=products))
    if layer.bias is not None:
        # In A^T M A each output has the value at the points (1, 1) once.
        at_ones = output_tiles[POINT_ONE, :, POINT_ONE]
        calls.append(partial(np.add, at_ones, layer.bias.value[part.channels], out=at_ones))
    transforms, output = _transform_output(builder, tiling, part, output_tiles)
    first = part.tile_rows.start * tiling.vertical.outputs
    target = y.values[part.images, first : first + output.shape[1], :, part.channels]
    return [*calls, *transforms, *builder.activation(layer.activation, output, target)]


def _transform_input(
    builder: Builder, x: Stored, tiling: Tiling, part: _Part, input_tiles: Array
) -> list[partial[object]]:
    """Return the calls that write V = B^T D B to `input_tiles` (a_h, tiles, a_w, C), first vertically."""
    vertical, horizontal, columns = tiling.vertical, tiling.horizontal, tiling.tile_columns
    _, height, width, channels = x.whole.shape
    images, rows, row = length(part.images), length(part.tile_rows), width * channels
    line = (horizontal.step * (columns - 1) + horizontal.window) * channels  # all columns that windows cover
    top = part.images.start * height + x.margins[0][0] + vertical.start + vertical.step * part.tile_rows.start
    left = x.margins[1][0] + horizontal.start
    windows = view(
        x.whole,
        top * row + left * channels,
        (images, rows, vertical.window, line),
        (height * row, vertical.step * row, row, 1),
    )
    half = builder.scratch("half" + part.name, (vertical.points, images, rows, line))
    half_windows = view(
        half,
        0,
        (vertical.points, images * rows, columns, horizontal.window, channels),
        (images * rows * line, line, horizontal.step * channels, channels, 1),
    )
    by_row = input_tiles.reshape(vertical.points, images * rows, columns, horizontal.points, channels)
    return [
        partial(np.matmul, vertical.input_matrix, windows, out=half.transpose(1, 2, 0, 3)),
        partial(np.matmul, horizontal.input_matrix, half_windows, out=by_row),
    ]


def _transform_output(
    builder: Builder, tiling: Tiling, part: _Part, output_tiles: Array
) -> tuple[list[partial[object]], Array]:
    """Return the calls that compute Y = A^T M A, first horizontally, and the array that they fill, (n, rows, W, O)."""
    vertical, horizontal, columns = tiling.vertical, tiling.horizontal, tiling.tile_columns
    images, rows, outputs = length(part.images), length(part.tile_rows), output_tiles.shape[3]
    by_row = output_tiles.reshape(vertical.points, images * rows, columns, horizontal.points, outputs)
    line = columns * horizontal.outputs * outputs
    half = builder.scratch("half" + part.name, (vertical.points, images * rows, columns, horizontal.outputs, outputs))
    lines = half.reshape(vertical.points, images * rows, line).swapaxes(0, 1)
    whole = builder.scratch("output" + part.name, (images * rows, vertical.outputs, line))
    calls: list[partial[object]] = [
        partial(np.matmul, horizontal.output_matrix, by_row, out=half),
        partial(np.matmul, vertical.output_matrix, lines, out=whole),
    ]
    # The last tiles may hang over the end of the image.
    height, width = tiling.out_size
    height = min(part.tile_rows.stop * vertical.outputs, height) - part.tile_rows.start * vertical.outputs
    return calls, whole.reshape(images, -1, columns * horizontal.outputs, outputs)[:, :height, :width]
