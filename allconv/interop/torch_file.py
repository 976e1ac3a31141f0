"""The files of `torch.save`, read without PyTorch: a zip since PyTorch 1.6, a stream of pickles before.

the zip                data.pkl, data/0, data/1, ...: the pickle, and the bytes of each storage
the stream             a magic number, a protocol, the system: three pickles; the pickle; a list of the storages'
                       keys, pickled; and for each key the number of elements in 8 bytes, and the elements' bytes
"""

import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from allconv.checkpoint.npz import open_zip, stored_members
from allconv.interop.files import from_bfloat16, read_into, reading
from allconv.interop.torch_pickle import BFLOAT16, Storage, Tensor, dtype_of, read_pickle
from allconv.typing import Array
from allconv.validation import describe

_Opener = Callable[[], AbstractContextManager[Any]]
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
# Under these keys training scripts keep the state dict of a model, beside that of the optimizer and other things.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "module", "params", "weights")
_PICKLE = 1 << 24  # bounds the pickle of a zip, in bytes: one of 8,000 tensors has two million
_ITEMS = 50_000  # bounds what is looked at in nested dicts and lists, which may hold one thing many times
_DEPTH = 16  # bounds how deep it may lie
_NAME = 1000  # bounds a name, in characters


def load_torch(path: str | Path) -> dict[str, Array]:
    """Return the tensors of a ``.pt`` or ``.pth`` file; PyTorch is not needed, and nothing in the file is executed.

    Parameters
    ----------
    path : path
        What `torch.save` wrote of a state dict, or of a checkpoint that holds one: the zip of PyTorch 1.6 and later,
        or the older stream.

    Returns
    -------
    dict of str to array
        The arrays by name, as the file has them, in its order. If the file has a dict under "state_dict", "model" or
        another such key, that dict is returned alone. Otherwise the names of nested dicts are joined by dots. Tensors
        that share memory do so here. bfloat16, which NumPy lacks, is widened to float32.

    Raises
    ------
    TypeError
        `path` is no path.
    ValueError
        The file is damaged, of another kind, or holds no tensor; or its pickle mentions a name that weights have no
        need of. A file of a whole model is one of those, and so is a hostile file. The message names file and reason.
    OSError
        The file cannot be read.

    Notes
    -----
    The sizes in the file are compared with what it holds before an array is made, and the CRC of a zip is checked.
    `assign` puts the arrays into a model.

    Examples
    --------
    >>> arrays = load_torch("network.pt")  # doctest: +SKIP
    >>> arrays["0.weight"].shape  # doctest: +SKIP
    (16, 3, 5, 5)
    """
    with reading(path) as (file, size):
        is_zip = file.read(4) == b"PK\3\4"
        file.seek(0)
        value, storages = (_read_zip if is_zip else _read_stream)(file, size)
        arrays = {}
        for name, tensor in _tensors(_unwrapped(value), "", 0, count()):
            try:
                arrays[name] = tensor.array(storages.numbers(tensor.storage, tensor.dtype))
            except (KeyError, ValueError) as error:
                raise ValueError(f"tensor {name!r} {error}") from error
        if not arrays:
            raise ValueError("holds no tensor")
        return arrays


class _Storages:
    """The numbers of each storage, read when a tensor asks for them.

    Parameters
    ----------
    readers : dict
        For each key the number of bytes, and the function that opens the file there.
    order : {"<", ">"}
        The order of the bytes in a number.
    """

    def __init__(self, readers: dict[str, tuple[int, _Opener]], order: str) -> None:
        self.readers, self.order = readers, order
        self.cache: dict[tuple[str, str], Array] = {}

    def numbers(self, storage: Storage, dtype: str) -> Array:
        """Return the numbers of a storage in the dtype of a tensor, the same array for the same question."""
        key = (storage.key, dtype)
        if key not in self.cache:
            if storage.key not in self.readers:
                raise ValueError(f"lies in the storage {storage.key!r}, which is missing")
            size, reader = self.readers[storage.key]
            if size != storage.bytes():
                raise ValueError(f"lies in a storage of {storage.bytes()} bytes, of which the file holds {size}")
            kind = dtype_of(dtype).newbyteorder(self.order)  # type: ignore[arg-type]
            with reader() as file:
                numbers = read_into(file, np.empty(size // kind.itemsize, kind)).astype(
                    kind.newbyteorder("="), copy=False
                )
            self.cache[key] = from_bfloat16(numbers) if dtype == BFLOAT16 else numbers
        return self.cache[key]


def _read_zip(file: BinaryIO, size: int) -> tuple[Any, _Storages]:
    """Return the pickled value and the storages of a zip of `size` bytes."""
    archive = open_zip(file)
    members = stored_members(archive, size)
    root = next((name[: -len("data.pkl")] for name in members if name.endswith("/data.pkl")), None)
    if root is None or f"{root}constants.pkl" in members:
        raise ValueError("is a zip, but not one of torch.save; a TorchScript file is none")
    is_big = f"{root}byteorder" in members and archive.read(f"{root}byteorder") == b"big"
    if members[f"{root}data.pkl"].file_size > _PICKLE:
        raise ValueError(f"has a data.pkl of more than {_PICKLE} bytes")
    pickled = archive.read(f"{root}data.pkl")
    value, _ = read_pickle(io.BytesIO(pickled), len(pickled))
    folder = f"{root}data/"
    readers: dict[str, tuple[int, _Opener]] = {
        name[len(folder) :]: (info.file_size, partial(archive.open, info))
        for name, info in members.items()
        if name.startswith(folder)
    }
    return value, _Storages(readers, ">" if is_big else "<")


def _read_stream(file: BinaryIO, size: int) -> tuple[Any, _Storages]:
    """Return the pickled value and the storages of a stream of `size` bytes."""
    head = file.read(16)
    file.seek(0)
    if not head.startswith(b"\x80") or read_pickle(file, size)[0] != _MAGIC:
        raise ValueError(f"is neither a zip nor a stream of torch.save, but starts with {head!r}")
    protocol, system = (read_pickle(file, size)[0] for _ in range(2))
    if protocol != _PROTOCOL or not isinstance(system, dict):
        raise ValueError(f"has the protocol {describe(protocol)}, not {_PROTOCOL}")
    value, storages = read_pickle(file, size)
    keys, _ = read_pickle(file, size)
    readers: dict[str, tuple[int, _Opener]] = {}
    for key in keys if isinstance(keys, list) else []:
        storage = storages.get(key)
        start = file.tell() + 8
        numel = int.from_bytes(file.read(8), "little" if system.get("little_endian", True) else "big")
        if storage is None or numel != storage.numel or start + storage.bytes() > size:
            raise ValueError(f"declares {numel} numbers in the storage {describe(key)}, and has others or none")
        readers[key] = (storage.bytes(), partial(_at, file, start))
        file.seek(start + storage.bytes())
    if file.tell() != size:
        raise ValueError("holds more than its storages")
    return value, _Storages(readers, "<" if system.get("little_endian", True) else ">")


def _at(file: BinaryIO, place: int) -> AbstractContextManager[BinaryIO]:
    """Return `file` at a place, for a ``with`` block that leaves it open."""
    file.seek(place)
    return nullcontext(file)


def _unwrapped(value: Any) -> Any:
    """Return the state dict of the model inside a checkpoint, or `value` itself."""
    for _ in range(_DEPTH):
        found = [value[key] for key in _WRAPPERS if isinstance(value, dict) and isinstance(value.get(key), dict)]
        if not found:
            break
        value = found[0]
    return value


def _tensors(value: Any, name: str, depth: int, counter: "count[int]") -> Iterator[tuple[str, Tensor]]:
    """Yield (name, tensor) for the tensors in nested dicts and lists; what is no tensor is passed over."""
    if next(counter) > _ITEMS or depth > _DEPTH or len(name) > _NAME:
        raise ValueError(f"holds more than {_ITEMS} things, dicts {_DEPTH} deep or names of {_NAME} characters")
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, dict | list | tuple):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _tensors(item, f"{name}.{key}" if name else str(key), depth + 1, counter)
