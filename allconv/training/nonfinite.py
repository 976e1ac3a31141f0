"""Name the first value that is not finite: its layer, its pass."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from allconv.layers.base import Layer
from allconv.typing import Array, Cache


class NonFiniteError(FloatingPointError):
    """A NaN or an infinity in training; the message names the layer and the pass."""


def check_finite_array(what: str, array: Array | float) -> None:
    """Raise NonFiniteError, naming `what`, unless every value of `array` is finite."""
    if not np.all(np.isfinite(array)):
        bad = np.count_nonzero(~np.isfinite(array))
        raise NonFiniteError(f"{what} must be finite, got {bad} of {np.size(array)} values NaN or infinite")


@contextmanager
def checked_layers(model: Layer, where: str) -> Iterator[None]:
    """While open, each layer's output and dL/dx are checked; the error names layer, pass and `where`."""
    wrapped: list[tuple[Layer, str, Any]] = []

    def wrap(path: str, layer: Layer) -> None:
        forward, backward, name = layer.forward, layer.backward, f"layer {path or '(the model)'}: {layer!r}"

        def checked_forward(x: Array, *, training: bool = False) -> tuple[Array, Cache]:
            y, cache = forward(x, training=training)
            check_finite_array(f"{name}, forward pass, {where}: the output", y)
            return y, cache

        def checked_backward(dy: Array, cache: Cache) -> Array:
            dx = backward(dy, cache)
            check_finite_array(f"{name}, backward pass, {where}: the gradient", dx)
            return dx

        for attribute, function in (("forward", checked_forward), ("backward", checked_backward)):
            wrapped.append((layer, attribute, vars(layer).get(attribute)))
            setattr(layer, attribute, function)

    for path, layer in model.named_layers():
        if not layer.composite:
            wrap(path, layer)
    try:
        yield
    finally:
        for layer, attribute, before in reversed(wrapped):
            delattr(layer, attribute)
            if before is not None:
                setattr(layer, attribute, before)
