"""The layers that a layer holds, found by its attributes and `children`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from allconv.parameter import Parameter

if TYPE_CHECKING:
    from allconv.layers.base import Layer

_CONTAINERS = (list, tuple, dict)  # A union of types, as in ``list | tuple | dict``, would be made anew in each check.


def leaves_of(layer: Layer, path: str) -> Iterator[tuple[str, Layer]]:
    """Yield (path, layer) for each layer in `layer` that computes; `path` is the path of `layer` itself."""
    children = list(layer.children())
    if not children or any(isinstance(value, Parameter) for value in vars(layer).values()):
        yield path, layer
        return
    for name, child in children:
        yield from leaves_of(child, f"{path}.{name}" if path else name)


def nested_layers(layer: Layer, path: str, found: dict[int, Layer]) -> Iterator[tuple[str, Layer]]:
    """Yield the layers that are not yet in `found`, by id, and put them there."""
    if id(layer) not in found:
        found[id(layer)] = layer
        yield path, layer
        for name, child in layer.children():
            yield from nested_layers(child, f"{path}.{name}" if path else name, found)


def parameters_of(layers: list[tuple[str, Layer]]) -> Iterator[tuple[str, Parameter]]:
    """Yield (path, parameter) for each parameter of the layers, a shared one once; the path becomes its name."""
    found: dict[int, Parameter] = {}
    for path, layer in layers:
        for name, value in vars(layer).items():
            if isinstance(value, Parameter) and id(value) not in found:
                found[id(value)] = value
                value.name = f"{path}.{name}" if path else name
                yield value.name, value
    for _, layer in layers:
        check_registered(layer, Parameter, found)


def parameters_in(layer: Layer) -> list[Parameter]:
    """Return each parameter of a layer and of those in it once, and leave the names that a whole model gave them."""
    values = (value for inner in layer.walk() for value in vars(inner).values() if isinstance(value, Parameter))
    return list({id(value): value for value in values}.values())


def check_registered(layer: Layer, kind: type[Layer] | type[Parameter], registered: Mapping[int, object]) -> None:
    """Raise TypeError if a container among the layer's attributes holds a `kind` that is not `registered`, by id."""
    for name, value in vars(layer).items():
        if isinstance(value, _CONTAINERS):
            for item in _items(value):
                if isinstance(item, kind) and id(item) not in registered:
                    right = "a Layer, or children must yield what it holds" if kind is not Parameter else "a Parameter"
                    raise TypeError(
                        f"{name} must be {right}, to be trained and saved, got a {type(value).__name__} with "
                        f"{item!r} in a {type(layer).__name__}"
                    )


def _items(container: Any, depth: int = 2) -> Iterator[Any]:
    """Yield what a list, tuple or dict holds, and what the containers in it hold."""
    for item in container.values() if isinstance(container, dict) else container:
        yield item
        if depth > 1 and isinstance(item, _CONTAINERS):
            yield from _items(item, depth - 1)
