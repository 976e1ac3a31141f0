"""The side conditions of a backward pass: what it must leave alone, repeat, and add up."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from allconv.layers.base import Layer
from allconv.layers.signatures import output_and_cache
from allconv.layers.snapshot import Snapshot, arrays_in, clear_gradients
from allconv.typing import Array
from allconv.validation import describe

Finding = tuple[str, str, str]  # The pass, the condition, and what is wrong with it: "" means that it holds.
Gradients = dict[str, Array | None]


def findings(
    layer: Layer, x: Array, snapshot: Snapshot, rng: np.random.Generator, *, training: bool
) -> Iterator[Finding]:
    """Yield what the contract of `Layer` says about forward and backward beyond the gradient itself."""
    snapshot.restore()
    given, weights = x.copy(), _values(layer)
    y, cache = output_and_cache(layer, layer.forward(given, training=training))
    changed = [] if _same(given, x) else ["x"]
    changed += [name for name, value in _values(layer).items() if not _same(value, weights[name])]
    yield "forward", "leaves its arguments alone", _changed(changed)
    yield "forward", "keeps float64", "" if np.asarray(y).dtype == np.float64 else f"it returns {np.asarray(y).dtype}"
    snapshot.restore()
    again = layer.forward(x.copy(), training=training)[0]
    yield "forward", "repeats its bits", "" if _same(y, again) else "a second call with the same input differs"

    dy, seen, output = rng.standard_normal(y.shape), [array.copy() for array in arrays_in(cache)], y.copy()
    upstream = dy.copy()
    dx, gradients = _backward(layer, upstream, cache)
    yield "backward", "returns dL/dx", _dx_fault(dx, x)
    yield "backward", "adds gradients to what is trained", _gradient_fault(layer, gradients)
    after = list(arrays_in(cache))
    intact = len(seen) == len(after) and all(map(_same, seen, after))
    changed = [
        name for name, same in (("dy", _same(upstream, dy)), ("cache", intact), ("y", _same(y, output))) if not same
    ]
    yield "backward", "leaves its arguments alone", _changed(changed)
    if not intact or not isinstance(dx, np.ndarray):
        return
    first = dx.copy()
    # A layer that hid something of the cache in itself loses it here.
    layer.forward(1.01 * x, training=training)
    snapshot.restore()
    dx, second = _backward(layer, dy, cache)
    repeats = _same(first, dx) and all(_agree(gradients[name], second[name], 0.0) for name in gradients)
    yield "backward", "repeats its bits", "" if repeats else "a second call with the same cache differs"
    layer.backward(dy, cache)
    wrong = [n for n, g in second.items() if g is not None and not _agree(2 * g, _gradients(layer)[n], 1e-12)]
    yield "backward", "adds to gradients", f"two calls do not add up for {', '.join(wrong)}" if wrong else ""
    clear_gradients(layer)
    layer.backward_parameters(dy, cache)
    alone = _gradients(layer)
    wrong = [name for name in second if not _agree(second[name], alone[name], 1e-12)]
    yield "backward_parameters", "agrees with backward", f"it differs for {', '.join(wrong)}" if wrong else ""


def _dx_fault(dx: Any, x: Array) -> str:
    right = isinstance(dx, np.ndarray) and dx.shape == x.shape and dx.dtype == x.dtype
    return "" if right else f"dx must be an array of shape {x.shape} and dtype {x.dtype}, got {describe(dx)}"


def _gradient_fault(layer: Layer, gradients: Gradients) -> str:
    missing = [name for name, p in layer.named_parameters() if p.trainable and gradients[name] is None]
    extra = [name for name, p in layer.named_parameters() if not p.trainable and gradients[name] is not None]
    faults = [f"{', '.join(missing)} got none"] if missing else []
    faults += [f"{', '.join(extra)} got one, though not trained"] if extra else []
    return "; ".join(faults)


def _changed(names: list[str]) -> str:
    return f"it writes to {', '.join(names)}" if names else ""


def _values(layer: Layer) -> dict[str, Array]:
    return {name: p.value.copy() for name, p in layer.named_parameters() if p.trainable}


def _gradients(layer: Layer) -> Gradients:
    return {name: None if p.grad is None else p.grad.copy() for name, p in layer.named_parameters()}


def _backward(layer: Layer, dy: Array, cache: Any) -> tuple[Array, Gradients]:
    clear_gradients(layer)
    dx = layer.backward(dy, cache)
    return dx, _gradients(layer)


def _same(a: Array, b: Array) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")


def _agree(a: Array | None, b: Array | None, tolerance: float) -> bool:
    if a is None or b is None:
        return a is b
    return bool(np.max(np.abs(a - b)) <= tolerance * np.max(np.abs(a)))
