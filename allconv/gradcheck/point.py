r"""A layer at one point: the scalar F = <g, layer(x)>, its gradient, its central differences and its kinks.

g is a fixed random projection of the output, so that one backward pass gives the whole gradient of F. Along a
direction d of the input and the parameters, the derivative by differences and by backward are

.. math:: \frac{F(\theta + h d) - F(\theta - h d)}{2 h}, \qquad \langle \nabla F, d \rangle
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from allconv.layers.base import Layer
from allconv.parameter import Parameter
from allconv.typing import Array, Cache

STEPS = (1e-4, 1e-5, 1e-6)
FLOOR = 1e-2  # of F's size; rounding in F, some 1e-15 of it, stays under 1e-7 of this at h = 1e-4
INPUT = ""  # the input's key beside the parameters' paths, none of which is empty

Direction = dict[str, Array]
Trace = list[tuple[str, Layer, Array, Array]]


class Snapshot:
    """Everything that a forward or backward pass may write to, as it was when this was made."""

    def __init__(self, layer: Layer) -> None:
        names = {id(p): p.name for inner in layer.walk() for p in vars(inner).values() if isinstance(p, Parameter)}
        self._parameters = [(p, names[id(p)], p.value.copy(), p.grad) for p in layer.parameters()]
        self._states = [(inner, copy.deepcopy(inner.state())) for inner in layer.walk() if inner.state()]

    def restore(self) -> None:
        """Put all of it back, to the bit."""
        for parameter, name, value, grad in self._parameters:
            parameter.name, parameter.value, parameter.grad = name, value, grad
        for inner, state in self._states:
            inner.load_state(copy.deepcopy(state))


@dataclass(frozen=True)
class Difference:
    """What a central difference with `step` says about backward; `left` and `right` are the one-sided differences.

    `error` and `bend` are relative to the same size. `bend` bounds what |left - right| could be if no two terms
    cancelled: 0 for a straight line, O(h) for a smooth function, O(1) at a kink.
    """

    error: float
    step: float
    bend: float
    left: float
    right: float
    analytic: float

    @property
    def numeric(self) -> float:
        """The central difference."""
        return (self.left + self.right) / 2


class Point:
    """The scalar F of a layer at one value of the input and the trainable parameters.

    Parameters
    ----------
    layer : Layer
        Left as it is found if the caller restores `snapshot` at the end.
    arrays : dict
        The input under `INPUT`, and the trainable parameters under their paths.
    upstream : array or None
        g; drawn from `rng` for None.
    """

    def __init__(
        self,
        layer: Layer,
        arrays: dict[str, Array],
        snapshot: Snapshot,
        rng: np.random.Generator,
        *,
        training: bool,
        upstream: Array | None = None,
    ) -> None:
        self.layer, self.arrays, self.snapshot, self.rng, self.training = layer, arrays, snapshot, rng, training
        self._parameters = {path: p for path, p in layer.named_parameters() if p.trainable}
        self._beside: list[Point] = []
        self.y, cache = self.forward()
        self.upstream = rng.standard_normal(self.y.shape) if upstream is None else upstream
        self.gradients = self._backward(cache)

    def forward(self, direction: Direction | None = None, t: float = 0.0) -> tuple[Array, Cache]:
        """Return the output and the cache at theta + t d; states and running statistics start afresh every time."""
        self.snapshot.restore()
        moved = {
            key: array + t * direction[key] if direction and key in direction else array.copy()
            for key, array in self.arrays.items()
        }
        for path, parameter in self._parameters.items():
            parameter.value = moved[path]
        return self.layer.forward(moved[INPUT], training=self.training)

    def _backward(self, cache: Cache) -> dict[str, Array]:
        """Return the gradients that backward gives, by the arrays' keys; what is missing or misshapen stays out."""
        for parameter in self.layer.parameters():
            parameter.grad = None
        found = {INPUT: self.layer.backward(self.upstream.copy(), cache)}
        found |= {path: p.grad for path, p in self._parameters.items() if p.grad is not None}
        return {key: np.array(grad) for key, grad in found.items() if np.shape(grad) == self.arrays[key].shape}

    def direction(self, *keys: str) -> Direction:
        """Return a random direction along the arrays `keys`, each part scaled like its array.

        One whose terms cancel in <grad F, d> would hide errors: such a draw is thrown away.
        """
        for _ in range(20):
            d = {key: size_of(self.arrays[key]) * self.rng.standard_normal(self.arrays[key].shape) for key in keys}
            if 2 * abs(self.slope(d)) >= self.typical_slope(d):
                break
        return d

    def slope(self, direction: Direction) -> float:
        """Return <grad F, d>, the derivative along d by backward."""
        return sum(float(np.vdot(self.gradients[key], d)) for key, d in direction.items())

    def typical_slope(self, direction: Direction) -> float:
        """Return the norm of the terms of <grad F, d>, as a random direction of the length of d has it on average."""
        return math.hypot(*(norm(self.gradients[key]) * norm(d) / math.sqrt(d.size) for key, d in direction.items()))

    def difference(self, direction: Direction, steps: tuple[float, ...] = STEPS, enough: float = 0.0) -> Difference:
        """Return the central difference of the best of `steps`; the first with an error up to `enough` will do."""
        best = None
        for h in steps:
            high, low = self.forward(direction, h)[0], self.forward(direction, -h)[0]
            with np.errstate(all="ignore"):  # what is not finite shows up as an infinite error
                rise, fall = (high - self.y) / h, (self.y - low) / h
                bend = float(np.sum(np.abs(self.upstream * (rise - fall)))) / 2
            now = self._judge(direction, rise, fall, h, bend)
            best = now if best is None or now.error < best.error else best
            if best.error <= enough:
                break
        assert best is not None  # noqa: S101 - steps is never empty
        return best

    def adjoint(self, direction: Direction) -> Difference | None:
        """Return <g, J d> against <J^T g, d> without a small step; None where F is not affine along the direction."""
        t = 1 / 64
        with np.errstate(all="ignore"):
            near = (self.forward(direction, t)[0] - self.y) / t
            far = (self.y - self.forward(direction, -2 * t)[0]) / (2 * t)
            if not norm(near - far) <= 1e-11 * (norm(self.y) + norm(near)):
                return None
        return self._judge(direction, near, far, t, 0.0)

    def _judge(self, direction: Direction, rise: Array, fall: Array, h: float, bend: float) -> Difference:
        analytic = self.slope(direction)
        with np.errstate(all="ignore"):
            right, left = float(np.vdot(self.upstream, rise)), float(np.vdot(self.upstream, fall))
            numeric = (left + right) / 2
            # Three measures of size: the two values; the norm of the terms, for the direction in which they cancel;
            # and a share of F, because differences have rounding errors of F's size even where the gradient is 0.
            share = FLOOR * norm(self.upstream * self.y)
            size = max(abs(numeric), abs(analytic), self.typical_slope(direction), share)
        error = abs(numeric - analytic) / (size or 1.0)
        return Difference(error if math.isfinite(error) else math.inf, h, bend / (size or 1.0), left, right, analytic)

    def kink(self, direction: Direction) -> str | None:
        """Say where F has a kink within the smallest step along the direction; None where it is smooth.

        The place is the first layer, in the order in which outputs are finished, with an output whose slopes on the two
        sides differ by more than curvature does: by a share of the largest slope, not by one of the step.
        """
        h = STEPS[-1]
        traces = [self.trace(direction, t) for t in (-h, 0.0, h)]
        for (path, layer, _, low), (*_, middle), (*_, high) in zip(*traces, strict=True):
            with np.errstate(all="ignore"):
                bends = np.abs(high - 2 * middle + low) / h
                slope = float(np.max(np.abs(high - low))) / (2 * h)
            k = int(np.argmax(bends))
            if bends.flat[k] > 1e-4 * slope + 1e-7 * float(np.max(np.abs(middle))):
                index = ", ".join(map(str, np.unravel_index(k, bends.shape)))
                return f"{path} {type(layer).__name__} output [{index}]".strip()
        return None

    def trace(self, direction: Direction | None = None, t: float = 0.0) -> Trace:
        """Return (path, layer, input, output) of every layer that took part, in the order in which they finished."""
        calls: Trace = []

        def traced(path: str, layer: Layer, forward: Callable[..., tuple[Array, Cache]]) -> Callable[..., object]:
            def call(x: Array, *, training: bool = False) -> tuple[Array, Cache]:
                y, cache = forward(x, training=training)
                calls.append((path, layer, x, y))
                return y, cache

            return call

        layers = list(self.layer.named_layers())
        before = [vars(layer).get("forward") for _, layer in layers]
        try:
            for path, layer in layers:
                vars(layer)["forward"] = traced(path, layer, layer.forward)
            self.forward(direction, t)
        finally:
            for (_, layer), forward in zip(layers, before, strict=True):
                del vars(layer)["forward"]
                if forward is not None:
                    vars(layer)["forward"] = forward
        return calls

    def beside(self, k: int) -> "Point":
        """Return the k-th point a little away, a thousandth of each array's size: off any kink that is exactly here."""
        while len(self._beside) <= k:
            moved = {key: a + 1e-3 * size_of(a) * self.rng.standard_normal(a.shape) for key, a in self.arrays.items()}
            self._beside.append(
                Point(self.layer, moved, self.snapshot, self.rng, training=self.training, upstream=self.upstream)
            )
        return self._beside[k]


def size_of(array: Array) -> float:
    """Return the root mean square of the elements, and 1 for an array of zeros."""
    return norm(array) / math.sqrt(array.size) or 1.0


def norm(array: Array) -> float:
    """Return the Euclidean norm over all elements."""
    return float(np.linalg.norm(array.ravel()))


def cosine_and_ratio(a: Array, b: Array) -> tuple[float, float]:
    """Return the cosine between two gradients, and the norm of b over that of a; NaN where one of them is 0."""
    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    sizes = norm(a), norm(b)
    if 0 in sizes:
        return math.nan, 0.0 if sizes[0] else math.nan
    return max(-1.0, min(1.0, float(np.vdot(a / sizes[0], b / sizes[1])))), sizes[1] / sizes[0]
