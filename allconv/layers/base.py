"""The contract of a layer."""

from collections.abc import Iterator
from typing import Any, ClassVar

from allconv.parameter import Parameter
from allconv.typing import Array, Cache


class Layer:
    """A differentiable function with a forward pass and a hand-derived backward pass.

    The contract, which `tests/test_contract.py` checks for every public layer:

    1. ``y, cache = layer.forward(x, training=...)`` computes the output and what backward needs.
       It writes neither to `x` nor to anything but the cache (BatchNorm's running statistics and
       Dropout's generator excepted, both under ``training=True`` only).
    2. ``dx = layer.backward(dy, cache)`` returns dL/dx for dy = dL/dy, and adds the gradients of the
       trainable parameters to them. It consumes neither `dy` nor `cache`: the same cache may be used again.
    3. ``layer(x)`` is inference; it keeps nothing.
    4. Arrays are (N, H, W, C). A layer with parameters computes in their dtype; one without keeps the input's.
    5. An attribute that is a `Parameter` or a `Layer` belongs to the layer; its path is the attribute's name.

    To write one's own, subclass and define `forward` and `backward`, and `output_shape` unless the shape is kept.
    """

    composite: ClassVar[bool] = False
    """Whether the cache is made of nested layers' caches; then backward and backward_parameters take ``release=True``,
    with which each is freed as soon as it was used."""

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:
        """Return the output for the batch `x`, and a cache for `backward`."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def backward(self, dy: Array, cache: Cache) -> Array:
        """Return dL/dx from ``dy`` = dL/dy, and add the gradients of the trainable parameters."""
        raise NotImplementedError(f"{type(self).__name__} must define backward")

    def backward_parameters(self, dy: Array, cache: Cache) -> None:
        """Add the parameters' gradients alone: what a model's first layer needs, whose dL/dx nobody reads."""
        if self.is_trainable():
            self.backward(dy, cache)

    def __call__(self, x: Array) -> Array:
        """Return the output for the batch `x` at inference."""
        return self.forward(x)[0]

    def output_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the output's shape for an input of shape `in_shape`, both without the batch axis."""
        return in_shape

    def multiply_adds(self, in_shape: tuple[int, ...]) -> int:  # noqa: ARG002 - the shape matters to subclasses
        """Return the multiply-adds of the forward pass of one example; 0 where they do not count."""
        return 0

    def children(self) -> Iterator[tuple[str, "Layer"]]:
        """Yield (name, layer) for each layer that is an attribute of this one, in forward order."""
        for name, value in vars(self).items():
            if isinstance(value, Layer):
                yield name, value

    def named_layers(self) -> Iterator[tuple[str, "Layer"]]:
        """Yield (path, layer) for itself, at path "", and all nested ones, depth first; a shared layer once."""
        return self._named_layers("", set())

    def _named_layers(self, path: str, seen: set[int]) -> Iterator[tuple[str, "Layer"]]:
        if id(self) not in seen:
            seen.add(id(self))
            yield path, self
            for name, child in self.children():
                yield from child._named_layers(f"{path}.{name}" if path else name, seen)

    def walk(self) -> Iterator["Layer"]:
        """Yield itself and all nested layers, depth first, in forward order."""
        for _, layer in self.named_layers():
            yield layer

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield (path, parameter) pairs, a shared parameter once; the path becomes the parameter's name."""
        seen: set[int] = set()
        for path, layer in self.named_layers():
            for name, value in vars(layer).items():
                if isinstance(value, Parameter) and id(value) not in seen:
                    seen.add(id(value))
                    value.name = f"{path}.{name}" if path else name
                    yield value.name, value

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


def backward_through(layer: Layer, dy: Array, cache: Cache, *, release: bool) -> Array:
    """Return ``layer.backward(dy, cache)``; with `release`, a layer that nests others may free the cache."""
    if release and layer.composite:
        return layer.backward(dy, cache, release=True)  # type: ignore[call-arg]
    return layer.backward(dy, cache)
