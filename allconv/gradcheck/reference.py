"""What a layer computes at one point: the arrays that a student's functions are compared with."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from allconv.gradcheck.point import norm, size_of
from allconv.layers.base import Layer
from allconv.layers.signatures import output_and_cache
from allconv.layers.snapshot import unchanged
from allconv.parameter import Parameter
from allconv.typing import Array

# Bounds the distance between two arrays that count as the same, as a share of the norm of the right one.
SAME = 1e-8
SAME_FLOAT32 = 1e-4

# The numbers of examples, and the sizes of images, from which the point is drawn. They differ from each other, so that
# an exchange of two axes shows.
_EXAMPLES = (3, 5, 7)
_HEIGHT, _WIDTH = 7, 6
_CHANNELS = 4


@dataclass(frozen=True)
class Reference:
    """A layer in float64 at one point, and its output and gradients there.

    Attributes
    ----------
    layer : Layer
        The layer, with parameters of float64.
    x, dy : array of float64
        The input, and the gradient at the output.
    training : bool
        The mode of the forward pass.
    """

    layer: Layer
    x: Array
    dy: Array
    training: bool

    @cached_property
    def arrays(self) -> dict[str, Array]:
        """The output "y", the gradient "dx", and the gradient of each parameter under its path."""
        return self.run(self.layer, self.dy)

    @cached_property
    def values(self) -> dict[str, Array]:
        """The value of each parameter that is trained, under its path."""
        return {name: p.value for name, p in self.layer.named_parameters() if p.trainable}

    def run(self, layer: Layer, dy: Array) -> dict[str, Array]:
        """Return the arrays of another layer, or for another gradient at the output."""
        with unchanged(layer):
            y, cache = output_and_cache(layer, layer.forward(self.x.copy(), training=self.training))
            if y.shape != dy.shape:
                return {"y": y}
            found = {"y": np.array(y), "dx": np.array(layer.backward(dy.copy(), cache))}
            return found | {n: p.grad.copy() for n, p in layer.named_parameters() if p.trainable and p.grad is not None}

    def for_part_of_dy(self, kept: Array) -> dict[str, Array]:
        """Return the arrays for a part of the gradient at the output: where `kept` is 1, and not where it is 0."""
        return self.run(self.layer, self.dy * kept)


def same(yours: Array, right: Array) -> bool:
    """Tell whether two arrays have one shape, and the same numbers up to rounding."""
    if yours.shape != right.shape:
        return False
    tolerance = SAME_FLOAT32 if yours.dtype.itemsize < 8 else SAME
    return bool(norm(yours - right) <= tolerance * norm(right))


def distance(yours: Array, right: Array) -> float:
    """Return the norm of the difference, relative to the norm of the right array."""
    return norm(yours - right) / (norm(right) or 1.0)


def reference_of(like: Layer, x: Array | None, rng: np.random.Generator, *, training: bool) -> Reference:
    """Return a copy of `like` in float64 at a point; what is not given is drawn.

    Trained parameters get new values, because a mistake with a bias of zeros or a scale of ones would not show.
    """
    layer = copy.deepcopy(like)
    for part in layer.walk():
        for name, p in list(vars(part).items()):
            if isinstance(p, Parameter):
                value = p.value.astype(np.float64)
                if p.trainable:
                    value = size_of(value) * rng.standard_normal(value.shape)
                setattr(part, name, Parameter(value, trainable=p.trainable, decay=p.decay))
    if x is None:
        x = rng.standard_normal(_shape_for(layer))
    with unchanged(layer):
        y = layer.forward(x.copy(), training=training)[0]
    return Reference(layer, x, rng.standard_normal(y.shape), training)


def _shape_for(layer: Layer) -> tuple[int, ...]:
    """Return the shape of a batch that the layer takes, with another number of examples than its other sizes."""
    sizes = [size for p in layer.parameters() for size in p.value.shape]
    examples = next((n for n in _EXAMPLES if n not in sizes), _EXAMPLES[0])
    for part in layer.walk():
        if hasattr(part, "in_features"):
            return examples, part.in_features
        if hasattr(part, "axis"):  # A softmax takes scores of examples.
            return examples, _CHANNELS
        channels = getattr(part, "in_channels", getattr(part, "channels", None))
        if channels is not None:
            return examples, _HEIGHT, _WIDTH, channels
    return examples, _HEIGHT, _WIDTH, _CHANNELS


def axis_names(name: str, array: Array) -> list[str]:
    """Return a name in words for each axis of the output, of dx, or of a parameter's gradient."""
    if name in ("y", "dx"):
        return {4: ["N", "H", "W", "C"], 2: ["N", "features"]}.get(array.ndim, _counted(array))
    if array.ndim == 4:
        return ["kernel height", "kernel width", "input channels", "output channels"]
    return ["inputs", "outputs"] if array.ndim == 2 else _counted(array)


def _counted(array: Array) -> list[str]:
    return [str(axis) for axis in range(array.ndim)]


def sizes_of(reference: Reference) -> Iterator[tuple[str, int]]:
    """Yield the sizes by which a sum or a mean may be off, each with its name."""
    x, dy = reference.x.shape, reference.dy.shape
    yield "the number of examples N", x[0]
    if len(x) == 4:
        yield "the number of positions H * W", x[1] * x[2]
        yield "the number of all positions N * H * W", prod(x[:3])
    if len(dy) == 4:
        yield "the number of output positions", dy[1] * dy[2]
        yield "the number of all output positions", prod(dy[:3])
    kernel = getattr(reference.layer, "kernel_size", None)
    if kernel is not None:
        yield "the size of the window", prod(kernel)
    yield "the number of channels", x[-1]
    yield "the size of an example", prod(x[1:])
