"""One verified file for a nested dict of arrays and plain values: what checkpoints and weights are kept in.

The file is an uncompressed .npz, which ``np.load(path, allow_pickle=False)`` reads too. Its member ``manifest``
is JSON text (UTF-8) in a uint8 array, and ``manifest_sha256`` holds the 32 bytes of its SHA-256:

- ``format``: 1; a reader refuses a number that it does not know
- ``versions``: of allconv, NumPy and Python that wrote the file
- ``values``: the nested dict, with null where an array stands
- ``arrays``: for each its ``name``, ``shape``, ``dtype`` and the ``sha256`` of its bytes (little-endian, C order)

An array's name is its path in the dict, joined by slashes: ``model/0.weight``. Keys are percent-encoded as in a
URL, so that a name is always ASCII and one name is one path. The same values give the same bytes.

Zip's own CRC is not enough: one bit flipped in a zip's directory can make members vanish. Nothing is believed
that the hashes do not cover, nothing is allocated before its declared size is known to be stored, and no
pickle is ever read.
"""

import contextlib
import hashlib
import json
import math
import platform
import urllib.parse
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from allconv.checkpoint.atomic import atomic_write
from allconv.typing import Array
from allconv.validation import check_path, describe

FORMAT = 1
MANIFEST, DIGEST = "manifest", "manifest_sha256"
MANIFEST_LIMIT = 1 << 24  # bytes: JSON takes up to 20 times its size in memory, so a reader needs a bound
DEPTH_LIMIT = 50  # of nested dicts and lists: well below where Python's JSON reader gives up
INT_BITS_LIMIT = 14_000  # 4,214 digits: Python reads no int of more than 4,300 from text
CHUNK = 1 << 20  # bytes read at a time: all of an array at once would be a second copy of it
RANK_LIMIT = 64  # NumPy's
DTYPES = {
    name: np.dtype(name)
    for name in (
        *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64", "complex64", "complex128"),
    )
}


class CheckpointError(ValueError):
    """A file that is damaged, or is none of ours, or no checkpoint where one is needed; says which and why."""


def write(path: str | Path, state: dict[str, Any]) -> None:
    """Write the nested dict `state` to the file `path`, as it stands there, without adding a suffix.

    Parameters
    ----------
    path : path
        Appears whole or not at all (`allconv.checkpoint.atomic.atomic_write`); a file that is there is replaced.
    state : dict
        Keys are str. Values are dicts of the same kind, arrays (bool, integers, float16 to float64, complex;
        any byte order and layout), or plain: None, bool, int, float (NaN and infinity too), str, and lists and
        dicts of these. A NumPy scalar is stored as the plain value that equals it.

    Raises
    ------
    TypeError, ValueError
        `state` holds something else, before anything is written.
    OSError
        The file could not be written; `path` is as it was.
    """
    path = check_path("path", path)
    if not isinstance(state, dict):
        raise TypeError(f"state must be a dict, got {describe(state)}")
    arrays: dict[str, Array] = {}
    values = _take_arrays(state, (), arrays)
    entries: list[dict[str, Any]] = []
    manifest = {"format": FORMAT, "versions": _versions(), "values": values, "arrays": entries}
    with atomic_write(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            data = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
            digest = hashlib.sha256(_bytes_of(data)).hexdigest()
            entries.append({"name": name, "shape": array.shape, "dtype": array.dtype.name, "sha256": digest})
            _write_member(archive, name, data)
        # Lone surrogates are legal in a str, and must come back as they are.
        text = json.dumps(manifest, ensure_ascii=False).encode("utf-8", "surrogatepass")
        if len(text) > MANIFEST_LIMIT:
            raise ValueError(f"state must hold at most {MANIFEST_LIMIT} bytes of plain values, got {len(text)}")
        _write_member(archive, MANIFEST, np.frombuffer(text, np.uint8))
        _write_member(archive, DIGEST, np.frombuffer(hashlib.sha256(text).digest(), np.uint8))


def read(path: str | Path) -> dict[str, Any]:
    """Return the nested dict that `write` put into the file `path`: arrays in native byte order and C order.

    Raises
    ------
    CheckpointError
        The file is damaged or none of ours; the message names the file and, where it is one, the array.
    OSError
        The file cannot be opened.
    """
    path = check_path("path", path)
    with path.open("rb") as file:
        return read_file(file, str(path))


def read_file(file: BinaryIO, name: str) -> dict[str, Any]:
    """Return what `read` does from an open file; `name` is for the message of an error."""
    with _damage(name), zipfile.ZipFile(file) as archive:
        members = _stored_members(archive, file.seek(0, 2))
        manifest = _read_manifest(archive, members)
        arrays: dict[str, Array] = {}
        for entry in manifest["arrays"]:
            with _damage(f"array {entry['name']!r}"):
                if entry["name"] + ".npy" not in members or entry["name"] in arrays:
                    raise CheckpointError("is missing")
                arrays[entry["name"]] = _read_array(archive, members[entry["name"] + ".npy"], entry)
        if len(members) != len(arrays) + 2:
            raise CheckpointError("holds members that the manifest does not list")
        state = _put_arrays(manifest["values"], (), arrays)
        if arrays or not isinstance(state, dict):
            raise CheckpointError(f"the manifest has no place for the arrays {sorted(arrays)}")
        return state


def _take_arrays(value: Any, path: tuple[str | int, ...], arrays: dict[str, Array]) -> Any:
    """Return `value` as JSON can hold it, with None where an array stands; add the arrays to `arrays` by name."""
    if isinstance(value, dict | list) and len(path) == DEPTH_LIMIT:
        raise ValueError(f"state must be nested at most {DEPTH_LIMIT} deep, got more, or a circle, at {_where(path)}")
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{_where(path)} must have str keys, got {describe(key)}")
        return {key: _take_arrays(item, (*path, key), arrays) for key, item in value.items()}
    if isinstance(value, list):
        return [_take_arrays(item, (*path, index), arrays) for index, item in enumerate(value)]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, int) and value.bit_length() > INT_BITS_LIMIT:
        bits = value.bit_length()
        raise ValueError(f"{_where(path)} must be an int of at most {INT_BITS_LIMIT} bits, got one of {bits}")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    keys = [key for key in path if isinstance(key, str)]
    if type(value) not in (np.ndarray, np.memmap) or value.dtype.name not in DTYPES or len(keys) < len(path):
        raise TypeError(
            f"{_where(path)} must be an array of numbers (in dicts, not in a list), a dict, a list, or None, bool, "
            f"int, float or str, got {describe(value)}"
        )
    name = _name(keys)
    if name in (MANIFEST, DIGEST):
        raise ValueError(f"{_where(path)} must not be an array: the file has one of that name")
    arrays[name] = value
    return None


def _where(path: tuple[str | int, ...]) -> str:
    text = "state" + "".join(f"[{key!r}]" for key in path)
    return text if len(text) <= 120 else text[:117] + "..."


def _put_arrays(value: Any, path: tuple[str, ...], arrays: dict[str, Array]) -> Any:
    """Undo `_take_arrays`: put the arrays, which are taken out of `arrays`, in their places."""
    if isinstance(value, dict):
        return {key: _put_arrays(item, (*path, key), arrays) for key, item in value.items()}
    return value if value is not None else arrays.pop(_name(path), None)


def _name(keys: Iterable[str]) -> str:
    """Return the name of the array at the path `keys`: one name, one path, and never one that leads elsewhere."""
    special = {"": "%", ".": "%2E", "..": "%2E%2E"}  # quote leaves these as they are
    return "/".join(special.get(key) or urllib.parse.quote(key, safe="", errors="surrogatepass") for key in keys)


def _versions() -> dict[str, str]:
    from allconv import __version__  # not at the top: allconv imports this module

    return {"allconv": __version__, "numpy": np.__version__, "python": platform.python_version()}


def _header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """Return the .npy header, version 1.0. NumPy's own differs between its versions, which would change our bytes."""
    text = f"{{'descr': {dtype.newbyteorder('<').str!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    text += " " * (-(10 + len(text) + 1) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode("ascii")


def _bytes_of(array: Array) -> memoryview:
    """Return the memory of a C-contiguous array as bytes, also where it is empty or 0-d."""
    return array.reshape(-1).view(np.uint8).data


def _write_member(archive: zipfile.ZipFile, name: str, data: Array) -> None:
    info = zipfile.ZipInfo(name + ".npy", date_time=(1980, 1, 1, 0, 0, 0))  # the earliest that zip can hold
    info.create_system = 3  # Unix, on every system: the same bytes everywhere
    header = _header(data.shape, data.dtype)
    info.file_size = len(header) + data.nbytes
    with archive.open(info, "w") as member:
        member.write(header)
        member.write(_bytes_of(data))


def _stored_members(archive: zipfile.ZipFile, stored: int) -> dict[str, zipfile.ZipInfo]:
    """Return the members by name. Together they are no larger than the file: none is compressed, none overlaps."""
    members = {info.filename: info for info in archive.infolist()}
    if len(members) != len(archive.infolist()):
        raise CheckpointError("holds two members of one name")
    for info in members.values():
        if info.compress_type != zipfile.ZIP_STORED:
            raise CheckpointError(f"member {info.filename!r} is compressed")
    if sum(info.file_size for info in members.values()) > stored:
        raise CheckpointError("declares more bytes than it holds")
    for name in (MANIFEST, DIGEST):
        if name + ".npy" not in members:
            raise CheckpointError(f"member {name!r} is missing: not a file of allconv, or a damaged one")
    return members


def _read_manifest(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo]) -> dict[str, Any]:
    with _damage("manifest"):
        info = members[MANIFEST + ".npy"]
        if info.file_size > MANIFEST_LIMIT + 128:
            raise CheckpointError(f"declares {info.file_size} bytes, more than {MANIFEST_LIMIT}")
        content = archive.read(info)
        text = content[content.index(b"\n") + 1 :]
        expected = _header((32,), np.dtype(np.uint8)) + hashlib.sha256(text).digest()
        with archive.open(members[DIGEST + ".npy"]) as member:
            stated = member.read(len(expected) + 1)
        if stated != expected:
            raise CheckpointError("does not have the SHA-256 that the file states")
        manifest: dict[str, Any] = json.loads(text.decode("utf-8", "surrogatepass"))
        if manifest["format"] != FORMAT:
            raise CheckpointError(f"has format {manifest['format']!r}; this version of allconv reads {FORMAT}")
        return manifest


def _read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, entry: dict[str, Any]) -> Array:
    shape, dtype = tuple(entry["shape"]), DTYPES[entry["dtype"]]
    if len(shape) > RANK_LIMIT or not all(type(size) is int and size >= 0 for size in shape):
        raise CheckpointError(f"cannot have shape {describe(shape)}")
    header = _header(shape, dtype)
    if info.file_size != len(header) + math.prod(shape) * dtype.itemsize:
        raise CheckpointError(f"of shape {shape} and dtype {dtype} cannot have {info.file_size} bytes with its header")
    array = np.empty(shape, dtype.newbyteorder("<"))
    data = _bytes_of(array)
    with archive.open(info) as member:
        if member.read(len(header)) != header:
            raise CheckpointError("does not have the header that the manifest states")
        for start in range(0, len(data), CHUNK):
            chunk = member.read(CHUNK)
            data[start : start + len(chunk)] = chunk
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise CheckpointError("does not have the SHA-256 that the manifest states")
    return array.astype(dtype, copy=False)


@contextlib.contextmanager
def _damage(what: str) -> Iterator[None]:
    """Turn every error into a CheckpointError that begins with `what`.

    Damaged files raise at least BadZipFile, ValueError, EOFError, OSError (a seek before the start), struct.error,
    NotImplementedError, RuntimeError, KeyError, TypeError, OverflowError, RecursionError and MemoryError.
    """
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{what}: {error}") from error.__cause__
    except Exception as error:
        raise CheckpointError(f"{what}: {type(error).__name__}: {error}") from error
