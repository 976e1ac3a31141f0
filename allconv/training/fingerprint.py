"""The fingerprint of a run: what must be the same after a resume for the run to be the same run.

It has the configuration of the loss, the optimizer and the loader, the layers of the model, and a digest of the data.
The environment (versions, processor, BLAS) is kept apart: a run may go on in another one, though with other bits.
"""

import hashlib
import platform
from typing import Any

import numpy as np

from allconv.data.batches import Batches
from allconv.data.loader import Loader
from allconv.layers.base import Layer
from allconv.parallel.blas import blas_kernels
from allconv.typing import Array

_PLAIN = (bool, int, float, str, type(None))
VOLATILE = ("step_count",)  # attributes that training itself changes, and that are no part of a configuration


def config_fingerprint(thing: object) -> Any:
    """Return the public configuration of an object as plain values, which can be compared and stored.

    Parameters
    ----------
    thing : object
        A loss, an optimizer, an augmentation, a function, or None.

    Returns
    -------
    dict or plain value
        For an object, its class name (for a function, the function's own) under ``"name"``, and its public
        attributes, each described in the same way. Layers among them are left out, since `layer_reprs` describes
        them. An array is described by its digest, and a list of objects by its length.

    Examples
    --------
    >>> from allconv.data import Fliplr
    >>> config_fingerprint(Fliplr(0.5))
    {'name': 'Fliplr', 'p': 0.5}
    """
    if isinstance(thing, _PLAIN):
        return thing
    if isinstance(thing, np.ndarray):
        return digest(thing)
    if isinstance(thing, list | tuple):
        plain = all(isinstance(item, _PLAIN) for item in thing)
        return [config_fingerprint(item) for item in thing] if plain else len(thing)
    attributes = {
        name: config_fingerprint(value)
        for name, value in sorted(getattr(thing, "__dict__", {}).items())
        if not name.startswith("_") and name not in VOLATILE and not isinstance(value, Layer)
    }
    return {"name": getattr(thing, "__qualname__", type(thing).__qualname__), **attributes}


def layer_reprs(model: Layer) -> dict[str, str]:
    """Return the repr of each layer of a model, by its path.

    A layer is described by its class name alone if it nests others (its repr has a scale that may change), or if its
    repr is Python's own, whose address differs in each process.

    Examples
    --------
    >>> from allconv.layers.relu import ReLU
    >>> layer_reprs(ReLU())
    {'': 'ReLU()'}
    """
    return {
        path: type(layer).__name__ if any(layer.children()) or type(layer).__repr__ is object.__repr__ else repr(layer)
        for path, layer in model.named_layers()
    }


def loader_fingerprint(loader: Loader | Batches) -> dict[str, Any]:
    """Return how the batches are made from the data; of batches of the user's own at most their number is known."""
    if isinstance(loader, Batches):
        return {"steps_per_epoch": loader.steps()}
    return {
        "steps_per_epoch": len(loader),
        "batch_size": loader.batch_size,
        "seed": loader.seed,
        "shuffle": loader.shuffle,
        "drop_last": loader.drop_last,
        "alternate_flip": loader.alternate_flip,
        "augment": config_fingerprint(loader.augment),
        "normalize": config_fingerprint(loader.normalize),
    }


def data_digest(loader: Loader | Batches) -> str | None:
    """Return the SHA-256 of inputs, targets and weights, as hexadecimal digits; None for batches of the user's own."""
    if isinstance(loader, Batches):
        return None
    data = loader.dataset
    return digest(data.inputs, data.targets, *([] if data.weights is None else [data.weights]))


def digest(*arrays: Array) -> str:
    """Return the SHA-256 of arrays, their shapes and dtypes, as hexadecimal digits."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(f"{array.shape} {array.dtype.str} ".encode())
        if array.ndim == 0:
            sha.update(array.tobytes())
            continue
        # A memory map is read in parts of about a megabyte, and what is not contiguous is copied in such parts.
        rows = max(1, (len(array) << 20) // max(1, array.size * array.dtype.itemsize))
        for start in range(0, len(array), rows):
            sha.update(np.ascontiguousarray(array[start : start + rows]).data)
    return sha.hexdigest()


def differences(then: Any, now: Any, path: str = "") -> list[str]:
    """Return in words what differs between two fingerprints.

    At the top level, a key that only one of them has is passed over, since older checkpoints have fewer keys. Below
    it, such a key is a difference.

    Examples
    --------
    >>> differences({"seed": 0, "optimizer": {"eps": 1e-8}}, {"seed": 1, "optimizer": {}, "shuffle": True})
    ['seed was 0, is 1', 'optimizer.eps was 1e-08, is None']
    """
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


def environment() -> dict[str, str]:
    """Return the versions, the kind of processor and the BLAS kernels, on which the bits of a run depend."""
    from allconv import __version__  # not at the top: allconv imports this module

    return {
        "allconv": __version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
        "blas": ", ".join(blas_kernels()),
    }
