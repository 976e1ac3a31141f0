"""The plans of a fused copy: which there are, and when one serves."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from allconv.layers.base import Layer
from allconv.models.planning.builder import PlanTooLargeError
from allconv.models.planning.layers import plan_layers
from allconv.models.planning.plan import Plan
from allconv.parallel.buffers import Shelf
from allconv.typing import Array
from allconv.validation import check_floating

# Bounds the plans that wait for their next use, as a number.
_MOST_WAITING = 8

# Bounds the shapes that are remembered as too large for a plan, as a number.
_MOST_TOO_LARGE = 256


class Plans:
    """The plans of layers in a row: one or more for each small shape that was predicted lately.

    A thread takes a plan and has it alone. Where none waits, as for a handler that interrupts a prediction, it builds
    another one. The parameters of a fused copy are frozen. So a plan stays right until a layer gets another setting, or
    is observed, which changes its attributes.

    Parameters
    ----------
    layers : list of Layer
        The layers of a fused copy.
    """

    def __init__(self, layers: list[Layer]) -> None:
        self._layers = layers
        self._first_layers = list(layers)
        walked = [inner for layer in layers for inner in layer.walk()]
        self._attributes = [(vars(layer), _snapshot(layer)) for layer in walked]
        self._dtype = _dtype_of(walked)
        self._waiting: Shelf[Plan] = Shelf(_MOST_WAITING)
        self._too_large: dict[tuple[int, ...], None] = {}

    def predict(self, x: Array) -> Array | None:
        """Return the output for a batch, or None where no plan serves."""
        shape = x.shape
        if self._dtype is None or shape in self._too_large or self._have_changed():
            return None
        plan = self._waiting.take(shape) or self._new(shape, self._dtype)
        if plan is None:
            return None
        try:
            return plan(check_floating("x", x, self._dtype))
        finally:
            if plan.is_kept():
                self._waiting.put_back(shape, plan)

    def _have_changed(self) -> bool:
        return self._layers != self._first_layers or any(now != before for now, before in self._attributes)

    def _new(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Plan | None:
        """Return a new plan; None for a shape that is too large, or that the layers themselves shall refuse."""
        try:
            in_shape = shape[1:]
            for layer in self._first_layers:
                in_shape = layer.output_shape(in_shape)
        except (TypeError, ValueError):
            return None
        try:
            return plan_layers(self._first_layers, shape, dtype)
        except PlanTooLargeError:
            self._too_large[shape] = None
            for oldest in list(self._too_large)[:-_MOST_TOO_LARGE]:
                self._too_large.pop(oldest, None)
            return None


def _snapshot(layer: Layer) -> dict[str, Any]:
    """Return a copy of a layer's attributes, and of the lists among them."""
    return {name: list(value) if isinstance(value, list) else value for name, value in vars(layer).items()}


def _dtype_of(layers: Sequence[Layer]) -> np.dtype[Any] | None:
    """Return the dtype of all parameters; None where they differ, or a layer is not the library's own."""
    kinds = {parameter.value.dtype for layer in layers for parameter in layer.parameters()}
    own = all(type(layer).__module__.startswith("allconv.") for layer in layers)
    return kinds.pop() if own and len(kinds) == 1 else None
