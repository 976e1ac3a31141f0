"""Layers in a row."""

from collections.abc import Iterator, Sequence
from textwrap import indent
from typing import overload

from allconv.layers.base import Layer
from allconv.layers.joining import in_backward_order, in_forward_order
from allconv.layers.shapes import check_shape, child_output_shape
from allconv.layers.signatures import output_and_cache
from allconv.typing import Array, Cache
from allconv.validation import check_batch, check_bool, describe, is_int


class Sequential(Layer):
    r"""Layers applied one after the other.

    .. math:: y = f_n(\dots f_2(f_1(x)))

    Parameters
    ----------
    *layers : Layer
        At least one; a layer may appear twice, and then shares its parameters.

    Attributes
    ----------
    layers : list of Layer
        The position is the layer's name in paths: ``3.body.0.weight``.

    Raises
    ------
    TypeError, ValueError
        If `layers` are none, or hold something that is no Layer; from the two passes, what the layers raise.

    Notes
    -----
    In both passes an activation such as `ReLU` is computed together with a convolution, BatchNorm, pool or `Skip`
    beside it, block by block, which spares a pass over memory. The results are the same bits. A layer that is observed
    is called alone.

    ``model[2]`` is a layer, and ``model[2:5]`` is a new Sequential that shares its layers with this one. The positions
    in a slice start at 0, so the parameter ``2.weight`` of the model has the name ``0.weight`` there.

    ``model[2] = layer`` replaces a layer, and the new one's parameters get the names of that position. `append` gives a
    layer the next position. Neither changes the name of any other parameter. An optimizer keeps the parameters that it
    was made with, so make a new one afterwards.

    Examples
    --------
    >>> from allconv import Linear, ReLU
    >>> model = Sequential(Linear(4, 8), ReLU(), Linear(8, 2))
    >>> model(np.ones((5, 4))).shape
    (5, 2)
    >>> model[:-1](np.ones((5, 4))).shape
    (5, 8)
    >>> model[2] = Linear(8, 3)
    >>> model(np.ones((5, 4))).shape
    (5, 3)
    """

    def __init__(self, *layers: Layer) -> None:
        self.layers = check_layers(layers, type(self).__name__)

    def append(self, layer: Layer) -> None:
        """Add a layer at the end.

        Parameters
        ----------
        layer : Layer
            The layer, which gets the next position as its name.

        Raises
        ------
        TypeError
            If `layer` is no Layer.
        """
        self.layers += check_layers([layer], type(self).__name__)

    def children(self) -> Iterator[tuple[str, Layer]]:
        """Yield (position, layer) pairs."""
        for index, layer in enumerate(self.layers):
            yield str(index), layer

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:
        """Return the last layer's output and the list of all caches."""
        caches = []
        x, training = check_batch("x", x), check_bool("training", training)
        for layer, activation in in_forward_order(self.layers):
            if activation is None:
                x, cache = output_and_cache(layer, layer.forward(x, training=training))
                caches.append(cache)
            else:
                x, cache = layer.forward_with(x, activation, training=training)
                caches += [cache, x]
        return x, caches

    def backward(self, dy: Array, cache: Cache, *, release: bool = False) -> Array:
        r"""Return dL/dx by the chain rule, last layer first: :math:`dy_{k-1} = J_k^\top dy_k`.

        With `release` the list is emptied on the way, so that each cache is freed as soon as it was used.
        """
        return _backward(self.layers, dy, self._caches_of(cache, release=release), release=release)

    def backward_parameters(self, dy: Array, cache: Cache, *, release: bool = False) -> None:
        """Add the parameters' gradients, and go no further down than the first layer that trains any."""
        caches = self._caches_of(cache, release=release)
        first = next((k for k, layer in enumerate(self.layers) if layer.is_trainable()), None)
        if first is not None:
            dy = _backward(self.layers[first + 1 :], dy, caches, release=release)
            self.layers[first].backward_parameters(dy, caches.pop(), release=release)

    def _caches_of(self, cache: Cache, *, release: bool) -> list[Cache]:
        """Return the list of `forward` with `release`, else a copy; it must hold a cache for each layer."""
        rule = f"cache must be the list that forward returned, a cache for each of {len(self.layers)} layers"
        if not isinstance(cache, list):
            raise TypeError(f"{rule}, got {describe(cache)}")
        if len(cache) != len(self.layers):
            raise ValueError(f"{rule}, got {len(cache)} caches; backward with release=True uses a cache up")
        return cache if check_bool("release", release) else list(cache)

    def __call__(self, x: Array) -> Array:
        """Return the last layer's output at inference; what lies between is freed on the way."""
        x = check_batch("x", x)
        for layer in self.layers:
            x = layer(x)
        return x

    def output_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the last layer's output shape, without the batch axis."""
        shape = check_shape(in_shape)
        for name, layer in self.children():
            shape = child_output_shape(name, layer, shape)
        return shape

    def multiply_adds(self, in_shape: tuple[int, ...]) -> int:
        """Return the sum over the layers."""
        total, shape = 0, check_shape(in_shape)
        for name, layer in self.children():
            out_shape = child_output_shape(name, layer, shape)  # first, since its errors have the path
            total += layer.multiply_adds(shape)
            shape = out_shape
        return total

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    @overload
    def __getitem__(self, index: int) -> Layer: ...

    @overload
    def __getitem__(self, index: slice) -> "Sequential": ...

    def __getitem__(self, index: int | slice) -> Layer:
        return Sequential(*self.layers[index]) if isinstance(index, slice) else self.layers[index]

    def __setitem__(self, index: int, layer: Layer) -> None:
        if not is_int(index):
            raise TypeError(f"index must be an int, since one layer replaces one layer, got {describe(index)}")
        (self.layers[index],) = check_layers([layer], type(self).__name__)

    def __repr__(self) -> str:
        body = ",\n".join(map(repr, self.layers))
        return f"Sequential(\n{indent(body, '    ')},\n)"


def _backward(layers: list[Layer], dy: Array, caches: list[Cache], *, release: bool) -> Array:
    """Return the gradient at the input of the first of the layers, and take their caches from the end of the list."""
    for layer, activation in in_backward_order(layers):
        cache = caches.pop()
        if activation is None:
            dy = layer.backward(dy, cache, release=release)
        else:
            dy = layer.backward_with(dy, cache, activation, caches.pop(), release=release)
    return dy


def check_layers(layers: Sequence[Layer], holder: str) -> list[Layer]:
    """Return the layers that a layer of the class `holder` is to hold, at least one, as a list."""
    if not layers:
        raise ValueError("layers must be at least one Layer, got none")
    for layer in layers:
        if not isinstance(layer, Layer):
            hint = f"; pass the layers themselves: {holder}(*layers)" if isinstance(layer, list | tuple) else ""
            raise TypeError(f"layers must be Layer objects, got {describe(layer)}{hint}")
    return list(layers)
