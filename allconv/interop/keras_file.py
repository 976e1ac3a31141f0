"""Weights in the files of Keras: ``.weights.h5``, ``.h5`` and ``.keras``, which is a zip with an HDF5 file in it."""

import contextlib
import io
import math
from collections.abc import Iterator
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import numpy as np

from allconv.checkpoint.npz import open_zip, stored_members
from allconv.interop.files import reading
from allconv.typing import Array
from allconv.validation import check_path

_CONFIG = 1 << 21  # bounds the description of a model, in bytes: JSON takes up to 25 times that when parsed, 50 MB
_NAMES = 4096  # bounds the names in an attribute, whose header holds 64 KB, or 16 bytes for a name that lies elsewhere
_OBJECTS = 20_000  # bounds the groups and arrays in a file, and the weights whose order it states
_DEPTH = 32  # bounds how deep they lie


def load_keras(path: str | Path) -> dict[str, Array]:
    """Return the arrays of a file of Keras, as the file has them; `assign` puts them into a model.

    Parameters
    ----------
    path : path
        A ``.weights.h5``, ``.h5`` or ``.keras`` file. Keras is not needed; h5py is.

    Returns
    -------
    dict of str to array
        The arrays by their paths in the HDF5 file, such as ``layers/conv2d/vars/0`` or ``conv2d/conv2d/kernel:0``. They
        are in the order of the layers where the file states it.

    Raises
    ------
    ImportError
        The package h5py is missing; the message names the extra.
    TypeError
        `path` is no path.
    ValueError
        The file is damaged or of another kind; or it leads to other files, holds compressed arrays, or arrays that are
        larger than the file. The message names file, array and reason.
    OSError
        The file cannot be read.

    Examples
    --------
    >>> arrays = load_keras("network.keras")  # doctest: +SKIP
    >>> arrays["layers/conv2d/vars/0"].shape  # doctest: +SKIP
    (3, 3, 3, 16)
    """
    with open_keras(path) as (arrays, _):
        return arrays


@contextlib.contextmanager
def open_keras(path: str | Path) -> Iterator[tuple[dict[str, Array], str | bytes]]:
    """Yield the arrays of a file, and the JSON text that describes its model, which may be empty.

    Whatever the ``with`` block raises becomes a ValueError that names the file.
    """
    path = check_path("path", path)
    try:
        import h5py
    except ImportError as error:
        raise ImportError(f"files of Keras need the extra 'keras', pip install 'allconv[keras]': {error}") from error
    with reading(path) as (file, size):
        config: str | bytes = ""
        content: Any = file
        if file.read(4) == b"PK\3\4":
            archive = open_zip(file)
            members = stored_members(archive, size)
            if not {"model.weights.h5", "config.json"} <= members.keys():
                raise ValueError("is a zip, but holds no model.weights.h5 and config.json")
            if members["config.json"].file_size > _CONFIG:
                raise ValueError(f"has a config.json of more than {_CONFIG} bytes")
            config = archive.read("config.json")
            content = io.BytesIO(archive.read("model.weights.h5"))
        else:
            file.seek(0)
            if file.read(8) != b"\x89HDF\r\n\x1a\n":
                raise ValueError("is neither an HDF5 file nor a zip")
            file.seek(0)
        with _as_value_error(), h5py.File(content, "r") as root:
            if "model_config" in root.attrs:
                config = _description(root.attrs)
            top = root["model_weights"] if root.get("model_weights", getclass=True) is h5py.Group else root
            arrays = _Arrays(h5py, size)
            arrays.collect(top, "", 0)
            found = _in_order(top, arrays.found)
        yield found, config


@contextlib.contextmanager
def _as_value_error() -> Iterator[None]:
    """Turn the OSErrors by which HDF5 tells of a damaged file into ValueErrors."""
    try:
        yield
    except OSError as error:
        raise ValueError(f"is damaged: {error}") from error


class _Arrays:
    """The arrays in an HDF5 file of `size` bytes, which must lie in the file itself, uncompressed."""

    def __init__(self, h5py: Any, size: int) -> None:
        self.h5py, self.size, self.objects, self.bytes = h5py, size, 0, 0
        self.found: dict[str, Array] = {}

    def collect(self, group: Any, path: str, depth: int) -> None:
        """Add the arrays in a group, and in those below it."""
        for name in group:
            place = f"{path}/{name}" if path else name
            self.objects += 1
            if depth > _DEPTH or self.objects > _OBJECTS:
                raise ValueError(f"holds more than {_OBJECTS} objects, or some more than {_DEPTH} groups deep")
            if not isinstance(group.get(name, getlink=True), self.h5py.HardLink):
                raise ValueError(f"array {place!r} is a link to another place, which is not followed")  # noqa: TRY004
            item = group[name]
            if isinstance(item, self.h5py.Group):
                self.collect(item, place, depth + 1)
            elif isinstance(item, self.h5py.Dataset) and item.dtype.kind in "fiub":
                self.found[place] = self._read(item, place)

    def _read(self, data: Any, place: str) -> Array:
        self.bytes += data.nbytes
        if data.external or data.is_virtual:
            raise ValueError(f"array {place!r} lies in another file, which is not opened")
        if data.id.get_create_plist().get_nfilters():
            raise ValueError(f"array {place!r} is compressed")
        if data.id.get_storage_size() < data.nbytes or self.bytes > self.size:
            raise ValueError(f"array {place!r} of {data.nbytes} bytes is larger than what the file holds of it")
        return np.asarray(data[()]).astype(data.dtype.newbyteorder("="), copy=False)


def _description(attributes: Any) -> str | bytes:
    """Return the text that describes the model."""
    if attributes.get_id("model_config").shape != ():
        raise ValueError("has a model_config that is no text")
    text = attributes["model_config"]
    if not isinstance(text, str | bytes) or len(text) > _CONFIG:
        raise ValueError(f"has a model_config that is no text of at most {_CONFIG} bytes")
    return text


def _names(attributes: Any, key: str) -> list[str]:
    """Return the names in an attribute, which Keras cuts into KEY0, KEY1, ... if they are too long for HDF5."""
    keys = [key] if key in attributes else takewhile(attributes.__contains__, (f"{key}{k}" for k in count()))
    names: list[str] = []
    for part in keys:
        if math.prod(attributes.get_id(part).shape) > _NAMES:
            raise ValueError(f"has more than {_NAMES} names in {part!r}")
        names += [name.decode() if isinstance(name, bytes) else str(name) for name in attributes[part]]
    return names


def _in_order(top: Any, found: dict[str, Array]) -> dict[str, Array]:
    """Return the arrays in the order of the layers, which ``.h5`` files state."""
    names = []
    for layer in _names(top.attrs, "layer_names"):
        inner = _names(top[layer].attrs, "weight_names") if layer in top else []
        names += [f"{layer}/{name}" for name in inner]
        if len(names) > _OBJECTS:
            raise ValueError(f"names more than {_OBJECTS} weights")
    ordered = {name: found[name] for name in names if name in found}
    return ordered | {name: array for name, array in found.items() if name not in ordered}
