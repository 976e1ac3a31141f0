"""The contract of a layer."""

from collections.abc import Iterator, Mapping
from typing import Any

from allconv.layers.intercept import unobserved_attributes
from allconv.layers.shapes import check_shape
from allconv.layers.signatures import accept_release, let_backward_take_release, output_and_cache
from allconv.layers.summary import Summary, summarize
from allconv.parameter import Parameter
from allconv.typing import Array, Cache


class Layer:
    """A differentiable function with a forward pass and a hand-derived backward pass.

    The contract, which `tests/test_contract.py` checks for every public layer:

    1. ``y, cache = layer.forward(x, training=...)`` computes the output and what backward needs.
       It writes neither to `x` nor to anything but the cache (BatchNorm's running statistics and
       Dropout's generator excepted, both under ``training=True`` only).
    2. ``dx = layer.backward(dy, cache)`` returns dL/dx for dy = dL/dy, and adds the gradients of the
       trainable parameters to them. It changes neither `dy` nor `cache`: the same cache may be used again.
       The cache may hold `x` and `y` themselves, so their values must stay as they are until backward has run.
    3. ``layer(x)`` is inference; it keeps nothing.
    4. Arrays are (N, H, W, C). A layer with parameters computes in their dtype; one without keeps the input's.
    5. An attribute that is a `Parameter` or a `Layer` belongs to the layer; its path is the attribute's name. A layer
       that keeps others in a list, tuple or dict overrides `children`.

    To write one's own, subclass and define `forward` and `backward`, and `output_shape` unless the shape is kept.

    A caller that needs a cache only once says ``backward(dy, cache, release=True)``. A layer made of other layers takes
    the argument, hands it to theirs, and drops each of their caches after its use. Every other layer may leave it out
    of its signature, as ``backward(self, dy, cache)``, and still be called with it.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        """Let the class's backward methods be called with ``release=``, whether they are written with it or not."""
        super().__init_subclass__(**options)
        let_backward_take_release(cls)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy or a pickle of the layer consists of; observers stay with the layer itself."""
        return unobserved_attributes(self)

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:
        """Return the output for the batch `x`, and a cache for `backward`."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    @accept_release
    def backward(self, dy: Array, cache: Cache, *, release: bool = False) -> Array:
        """Return dL/dx from ``dy`` = dL/dy, and add the gradients of the trainable parameters.

        With `release` the cache is used for the last time, and the layer may free its parts on the way.
        """
        raise NotImplementedError(f"{type(self).__name__} must define backward")

    @accept_release
    def backward_parameters(self, dy: Array, cache: Cache, *, release: bool = False) -> None:
        """Add the parameters' gradients alone: what a model's first layer needs, whose dL/dx nobody reads."""
        if self.is_trainable():
            self.backward(dy, cache, release=release)

    def __call__(self, x: Array) -> Array:
        """Return the output for the batch `x` at inference."""
        return output_and_cache(self, self.forward(x))[0]

    def output_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the output's shape for an input of shape `in_shape`, both without the batch axis.

        Parameters
        ----------
        in_shape : tuple of int
            The shape of one example, such as ``(32, 32, 3)``.

        Returns
        -------
        tuple of int
            The shape of its output: `in_shape` itself, unless a layer defines another one.

        Raises
        ------
        TypeError, ValueError
            If `in_shape` is no shape, or one that the forward pass refuses. In a model the message has the path of the
            layer that refuses.
        """
        return check_shape(in_shape)

    def multiply_adds(self, in_shape: tuple[int, ...]) -> int:
        """Return the multiply-adds of the forward pass of one example; 0 where they do not count.

        Parameters
        ----------
        in_shape : tuple of int
            The shape of one example, such as ``(32, 32, 3)``.

        Returns
        -------
        int
            The number of products that are added up.

        Raises
        ------
        TypeError, ValueError
            As `output_shape` does.
        """
        self.output_shape(in_shape)
        return 0

    def summary(self, input_shape: tuple[int, ...]) -> Summary:
        """Return a table, which prints: each layer's output shape, parameters and multiply-adds an example.

        Parameters
        ----------
        input_shape : tuple of int
            The shape of one example, without the batch axis: ``(32, 32, 3)``.

        Returns
        -------
        Summary
            Layers that hold others in a row are listed by what they hold.

        Raises
        ------
        TypeError, ValueError
            If `input_shape` is no shape, or does not fit the layer.
        """
        return summarize(self, input_shape)

    def children(self) -> Iterator[tuple[str, "Layer"]]:
        """Yield (name, layer) for each layer that is an attribute of this one, in forward order."""
        for name, value in vars(self).items():
            if isinstance(value, Layer):
                yield name, value

    def leaves(self) -> Iterator[tuple[str, "Layer"]]:
        """Yield (path, layer) for each layer that computes, in forward order, and not for what only holds others.

        A layer computes if it has no `children`, or has parameters of its own. A layer that stands in several places is
        there once for each of them.
        """
        return _leaves(self, "")

    def named_layers(self) -> Iterator[tuple[str, "Layer"]]:
        """Yield (path, layer) for itself, at path "", and all nested ones, depth first; a shared layer once.

        Raises
        ------
        TypeError
            If a list, tuple or dict among a layer's attributes holds a layer that is not among those yielded.
        """
        found: dict[int, Layer] = {}
        yield from _named_layers(self, "", found)
        for layer in found.values():
            _check_registered(layer, Layer, found)

    def walk(self) -> Iterator["Layer"]:
        """Yield itself and all nested layers, depth first, in forward order."""
        for _, layer in self.named_layers():
            yield layer

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield (path, parameter) pairs, a shared parameter once; the path becomes the parameter's name.

        Raises
        ------
        TypeError
            If a list, tuple or dict among a layer's attributes holds a layer or a parameter that is not found so.
        """
        found: dict[int, Parameter] = {}
        layers = list(self.named_layers())
        for path, layer in layers:
            for name, value in vars(layer).items():
                if isinstance(value, Parameter) and id(value) not in found:
                    found[id(value)] = value
                    value.name = f"{path}.{name}" if path else name
                    yield value.name, value
        for _, layer in layers:
            _check_registered(layer, Parameter, found)

    def parameters(self) -> list[Parameter]:
        """Return all parameters, its own and the nested layers', in forward order."""
        return [parameter for _, parameter in self.named_parameters()]

    def is_trainable(self) -> bool:
        """Tell whether any of its parameters is trained."""
        return any(parameter.trainable for parameter in self.parameters())

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold besides the parameters, as plain values."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        if set(state) != set(self.state()):
            raise ValueError(f"state must have the keys {sorted(self.state())}, got {sorted(state)}")


def _leaves(layer: Layer, path: str) -> Iterator[tuple[str, Layer]]:
    children = list(layer.children())
    if not children or any(isinstance(value, Parameter) for value in vars(layer).values()):
        yield path, layer
        return
    for name, child in children:
        yield from _leaves(child, f"{path}.{name}" if path else name)


def _named_layers(layer: Layer, path: str, found: dict[int, Layer]) -> Iterator[tuple[str, Layer]]:
    """Yield the layers that are not yet in `found`, by id, and put them there."""
    if id(layer) not in found:
        found[id(layer)] = layer
        yield path, layer
        for name, child in layer.children():
            yield from _named_layers(child, f"{path}.{name}" if path else name, found)


def _check_registered(layer: Layer, kind: type[Layer] | type[Parameter], registered: Mapping[int, object]) -> None:
    """Raise TypeError if a container among the layer's attributes holds a `kind` that is not `registered`, by id."""
    for name, value in vars(layer).items():
        if isinstance(value, list | tuple | dict):
            for item in _items(value):
                if isinstance(item, kind) and id(item) not in registered:
                    right = "a Layer, or children must yield what it holds" if kind is Layer else "a Parameter"
                    raise TypeError(
                        f"{name} must be {right}, to be trained and saved, got a {type(value).__name__} with "
                        f"{item!r} in a {type(layer).__name__}"
                    )


def _items(container: Any, depth: int = 2) -> Iterator[Any]:
    """Yield what a list, tuple or dict holds, and what the containers in it hold."""
    for item in container.values() if isinstance(container, dict) else container:
        yield item
        if depth > 1 and isinstance(item, list | tuple | dict):
            yield from _items(item, depth - 1)
