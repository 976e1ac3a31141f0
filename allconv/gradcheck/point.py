r"""A layer at one point: the scalar F = <g, layer(x)>, its gradient and its central differences.

g is a fixed random projection of the output, so that one backward pass gives the whole gradient of F. Along a
direction d of the input and the parameters, the derivative by differences and by backward are

.. math:: \frac{F(\theta + h d) - F(\theta - h d)}{2 h}, \qquad \langle \nabla F, d \rangle
"""

import math
from dataclasses import dataclass

import numpy as np

from allconv.layers.base import Layer
from allconv.layers.signatures import output_and_cache
from allconv.layers.snapshot import Snapshot, clear_gradients
from allconv.typing import Array, Cache

STEPS = (1e-4, 1e-5, 1e-6)
"""The step sizes h of the central differences, from the largest to the smallest."""

# Errors are measured relative to at least this share of F's size. Rounding errors of F, about 1e-15 of its size, are
# less than 1e-7 of that share at h = 1e-4.
FLOOR = 1e-2

INPUT = ""
"""The key of the input, beside the parameters' paths, none of which is empty."""

Direction = dict[str, Array]


@dataclass(frozen=True)
class Difference:
    """What a central difference says about backward.

    Attributes
    ----------
    error : float
        The distance between the central difference and the derivative by backward, relative to their size.
    step : float
        The step h of the difference.
    curvature : float
        An upper bound for |left - right|, relative to the same size: the sum of the absolute second differences of the
        output, weighted by g. It is 0 for a straight line, O(h) for a smooth function, and O(1) at a kink.
    left, right : float
        The one-sided differences.
    analytic : float
        The derivative by backward.
    """

    error: float
    step: float
    curvature: float
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
        The checked layer. It is as before once the caller has restored `snapshot`.
    arrays : dict
        The input under `INPUT`, and the trainable parameters under their paths.
    snapshot : Snapshot
        What the passes may write to; restored before each forward pass.
    rng : numpy.random.Generator
        Draws g and the directions.
    training : bool
        The mode of the forward pass.
    upstream : array, optional
        g; drawn from `rng` by default.
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
        self.sizes = {key: element_sizes(array) for key, array in arrays.items()}
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
        return output_and_cache(self.layer, self.layer.forward(moved[INPUT], training=self.training))

    def _backward(self, cache: Cache) -> dict[str, Array]:
        """Return the gradients that backward gives, by the arrays' keys, without those that have another shape."""
        clear_gradients(self.layer)
        found = {INPUT: self.layer.backward(self.upstream.copy(), cache)}
        found |= {path: p.grad for path, p in self._parameters.items() if p.grad is not None}
        return {key: np.array(grad) for key, grad in found.items() if np.shape(grad) == self.arrays[key].shape}

    def direction(self, *keys: str) -> Direction:
        """Return a random direction along the arrays `keys`, each element scaled like the one that it moves.

        One whose terms cancel in <grad F, d> would hide errors: such a draw is thrown away.
        """
        for _ in range(20):
            d = {key: self.sizes[key] * self.rng.standard_normal(self.arrays[key].shape) for key in keys}
            if 2 * abs(self.slope(d)) >= self.typical_slope(d):
                break
        return d

    def slope(self, direction: Direction) -> float:
        """Return <grad F, d>, the derivative along d by backward."""
        return sum(float(np.vdot(self.gradients[key], d)) for key, d in direction.items())

    def typical_slope(self, direction: Direction) -> float:
        """Return the root mean square of <grad F, d'> over random d' with the norms of d, in units of the sizes."""
        return math.hypot(
            *(
                norm(self.gradients[key] * self.sizes[key]) * norm(d / self.sizes[key]) / math.sqrt(d.size)
                for key, d in direction.items()
            )
        )

    def difference(self, direction: Direction, steps: tuple[float, ...] = STEPS, enough: float = 0.0) -> Difference:
        """Return the central difference with the smallest error.

        The steps are tried in their order, until one has an error of at most `enough`.
        """
        best = None
        for h in steps:
            high, low = self.forward(direction, h)[0], self.forward(direction, -h)[0]
            with np.errstate(all="ignore"):  # what is not finite shows up as an infinite error
                forward_difference, backward_difference = (high - self.y) / h, (self.y - low) / h
                bent = np.abs(self.upstream * (forward_difference - backward_difference))
                curvature = float(np.sum(bent)) / 2
            now = self._judge(direction, forward_difference, backward_difference, h, curvature)
            best = now if best is None or now.error < best.error else best
            if best.error <= enough:
                break
        assert best is not None  # noqa: S101 - steps is never empty
        return best

    def adjoint(self, direction: Direction) -> Difference | None:
        """Compare <g, J d> with <J^T g, d> without a small step.

        Returns None where F is not affine along the direction. A power of 2 as the step adds no rounding error.
        """
        t = 1 / 64
        with np.errstate(all="ignore"):
            near = (self.forward(direction, t)[0] - self.y) / t
            far = (self.y - self.forward(direction, -2 * t)[0]) / (2 * t)
            if not norm(near - far) <= 1e-11 * (norm(self.y) + norm(near)):
                return None
        return self._judge(direction, near, far, t, 0.0)

    def _judge(
        self, direction: Direction, forward_difference: Array, backward_difference: Array, h: float, curvature: float
    ) -> Difference:
        analytic = self.slope(direction)
        with np.errstate(all="ignore"):
            right = float(np.vdot(self.upstream, forward_difference))
            left = float(np.vdot(self.upstream, backward_difference))
            numeric = (left + right) / 2
            # Three measures of size: the two values; the norm of the terms, for a direction in which they cancel; and a
            # share of F, because differences have rounding errors of F's size even where the gradient is 0.
            share = FLOOR * norm(self.upstream * self.y)
            size = max(abs(numeric), abs(analytic), self.typical_slope(direction), share) or 1.0
        error = abs(numeric - analytic) / size
        return Difference(error if math.isfinite(error) else math.inf, h, curvature / size, left, right, analytic)

    def beside(self, k: int) -> "Point":
        """Return the k-th of some points nearby, a thousandth of each element's size away, maybe without a kink."""
        while len(self._beside) <= k:
            moved = {
                key: a + 1e-3 * self.sizes[key] * self.rng.standard_normal(a.shape) for key, a in self.arrays.items()
            }
            self._beside.append(
                Point(self.layer, moved, self.snapshot, self.rng, training=self.training, upstream=self.upstream)
            )
        return self._beside[k]


def size_of(array: Array) -> float:
    """Return the root mean square of the elements, and 1 for an array of zeros."""
    return norm(array) / math.sqrt(array.size) or 1.0


def element_sizes(array: Array) -> Array:
    """Return the absolute value of each element, and for a small element the common size in the array.

    The common size is the median, which an outlier does not move. Where most elements are near 0, the median is too.
    The common size is then the root mean square, but at most 1.
    """
    sizes = np.abs(array)
    return np.maximum(sizes, max(float(np.median(sizes)), min(1.0, size_of(array))))


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
