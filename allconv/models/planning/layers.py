"""What each layer of a fused copy adds to a plan."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from allconv.functional.padding import Pads
from allconv.functional.products import in_pieces
from allconv.layers.base import Layer
from allconv.layers.dropout import Dropout
from allconv.layers.flatten import Flatten
from allconv.layers.global_average_pool import GlobalAveragePool2D
from allconv.layers.linear import LEAST_ROWS
from allconv.layers.max_pool import MaxPool2D
from allconv.layers.mean_pool import MeanPool2D
from allconv.layers.relu import ReLU
from allconv.layers.sequential import Sequential
from allconv.layers.skip import Skip
from allconv.models.fused_layers import FusedConv2D, FusedLinear
from allconv.models.planning.builder import NO_MARGINS, Builder, Stored, apply, even_slices
from allconv.models.planning.columns import plan_columns
from allconv.models.planning.plan import Plan
from allconv.models.planning.pools import plan_mean, plan_pool
from allconv.models.planning.winograd import margins_of, plan_winograd, tiling_of


def plan_layers(layers: Sequence[Layer], shape: tuple[int, ...], dtype: np.dtype[Any]) -> Plan:
    """Return the plan of layers in a row.

    Parameters
    ----------
    layers : sequence of Layer
        The layers of a fused copy.
    shape : tuple of int
        The shape of the input, which the layers accept.
    dtype : numpy.dtype
        Of the input and of all parameters.

    Raises
    ------
    PlanTooLargeError
        If the plan would need too much memory.
    """
    builder = Builder(dtype)
    x = builder.store(shape, _wanted_margins(layers, shape))
    y = _plan_row(builder, layers, x, NO_MARGINS)
    return Plan(x.values, builder.stages, y.values, builder.memory)


def _plan_row(builder: Builder, layers: Sequence[Layer], x: Stored, margins: Pads) -> Stored:
    """Add layers in a row, and return the output, for which the caller wants margins."""
    for k, layer in enumerate(layers):
        shape = _output_shape(layer, x)
        following = layers[k + 1 :]
        x = _plan_layer(builder, layer, x, _wanted_margins(following, shape) if following else margins)
    return x


def _output_shape(layer: Layer, x: Stored) -> tuple[int, ...]:
    return len(x.whole), *layer.output_shape(x.values.shape[1:])


def _wanted_margins(layers: Sequence[Layer], shape: tuple[int, ...]) -> Pads:
    """Return the margins of the input that spare the layers in a row a padded copy."""
    for layer in layers:
        if isinstance(layer, Sequential):
            return _wanted_margins(layer.layers, shape)
        if isinstance(layer, Skip):
            return _wanted_margins([layer.body], shape)
        if isinstance(layer, FusedConv2D) and layer.groups == 1:
            if layer.planned_algorithm(shape) == "winograd":
                return margins_of(tiling_of(layer, shape), (shape[1], shape[2]))
            return layer.geometry(shape).pads
        if not isinstance(layer, Dropout):
            break
    return NO_MARGINS


def _plan_layer(builder: Builder, layer: Layer, x: Stored, margins: Pads) -> Stored:
    """Add one layer, and return its output. It has the margins, unless it is memory that was there before."""
    if isinstance(layer, Sequential):
        return _plan_row(builder, layer.layers, x, margins)
    if isinstance(layer, Dropout):
        return x
    if isinstance(layer, Flatten) and x.margins == NO_MARGINS:
        return Stored(x.whole.reshape(len(x.whole), -1))
    y = builder.store(_output_shape(layer, x), margins)
    add = _PLANNERS.get(type(layer), _plan_call)
    add(builder, layer, x, y)
    return y


def _plan_call(builder: Builder, layer: Layer, x: Stored, y: Stored) -> None:
    """Add a call of the layer itself, which every layer allows."""
    builder.add([partial(apply, layer, x.values, y.values)])


def _plan_relu(builder: Builder, layer: ReLU, x: Stored, y: Stored) -> None:
    builder.add(builder.activation(layer, x.values, y.values))


def _plan_convolution(builder: Builder, layer: FusedConv2D, x: Stored, y: Stored) -> None:
    shape = x.values.shape
    if layer.groups > 1:
        _plan_call(builder, layer, x, y)
    elif layer.planned_algorithm(shape) == "winograd":
        tiling = tiling_of(layer, shape)
        x = builder.with_margins(x, margins_of(tiling, (shape[1], shape[2])))
        plan_winograd(builder, layer, x, y, tiling)
    else:
        geometry = layer.geometry(shape)
        plan_columns(builder, layer, builder.with_margins(x, geometry.pads), y, geometry)


def _plan_linear(builder: Builder, layer: FusedLinear, x: Stored, y: Stored) -> None:
    """Add y = x W + b; a part has some of the rows of x, or some of the columns of W, whichever are more."""
    source, target, weight = x.whole, y.whole, layer.weight.value
    rows, columns = target.shape
    count = builder.parts(rows * weight.size)
    if rows >= columns:
        cuts = [(part, slice(0, columns)) for part in even_slices(rows, count)]
    else:
        cuts = [(slice(0, rows), part) for part in even_slices(columns, count)]
    parts = []
    for own_rows, own_columns in cuts:
        out, right = target[own_rows, own_columns], weight[:, own_columns]
        left, products = in_pieces(source[own_rows], right, out, max(LEAST_ROWS, rows // 4))
        part: list[Callable[[], object]] = [partial(np.matmul, left, right, out=products)]
        if layer.bias is not None:
            part.append(partial(np.add, out, layer.bias.value[own_columns], out=out))
        parts.append(part)
    builder.add(*parts)


def _plan_skip(builder: Builder, layer: Skip, x: Stored, y: Stored) -> None:
    """Add y = body(x) + scale shortcut(x); a shortcut of scale 0 is cut."""
    main = _plan_layer(builder, layer.body, x, NO_MARGINS).values
    if not layer.in_forward or layer.scale == 0:
        return builder.add([partial(np.copyto, y.values, main)])
    beside = x.values if layer.shortcut is None else _plan_layer(builder, layer.shortcut, x, NO_MARGINS).values
    if layer.scale == 1:
        return builder.add([partial(np.add, main, beside, out=y.values)])
    scale, scaled = np.array(layer.scale, builder.dtype), builder.scratch("output0", beside.shape)
    return builder.add([partial(np.multiply, beside, scale, out=scaled), partial(np.add, main, scaled, out=y.values)])


_PLANNERS: dict[type[Layer], Callable[[Builder, Any, Stored, Stored], None]] = {
    FusedConv2D: _plan_convolution,
    FusedLinear: _plan_linear,
    GlobalAveragePool2D: plan_mean,
    MaxPool2D: plan_pool,
    MeanPool2D: plan_pool,
    ReLU: _plan_relu,
    Skip: _plan_skip,
}
