"""A model as a table: one line a layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from allconv.layers.intercept import rules_in_force
from allconv.layers.nesting import parameters_in
from allconv.layers.shapes import check_shape
from allconv.tables import align

if TYPE_CHECKING:
    from allconv.layers.base import Layer


@dataclass(frozen=True)
class LayerSummary:
    """One layer of a summary.

    Attributes
    ----------
    path, layer : str
        The layer's path in the model, and its constructor form.
    output_shape : tuple of int
        The shape of the output, without the batch axis.
    parameters : int
        The number of its parameters' elements.
    multiply_adds : int
        The multiply-adds of the forward pass of one example.
    """

    path: str
    layer: str
    output_shape: tuple[int, ...]
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Summary:
    """The rows of a model and their totals; ``str(summary)`` is the table.

    Attributes
    ----------
    rows : tuple of LayerSummary
        One for each layer that computes, in forward order.
    parameters, trainable : int
        The number of elements of all parameters, and of those that are trained.
    multiply_adds : int
        The multiply-adds of the forward pass of one example.
    rules : dict of str to str
        The names of the backward rules in force, by the path of the layer.
    """

    rows: tuple[LayerSummary, ...]
    parameters: int
    trainable: int
    multiply_adds: int
    rules: dict[str, str]

    def __str__(self) -> str:
        cells = [("path", "layer", "output shape", "parameters", "multiply-adds")]
        cells += [
            (row.path, row.layer, str(row.output_shape), f"{row.parameters:,}", f"{row.multiply_adds:,}")
            for row in self.rows
        ]
        cells.append(("", "total", "", f"{self.parameters:,}", f"{self.multiply_adds:,}"))
        frozen = self.parameters - self.trainable
        notes = [f"{frozen:,} of the parameters are not trained"] if frozen else []
        notes += [f"backward of {path or 'the model'} follows the rule {name}" for path, name in self.rules.items()]
        return "\n".join([*align(cells, right={3, 4}, total=True), *notes])

    __repr__ = __str__


def summarize(model: Layer, input_shape: tuple[int, ...]) -> Summary:
    """Return the summary of `model` for one example, as `Layer.summary` has it.

    Parameters
    ----------
    model : Layer
        Any layer.
    input_shape : tuple of int
        The shape of one example, without the batch axis.

    Returns
    -------
    Summary
        Layers that hold others in a row or side by side are listed by what they hold.

    Raises
    ------
    TypeError, ValueError
        If `input_shape` is no shape, or does not fit the model.
    """
    shape = check_shape(input_shape, "input_shape")
    model.output_shape(shape)  # A shape that does not fit ends here, with the layer's own message and its path.
    parameters = model.parameters()
    return Summary(
        tuple(_rows(model, "", shape)),
        sum(p.value.size for p in parameters),
        sum(p.value.size for p in parameters if p.trainable),
        model.multiply_adds(shape),
        rules_in_force(model),
    )


def _rows(layer: Layer, path: str, shape: tuple[int, ...]) -> list[LayerSummary]:
    """Return the rows of what the layer holds, if it holds layers in a row or side by side, or else its own."""
    out_shape = layer.output_shape(shape)
    own = LayerSummary(
        path, repr(layer), out_shape, sum(p.value.size for p in parameters_in(layer)), layer.multiply_adds(shape)
    )
    if any(leaf is layer for _, leaf in layer.leaves()):
        return [own]
    children = children_with_shapes(layer, shape)
    if children is None:
        return [own]
    rows = []
    for name, child, in_shape in children:
        rows += _rows(child, f"{path}.{name}" if path else name, in_shape)
    if layer.side_by_side and rows[-1].output_shape != out_shape:
        rows.append(LayerSummary(path, type(layer).__name__, out_shape, 0, 0))  # where the outputs are joined
    return rows


def children_with_shapes(layer: Layer, in_shape: tuple[int, ...]) -> list[tuple[str, Layer, tuple[int, ...]]] | None:
    """Return the layers that a layer holds in a row or side by side, each with the shape of its input.

    Parameters
    ----------
    layer : Layer
        Any layer.
    in_shape : tuple of int
        The shape of one example.

    Returns
    -------
    list of (str, Layer, tuple of int), or None
        None where the shapes do not fit so: the layer then calls what it holds in another way.
    """
    children, shape = [], in_shape
    try:
        for name, child in layer.children():
            children.append((name, child, shape))
            out_shape = child.output_shape(shape)
            shape = shape if layer.side_by_side else out_shape
    except (TypeError, ValueError):
        return None
    return children if layer.side_by_side or shape == layer.output_shape(in_shape) else None
