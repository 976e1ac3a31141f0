"""A planned convolution as one matrix product over gathered columns, with one output or several at a time."""

import math
from functools import partial

import numpy as np

from allconv.functional.cost import best_outputs
from allconv.functional.geometry import Geometry
from allconv.functional.im2col.banded import banded_kernel, widened
from allconv.functional.products import in_pieces
from allconv.functional.tuning import IM2COL
from allconv.models.fused_layers import FusedConv2D
from allconv.models.planning.builder import NO_MARGINS, Builder, Stored, divided_batch, length, view
from allconv.parallel.stages import Part
from allconv.typing import Array


def plan_columns(builder: Builder, layer: FusedConv2D, x: Stored, y: Stored, geometry: Geometry) -> None:
    """Add the convolution of `x`, whose margins are its padding or more; its output goes to `y`."""
    outputs = 1 if layer.algorithm == "im2col" else best_outputs(geometry, prepared=True)
    wide = widened(geometry, outputs)
    kernel = banded_kernel(layer.weight.value, outputs, geometry.stride[1])
    if outputs > 1:
        builder.constant(kernel)
    matrix = kernel.reshape(-1, kernel.shape[3])
    entries = math.prod(wide.y_shape[:3]) * len(matrix)
    count = builder.parts(entries * (matrix.shape[1] + IM2COL.entry_work))
    parts = divided_batch(geometry.x_shape[0], geometry.out[0], count)
    builder.add(*(_calls(builder, layer, x, y, wide, matrix, part, str(k)) for k, part in enumerate(parts)))


def _calls(
    builder: Builder,
    layer: FusedConv2D,
    x: Stored,
    y: Stored,
    wide: Geometry,
    matrix: Array,
    part: tuple[slice, slice],
    name: str,
) -> Part:
    """Return the calls of some output rows of some images: gather, multiply, add the bias, activate."""
    target = y.values[part]
    gather, columns = _columns(builder, x, wide, part, name)
    output = target if target.flags.c_contiguous else builder.scratch("output" + name, target.shape)
    left, products = in_pieces(columns, matrix, output.reshape(len(columns), -1))
    calls = [*gather, partial(np.matmul, left, matrix, out=products)]
    if layer.bias is not None:
        lines = output.reshape(-1, output.shape[2] * output.shape[3])
        bias = builder.constant(np.tile(layer.bias.value, output.shape[2]))
        calls.append(partial(np.add, lines, bias, out=lines))
    return [*calls, *builder.activation(layer.activation, output, target)]


def _columns(
    builder: Builder, x: Stored, wide: Geometry, part: tuple[slice, slice], name: str
) -> tuple[list[partial[None]], Array]:
    """Return the call that gathers the columns, and the columns (positions, kh kw C)."""
    (images, rows), (_, height, width, channels) = part, x.whole.shape
    (kh, kw), (sh, sw), (dh, dw), row = wide.kernel, wide.stride, wide.dilation, width * channels
    if wide.kernel == wide.stride == (1, 1) and x.margins == wide.pads == NO_MARGINS:
        return [], x.whole[part].reshape(-1, channels)
    top = images.start * height + rows.start * sh + x.margins[0][0] - wide.pads[0][0]
    left = x.margins[1][0] - wide.pads[1][0]
    patches = view(
        x.whole,
        top * row + left * channels,
        (length(images), length(rows), wide.out[1], kh, kw, channels),
        (height * row, sh * row, sw * channels, dh * row, dw * channels, 1),
    )
    columns = builder.scratch("input tiles" + name, patches.shape)
    return [partial(np.copyto, columns, patches)], columns.reshape(-1, kh * kw * channels)
