"""What makes two runs the same run: the settings of their parts, their data, and what their bits depend on."""

import hashlib
import platform
from typing import Any

import numpy as np

from allconv.data.dataset import Dataset
from allconv.layers.base import Layer
from allconv.parallel.threads import blas_kernels
from allconv.typing import Array

_PLAIN = (bool, int, float, str, type(None))
_MOVING = ("step_count",)  # what training itself changes


def settings(thing: object) -> Any:
    """Return a plain description of a configured object: the name of its class, or its own, and its attributes.

    Layers are described by `layers_of`; private attributes and those of other kinds do not count.
    """
    if isinstance(thing, _PLAIN):
        return thing
    if isinstance(thing, np.ndarray):
        return digest(thing)
    if isinstance(thing, list | tuple):
        return [settings(item) for item in thing] if all(isinstance(item, _PLAIN) for item in thing) else len(thing)
    attributes = {
        name: settings(value)
        for name, value in sorted(getattr(thing, "__dict__", {}).items())
        if not name.startswith("_") and name not in _MOVING and not isinstance(value, Layer)
    }
    return {"name": getattr(thing, "__qualname__", type(thing).__qualname__), **attributes}


def layers_of(model: Layer) -> dict[str, str]:
    """Return the layers by path, each as it prints itself.

    Those that nest others, whose scale may move, and those that print an address, which no other process has, are
    described by their class.
    """
    return {
        path: type(layer).__name__ if any(layer.children()) or type(layer).__repr__ is object.__repr__ else repr(layer)
        for path, layer in model.named_layers()
    }


def data_of(dataset: Dataset) -> str:
    """Return a digest of the images and labels."""
    return digest(dataset.images, dataset.labels)


def digest(*arrays: Array) -> str:
    """Return the SHA-256 of arrays, their shapes and dtypes, as hexadecimal digits."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(f"{array.shape} {array.dtype.str} ".encode())
        for part in np.array_split(array, max(1, min(len(array), array.nbytes >> 24))) if array.ndim else [array]:
            sha.update(np.ascontiguousarray(part).data)
    return sha.hexdigest()


def differences(then: Any, now: Any, path: str = "") -> list[str]:
    """Return what differs between two descriptions, in words; what only one of them has counts if it is nested."""
    if isinstance(then, dict) and isinstance(now, dict):
        keys = [key for key in (then | now) if path or (key in then and key in now)]
        return [
            line
            for key in keys
            for line in differences(then.get(key), now.get(key), f"{path}.{key}" if path else str(key))
        ]
    return [] if then == now else [f"{path} was {_short(then)}, is {_short(now)}"]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def platform_of_the_bits() -> dict[str, str]:
    """Return the versions and the kernels that the bits of a run depend on."""
    from allconv import __version__  # not at the top: allconv imports this module

    return {
        "allconv": __version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
        "blas": ", ".join(blas_kernels()),
    }
