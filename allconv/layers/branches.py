"""Layers side by side."""

import functools
import itertools
from collections.abc import Iterable, Iterator
from textwrap import indent

import numpy as np

from allconv.layers.base import Layer
from allconv.layers.sequential import check_layers
from allconv.layers.shapes import check_shape, child_output_shape
from allconv.layers.signatures import output_and_cache
from allconv.parallel.pool import elementwise
from allconv.typing import Array, Cache
from allconv.validation import check_batch, check_bool, check_choice, check_gradient_shape


class Branches(Layer):
    r"""Layers that all take the same input, and whose outputs are joined along the channels or added up.

    .. math:: y = [f_1(x), \dots, f_n(x)] \qquad \text{or} \qquad y = f_1(x) + \dots + f_n(x)

    Parameters
    ----------
    *layers : Layer
        At least one. A layer may appear twice, and then shares its parameters.
    merge : {"concat", "sum"}, default "concat"
        Whether the outputs are joined along the last axis, that of the channels, or added.

    Attributes
    ----------
    layers : list of Layer
        The position is the layer's name in paths, as in a `Sequential`.

    Raises
    ------
    TypeError, ValueError
        If `layers` are none, or hold something that is no Layer, or `merge` is none of the two; from `forward` and
        `output_shape`, if the shapes of the outputs do not fit together.

    Notes
    -----
    Input ``(N, ...)``; the output has the shape of a branch's output, with the sum of all channels for "concat".
    Szegedy et al. (2015), Going deeper with convolutions, section 4, for "concat".

    Examples
    --------
    >>> from allconv import Conv2D, MaxPool2D
    >>> Branches(Conv2D(3, 8, 1), Conv2D(3, 4, 5), MaxPool2D(3, stride=1, padding="same")).output_shape((32, 32, 3))
    (32, 32, 15)
    """

    side_by_side = True

    def __init__(self, *layers: Layer, merge: str = "concat") -> None:
        self.layers = check_layers(layers, "Branches")
        self.merge = check_choice("merge", merge, ("concat", "sum"))

    def children(self) -> Iterator[tuple[str, Layer]]:
        """Yield (position, layer) pairs."""
        for index, layer in enumerate(self.layers):
            yield str(index), layer

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:
        """Return the merged outputs; the cache holds those of the layers, and what says how to divide dy."""
        x, training = check_batch("x", x), check_bool("training", training)
        passes = [output_and_cache(layer, layer.forward(x, training=training)) for layer in self.layers]
        outputs, caches = [y for y, _ in passes], [cache for _, cache in passes]
        y = self._merged(outputs)
        return y, (caches, [output.shape[-1] for output in outputs], y.shape, y.dtype)

    def backward(self, dy: Array, cache: Cache, *, release: bool = False) -> Array:
        r"""Return :math:`dL/dx = \sum_k J_k^\top dy_k`, where dy_k is layer k's share of dy: its channels, or all."""
        shares = self._shares(dy, cache, release)
        return _sum(layer.backward(share, own_cache, release=release) for layer, share, own_cache in shares)

    def backward_parameters(self, dy: Array, cache: Cache, *, release: bool = False) -> None:
        """Add the parameters' gradients of all layers."""
        for layer, share, own_cache in self._shares(dy, cache, release):
            layer.backward_parameters(share, own_cache, release=release)

    def _shares(self, dy: Array, cache: Cache, release: bool) -> Iterator[tuple[Layer, Array, Cache]]:
        """Yield each layer with its share of dy and its cache, which is forgotten after its use with `release`."""
        caches, widths, shape, dtype = cache
        dy = check_gradient_shape(dy, shape, dtype)
        caches = caches if check_bool("release", release) else list(caches)
        ends = list(itertools.accumulate(widths))
        for layer, end, width in zip(self.layers, ends, widths, strict=True):
            yield layer, dy[..., end - width : end] if self.merge == "concat" else dy, caches.pop(0)

    def __call__(self, x: Array) -> Array:
        """Return the merged outputs at inference."""
        x = check_batch("x", x)
        return self._merged([layer(x) for layer in self.layers])

    def _merged(self, outputs: list[Array]) -> Array:
        self._merged_shape([output.shape[1:] for output in outputs])
        if self.merge == "concat":
            return np.concatenate(outputs, axis=-1)
        return _sum(outputs)

    def _merged_shape(self, shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
        """Return the shape of the merged outputs, or raise ValueError; all shapes are without the batch axis."""
        if self.merge == "sum":
            if len(set(shapes)) > 1:
                raise ValueError(f"layers must have outputs of one shape to be added, got {shapes}")
            return shapes[0]
        if len({shape[:-1] for shape in shapes}) > 1 or () in shapes:
            raise ValueError(f"layers must have outputs that differ in the last axis alone, got {shapes}")
        return (*shapes[0][:-1], sum(shape[-1] for shape in shapes))

    def output_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the merged outputs, without the batch axis."""
        shape = check_shape(in_shape)
        return self._merged_shape([child_output_shape(name, layer, shape) for name, layer in self.children()])

    def multiply_adds(self, in_shape: tuple[int, ...]) -> int:
        """Return the sum over the layers."""
        self.output_shape(in_shape)
        return sum(layer.multiply_adds(in_shape) for layer in self.layers)

    def __repr__(self) -> str:
        body = ",\n".join(map(repr, self.layers))
        return f"Branches(\n{indent(body, '    ')},\n    merge={self.merge!r},\n)"


def _sum(arrays: Iterable[Array]) -> Array:
    return functools.reduce(_add, arrays)


def _add(a: Array, b: Array) -> Array:
    """Return the sum of arrays of one shape, in the dtype that NumPy promotes both to."""
    dtype = np.result_type(a.dtype, b.dtype)
    return elementwise(np.add, a.astype(dtype, copy=False), b.astype(dtype, copy=False))
