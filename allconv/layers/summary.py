"""A model as a table: one line a layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from allconv.rules import active_rules
from allconv.validation import check_int, describe

if TYPE_CHECKING:
    from allconv.layers.base import Layer


@dataclass(frozen=True)
class Row:
    """One layer: its path, constructor form, output shape (without the batch), parameters and multiply-adds."""

    path: str
    layer: str
    output_shape: tuple[int, ...]
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Summary:
    """The rows of a model and their totals; ``str(summary)`` is the table.

    `rules` names the backward rules that are in force, by path.
    """

    rows: tuple[Row, ...]
    parameters: int
    trainable: int
    multiply_adds: int
    rules: dict[str, str]

    def __str__(self) -> str:
        table = [("path", "layer", "output shape", "parameters", "multiply-adds")]
        table += [
            (row.path, row.layer, str(row.output_shape), f"{row.parameters:,}", f"{row.multiply_adds:,}")
            for row in self.rows
        ]
        table.append(("", "total", "", f"{self.parameters:,}", f"{self.multiply_adds:,}"))
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = []
        for cells in table:
            left = [cell.ljust(width) for cell, width in zip(cells[:3], widths[:3], strict=True)]
            right = [cell.rjust(width) for cell, width in zip(cells[3:], widths[3:], strict=True)]
            lines.append("  ".join(left + right).rstrip())
        rule = "-" * max(map(len, lines))
        frozen = self.parameters - self.trainable
        notes = [f"{frozen:,} of the parameters are not trained"] if frozen else []
        notes += [f"backward of {path or 'the model'} follows the rule {name}" for path, name in self.rules.items()]
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1], *notes])

    __repr__ = __str__


def summarize(model: Layer, input_shape: tuple[int, ...]) -> Summary:
    """Return the summary of `model` for one example of `input_shape`; containers are listed by what they hold."""
    if not isinstance(input_shape, tuple | list):
        raise TypeError(f"input_shape must be a tuple of positive ints, got {describe(input_shape)}")
    shape = tuple(check_int("input_shape", size) for size in input_shape)
    rows: list[Row] = []
    _add_rows(model, "", shape, rows)
    parameters = model.parameters()
    return Summary(
        tuple(rows),
        sum(p.value.size for p in parameters),
        sum(p.value.size for p in parameters if p.trainable),
        model.multiply_adds(shape),
        active_rules(model),
    )


def _add_rows(layer: Layer, path: str, shape: tuple[int, ...], rows: list[Row]) -> None:
    children = list(layer.children())
    if not layer.composite:
        count = sum(p.value.size for p in layer.parameters())
        rows.append(Row(path, repr(layer), layer.output_shape(shape), count, layer.multiply_adds(shape)))
        return
    for name, child in children:
        _add_rows(child, f"{path}.{name}" if path else name, shape, rows)
        shape = child.output_shape(shape)
