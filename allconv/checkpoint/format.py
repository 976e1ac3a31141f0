"""The file format of checkpoints and weights: one verified file for a nested dict of arrays and plain values.

The file is an uncompressed .npz, which ``np.load(path, allow_pickle=False)`` reads too. Its member ``manifest``
is JSON text (UTF-8) in a uint8 array, and ``manifest_sha256`` holds the 32 bytes of its SHA-256:

- ``format``: 1; a reader refuses a number that it does not know
- ``versions``: of allconv, NumPy and Python that wrote the file
- ``values``: the nested dict, with null where an array stands
- ``arrays``: for each its ``name``, ``shape``, ``dtype`` and the ``sha256`` of its bytes (little-endian, C order)

An array's name is its path in the dict, joined by slashes: ``model/0.weight``. Keys are percent-encoded as in a
URL, so that a name is always ASCII and one name is one path. The same values give the same bytes.

Zip's own CRC is not enough: one bit flipped in a zip's directory can make members vanish. So a reader believes only
what the hashes cover. It allocates an array only once the file is known to be long enough for it, and it never reads a
pickle. The zip's directory and the manifest are bounded, so that a hostile file costs little before it is refused.
"""

import hashlib
import json
import platform
import urllib.parse
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from allconv.checkpoint import npz
from allconv.checkpoint.atomic import atomic_write
from allconv.checkpoint.errors import CheckpointError, damage
from allconv.typing import Array
from allconv.validation import check_instance, check_path, describe

FORMAT = 1
MANIFEST, DIGEST = "manifest", "manifest_sha256"
MANIFEST_LIMIT = 1 << 24  # bounds the manifest, in bytes
VALUES_LIMIT = 1 << 19  # bounds the plain values of a manifest: each takes up to 120 bytes of memory, 60 MB in all
DEPTH_LIMIT = 50  # bounds how deep dicts and lists are nested: well below where Python's JSON reader gives up
INT_BITS_LIMIT = 14_000  # bounds an int, to 4,214 digits: Python reads no int of more than 4,300 from text


def write(path: str | Path, state: dict[str, Any]) -> None:
    """Write the nested dict `state` to the file `path`, as it stands there, without adding a suffix.

    Parameters
    ----------
    path : path
        Appears whole or not at all (`allconv.checkpoint.atomic_write`); a file that is there is replaced.
    state : dict
        Keys are str. Values are dicts of the same kind, arrays (bool, integers, float16 to float64, complex;
        any byte order and layout), or plain: None, bool, int, float (NaN and infinity too), str, and lists and
        dicts of these. A NumPy scalar is stored as the plain value that equals it.

    Raises
    ------
    TypeError, ValueError
        `state` holds something else, or too much of it; `path` is as it was.
    OSError
        The file could not be written; `path` is as it was.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(Path(folder) / "state.npz", {"step": 3, "mean": np.zeros(2)})
    ...     read(Path(folder) / "state.npz")
    {'step': 3, 'mean': array([0., 0.])}
    """
    path = check_path("path", path)
    check_instance("state", state, dict)
    arrays: dict[str, Array] = {}
    values = _take_arrays(state, (), arrays)
    directory = sum(len(name) + 80 for name in arrays)  # zip's entry of a member has at most 78 bytes beside its name
    if directory > npz.DIRECTORY_LIMIT:
        raise ValueError(
            f"state must hold so few arrays that a list of their names has {npz.DIRECTORY_LIMIT} bytes, got {directory}"
        )
    entries: list[dict[str, Any]] = []
    manifest = {"format": FORMAT, "versions": _versions(), "values": values, "arrays": entries}
    with atomic_write(path) as file, npz.NewZip(file, "w") as archive:
        for name, array in arrays.items():
            data = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
            digest = hashlib.sha256(npz.bytes_of(data)).hexdigest()
            entries.append({"name": name, "shape": array.shape, "dtype": array.dtype.name, "sha256": digest})
            npz.write_member(archive, name, data)
        # Lone surrogates are legal in a str, and must come back as they are.
        text = json.dumps(manifest, ensure_ascii=False).encode("utf-8", "surrogatepass")
        if len(text) > MANIFEST_LIMIT:
            raise ValueError(f"state must hold at most {MANIFEST_LIMIT} bytes of plain values, got {len(text)}")
        if _count_values(text) > VALUES_LIMIT:
            raise ValueError(
                f"state must hold at most {VALUES_LIMIT} plain values (long lists of numbers belong into arrays), "
                f"got {_count_values(text)}"
            )
        npz.write_member(archive, MANIFEST, np.frombuffer(text, np.uint8))
        npz.write_member(archive, DIGEST, np.frombuffer(hashlib.sha256(text).digest(), np.uint8))


def check_storable(state: dict[str, Any]) -> None:
    """Raise the TypeError or ValueError of `write` for a nested dict with a value that no file can hold."""
    _take_arrays(state, (), {})


def read(path: str | Path) -> dict[str, Any]:
    """Return the nested dict that `write` put into the file `path`.

    Parameters
    ----------
    path : path
        A regular file: a device or a FIFO is refused, unread.

    Returns
    -------
    dict
        What was written; arrays have the native byte order and C order.

    Raises
    ------
    CheckpointError
        The file is damaged or of another kind; the message names the file and, where it is one, the array.
    OSError
        The file cannot be opened.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(f"{folder}/state.npz", {"step": 3})
    ...     read(f"{folder}/state.npz")
    {'step': 3}
    """
    path = check_path("path", path)
    with npz.open_regular(path) as file:
        return read_file(file, str(path))


def read_file(file: BinaryIO, name: str) -> dict[str, Any]:
    """Return what `read` returns, from an open file that can seek; messages of errors begin with `name`."""
    with damage(name), npz.open_zip(file) as archive:
        members = npz.stored_members(archive, file.seek(0, 2))
        manifest = _read_manifest(archive, members)
        arrays = dict(_read_arrays(archive, members, manifest))
        state = _put_arrays(manifest["values"], (), arrays)
        if arrays or not isinstance(state, dict):
            raise CheckpointError(f"the manifest has no place for the arrays {sorted(arrays)}")
        return state


def is_whole(path: Path) -> bool:
    """Tell whether `path` is a file of this format without damage, reading one array at a time into memory."""
    try:
        with npz.open_regular(path) as file, damage(str(path)), npz.open_zip(file) as archive:
            members = npz.stored_members(archive, file.seek(0, 2))
            for _ in _read_arrays(archive, members, _read_manifest(archive, members)):
                pass
    except (CheckpointError, OSError):
        return False
    return True


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
    if type(value) not in (np.ndarray, np.memmap) or value.dtype.name not in npz.DTYPES or len(keys) < len(path):
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


def _read_manifest(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo]) -> dict[str, Any]:
    for name in (MANIFEST, DIGEST):
        if name + ".npy" not in members:
            raise CheckpointError(f"member {name!r} is missing: not a file of allconv, or a damaged one")
    with damage("manifest"):
        info = members[MANIFEST + ".npy"]
        if info.file_size > MANIFEST_LIMIT + 128:
            raise CheckpointError(f"declares {info.file_size} bytes, more than {MANIFEST_LIMIT}")
        content = archive.read(info)
        text = content[content.index(b"\n") + 1 :]
        if _count_values(text) > VALUES_LIMIT:
            raise CheckpointError(f"holds {_count_values(text)} values, more than {VALUES_LIMIT}")
        expected = npz.npy_header((32,), np.dtype(np.uint8)) + hashlib.sha256(text).digest()
        with archive.open(members[DIGEST + ".npy"]) as member:
            stated = member.read(len(expected) + 1)
        if stated != expected:
            raise CheckpointError("does not have the SHA-256 that the file states")
        manifest: dict[str, Any] = json.loads(text.decode("utf-8", "surrogatepass"))
        if manifest["format"] != FORMAT:
            raise CheckpointError(f"has format {manifest['format']!r}; this version of allconv reads {FORMAT}")
        return manifest


def _count_values(text: bytes) -> int:
    """Return an upper bound of the number of values in JSON text: what its commas and brackets can separate."""
    return sum(text.count(mark) for mark in (b",", b"[", b"{"))


def _read_arrays(
    archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], manifest: dict[str, Any]
) -> Iterator[tuple[str, Array]]:
    """Yield name and value of each array that the manifest lists; the members must be these and no others."""
    seen = set()
    for entry in manifest["arrays"]:
        with damage(f"array {entry['name']!r}"):
            if entry["name"] + ".npy" not in members or entry["name"] in seen:
                raise CheckpointError("is missing")
            seen.add(entry["name"])
            array = npz.read_array(archive, members[entry["name"] + ".npy"], entry)
        yield entry["name"], array
    if len(members) != len(seen) + 2:
        raise CheckpointError("holds members that the manifest does not list")
