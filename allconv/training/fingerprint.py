"""The fingerprint of a run: what must be the same after a resume for the run to be the same run.

It has the configuration of the loss, the optimizer and the loader, the layers and parameters of the model, and a digest
of the data. The environment (versions, processor, BLAS) is kept apart: a run may go on in another one, but with other
bits.
"""

import hashlib
import inspect
import platform
from collections.abc import Collection
from typing import Any

import numpy as np

from allconv.data.batches import Batches
from allconv.data.loader import Loader
from allconv.layers.base import Layer
from allconv.optimizers.base import Optimizer
from allconv.parallel.blas import blas_kernels
from allconv.parameter import Parameter
from allconv.typing import Array

_PLAIN = (bool, int, float, str, type(None))
_OF_MODEL = (Layer, Parameter)
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
        attributes, each described in the same way. Of an object in a list or a dict these are the attributes that are
        called like an argument of its class, since libraries keep there what each call changes. What a subclass of list
        holds is under ``"items"``. Layers and parameters are left out, since other functions describe them; a list of
        those, or of more than 100 objects, is described by its length. An array is described by its digest.

    Examples
    --------
    >>> from allconv.data import Fliplr, Sequential
    >>> config_fingerprint(Sequential([Fliplr(0.5)]))
    {'name': 'Sequential', 'augmenters': [{'name': 'Fliplr', 'p': 0.5}], 'random_order': False}
    """
    return _described(thing, ())


def _described(thing: Any, around: tuple[int, ...], *, contained: bool = False) -> Any:
    """Return what `config_fingerprint` returns.

    The ids of the objects that have `thing` as a part are `around`; in a list or dict, it is `contained`.
    """
    if isinstance(thing, _PLAIN):
        return thing
    if isinstance(thing, np.ndarray):
        return digest(thing)
    name = getattr(thing, "__qualname__", type(thing).__qualname__)
    if id(thing) in around:
        return name
    around = (*around, id(thing))
    if type(thing) in (list, tuple):
        return _items(thing, around)
    if type(thing) is dict:
        return {
            str(key): _described(value, around, contained=True)
            for key, value in thing.items()
            if isinstance(key, _PLAIN) and not isinstance(value, _OF_MODEL)
        }
    attributes = {
        key: _described(value, around, contained=contained)
        for key, value in sorted(getattr(thing, "__dict__", {}).items())
        if not key.startswith("_") and key not in VOLATILE and not isinstance(value, _OF_MODEL)
        if not contained or key in _arguments(type(thing))
    }
    items = {"items": _items(thing, around)} if isinstance(thing, list | tuple) else {}
    return {"name": name, **attributes, **items}


def _items(things: list[Any] | tuple[Any, ...], around: tuple[int, ...]) -> Any:
    of_model = any(isinstance(item, _OF_MODEL) for item in things)
    if of_model or (len(things) > 100 and not all(isinstance(item, _PLAIN) for item in things)):
        return len(things)
    return [_described(item, around, contained=True) for item in things]


def _arguments(kind: type) -> Collection[str]:
    """Return the names of a class's arguments; a class that is written in C may keep them secret."""
    try:
        return inspect.signature(kind).parameters.keys()
    except (TypeError, ValueError):
        return ()


def layer_reprs(model: Layer) -> dict[str, str]:
    """Return the repr of each layer of a model, by its path.

    A layer is described by its class name alone if it nests others (its repr has a scale that may change), or if its
    repr is Python's own, whose address differs in each process. `layer_settings` describes these layers further.

    Examples
    --------
    >>> from allconv.layers.relu import ReLU
    >>> layer_reprs(ReLU())
    {'': 'ReLU()'}
    """
    return {
        path: type(layer).__name__ if _is_named_alone(layer) else repr(layer) for path, layer in model.named_layers()
    }


def layer_settings(model: Layer) -> dict[str, dict[str, Any]]:
    """Return the settings of the layers that `layer_reprs` only names, by their paths.

    Settings are the plain attributes that are called like an argument of the class, without those of the layer's
    `state`, which a checkpoint restores.

    Examples
    --------
    >>> from allconv import ReLU, Skip
    >>> layer_settings(Skip(ReLU(), in_forward=False))
    {'': {'shortcut': None, 'in_forward': False, 'in_backward': True}}
    """
    named = {path: layer for path, layer in model.named_layers() if _is_named_alone(layer)}
    settings = {
        path: {
            name: value
            for name, value in vars(layer).items()
            if isinstance(value, _PLAIN) and name in _arguments(type(layer)) and name not in layer.state()
        }
        for path, layer in named.items()
    }
    return {path: values for path, values in settings.items() if values}


def _is_named_alone(layer: Layer) -> bool:
    return any(layer.children()) or type(layer).__repr__ is object.__repr__


def parameter_texts(model: Layer, optimizer: Optimizer) -> dict[str, str]:
    """Return what each parameter of a model is, in words, by its path: dtype, flags, and its group in the optimizer.

    Examples
    --------
    >>> from allconv import PReLU, SGD
    >>> model = PReLU()
    >>> parameter_texts(model, SGD(model.parameters(), 0.1))
    {'weight': 'float32, decay=False, in group 0 of the optimizer'}
    """
    groups = {id(p): f"in group {index}" for index, group in enumerate(optimizer.groups) for p in group.parameters}
    return {
        path: ", ".join(
            [
                str(p.value.dtype),
                *(f"{flag}=False" for flag in ("trainable", "decay") if not getattr(p, flag)),
                f"{groups.get(id(p), 'in no group')} of the optimizer",
            ]
        )
        for path, p in model.named_parameters()
    }


def loader_fingerprint(loader: Loader | Batches) -> dict[str, Any]:
    """Return how the batches are made from the data; of batches of the user's own at most their number is known."""
    if isinstance(loader, Batches):
        return {"steps_per_epoch": loader.steps()}
    return {
        "loader": type(loader).__qualname__,
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
    it, such a key is a difference. Older checkpoints also have the mere length of a list of objects, and the mere type
    of a dict.

    Examples
    --------
    >>> differences({"seed": 0, "optimizer": {"eps": 1e-8}}, {"seed": 1, "optimizer": {}, "shuffle": True})
    ['seed was 0, is 1', 'optimizer.eps was 1e-08, is None']
    """
    if isinstance(now, dict) and then == {"name": "dict"}:
        return []
    items = now.get("items") if isinstance(now, dict) else now
    if isinstance(items, list) and isinstance(then, list | int):
        now = items if isinstance(then, list) else len(items)
    if isinstance(then, list) and isinstance(now, list) and len(then) == len(now) and _nests(now):
        then, now = (dict(enumerate(each)) for each in (then, now))
    if isinstance(then, dict) and isinstance(now, dict):
        keys = [key for key in (then | now) if path or (key in then and key in now)]
        return [
            line
            for key in keys
            for line in differences(then.get(key), now.get(key), f"{path}.{key}" if path else str(key))
        ]
    same = then == now or repr(then) == repr(now)  # NaN equals no number, itself included.
    return [] if same else [f"{path} was {_short(then)}, is {_short(now)}"]


def _nests(things: list[Any]) -> bool:
    return any(isinstance(item, list | dict) for item in things)


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
