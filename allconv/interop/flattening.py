"""Which parameters see the numbers of a flattened image, and in which order another framework has them.

A layer behind `Flatten` has a row for each number of an image. Here the channel varies fastest, since images are NHWC.
In a framework with NCHW images the column does. Both orders agree on the places within a channel, so that the number of
channels alone says how to get from one to the other.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from allconv.layers.base import Layer
from allconv.layers.branches import Branches
from allconv.layers.flatten import Flatten
from allconv.layers.linear import Linear
from allconv.layers.prelu import PReLU
from allconv.layers.sequential import Sequential
from allconv.layers.skip import Skip
from allconv.parameter import Parameter
from allconv.typing import Array


def from_channels_first(array: Array, channels: int) -> Array:
    """Return `array` with its first axis, (C, H, W) flattened, in the order of (H, W, C) flattened."""
    return array.reshape(channels, -1, *array.shape[1:]).swapaxes(0, 1).reshape(array.shape)


@dataclass(frozen=True)
class _Place:
    """What is known between two layers.

    Attributes
    ----------
    shape : tuple of int or None
        The shape of an example, if the caller has stated that of the input.
    channels : int or None
        The length of the last axis.
    is_flat : bool
        Whether images were flattened before, and no layer has mixed their numbers since.
    flattened : int or None
        The number of channels that those images had.
    """

    shape: tuple[int, ...] | None
    channels: int | None
    is_flat: bool = False
    flattened: int | None = None


def flattened_channels(model: Layer, input_shape: tuple[int, ...] | None = None) -> dict[str, int | None]:
    """Return the layers that see flattened images: for each path the number of channels, or None if no layer tells.

    Parameters
    ----------
    model : Layer
        The network.
    input_shape : tuple of int, optional
        The shape of an example.

    Returns
    -------
    dict
        An entry for each layer with parameters that stands behind a `Flatten`, up to and with the next `Linear`.
    """
    found: dict[str, int | None] = {}
    _follow(model, "", _Place(input_shape, input_shape[-1] if input_shape else None), found)
    return found


def _follow(layer: Layer, path: str, place: _Place, found: dict[str, int | None]) -> _Place:
    """Return what is known behind `layer`, and note in `found` what it sees."""
    if isinstance(layer, Sequential):
        for child_path, child in _children(layer, path):
            place = _follow(child, child_path, place, found)
        return place
    if place.is_flat and any(isinstance(value, Parameter) for value in vars(layer).values()):
        found[path] = place.flattened
    shape = layer.output_shape(place.shape) if place.shape else None
    inner = [_follow(child, child_path, place, found) for child_path, child in _children(layer, path)]
    if isinstance(layer, Skip):
        return replace(inner[0], shape=shape)
    if isinstance(layer, Branches):
        if layer.merge == "sum":
            return replace(inner[0], shape=shape)
        channels = [branch.channels for branch in inner]
        total = sum(map(int, channels)) if None not in channels else None  # type: ignore[arg-type]
        return _Place(shape, total, any(branch.is_flat for branch in inner))
    if isinstance(layer, Flatten):
        return place if place.is_flat else _Place(shape, None, True, place.channels)
    if isinstance(layer, Linear):
        return _Place(shape, layer.out_features)
    if shape:
        return replace(place, shape=shape, channels=shape[-1])
    known = place.channels if not inner else None  # what a layer of the user's makes of its layers is unknown
    own = None if isinstance(layer, PReLU) else getattr(layer, "out_channels", getattr(layer, "channels", None))
    return replace(place, channels=own or known)


def _children(layer: Layer, path: str) -> Iterator[tuple[str, Layer]]:
    """Yield the path and the layer of each child."""
    for name, child in layer.children():
        yield f"{path}.{name}" if path else name, child
