"""Weights in the safetensors format: a header in JSON, and after it the arrays' bytes.

https://github.com/huggingface/safetensors describes the format:

    8 bytes                the length of the header, a little-endian integer
    the header             {"0.weight": {"dtype": "F32", "shape": [4, 2], "data_offsets": [0, 32]}, ...}
    the arrays' bytes      little-endian, in C order, without a gap; offsets count from the first of them
"""

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from allconv.checkpoint.atomic import atomic_write
from allconv.checkpoint.npz import RANK_LIMIT, bytes_of
from allconv.interop.files import from_bfloat16, read_into, reading
from allconv.layers.base import Layer
from allconv.typing import Array
from allconv.validation import check_instance, check_path, describe

HEADER_LIMIT = 3 << 20  # bounds the header, in bytes: one of 25,000 arrays has so many, and takes up to 80 MB
_DTYPES = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4", "U64": "<u8",
    "I64": "<i8", "F16": "<f2", "BF16": "<u2", "F32": "<f4", "F64": "<f8", "C64": "<c8",
}  # fmt: skip
_NAMES = {"float32": "F32", "float64": "F64"}  # the dtypes that parameters have


def save_safetensors(model: Layer, path: str | Path) -> None:
    """Write the model's parameters, running statistics among them, to the safetensors file `path`.

    Parameters
    ----------
    model : Layer
        Its parameters are written under their paths, such as ``0.weight``, and in this library's layouts. What
        layers hold besides (a Skip's scale, a Dropout's generator) has no place in the format; `save_weights` keeps
        it.
    path : path
        The file appears whole or not at all, and replaces one that is there.

    Raises
    ------
    TypeError, ValueError
        `model` is no Layer, or `path` no path; or the parameters are so many that the header would be too long to be
        read again.
    OSError
        The file could not be written; `path` is as it was.

    Examples
    --------
    >>> import tempfile
    >>> from allconv.layers.linear import Linear
    >>> model = Linear(2, 3)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_safetensors(model, f"{folder}/model.safetensors")
    ...     arrays = load_safetensors(f"{folder}/model.safetensors")
    >>> np.array_equal(arrays["weight"], model.weight.value)
    True
    """
    check_instance("model", model, Layer)
    path = check_path("path", path)
    header: dict[str, Any] = {"__metadata__": {"format": "allconv"}}
    arrays, end = [], 0
    for name, parameter in model.named_parameters():
        dtype = _NAMES[parameter.value.dtype.name]
        array = np.ascontiguousarray(parameter.value, _DTYPES[dtype])
        start, end = end, end + array.nbytes
        header[name] = {"dtype": dtype, "shape": list(parameter.value.shape), "data_offsets": [start, end]}
        arrays.append(array)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the arrays are aligned for whoever maps the file into memory
    if len(text) > HEADER_LIMIT:
        raise ValueError(f"model must have a header of at most {HEADER_LIMIT} bytes, got {len(text)}")
    with atomic_write(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays:
            file.write(bytes_of(array))


def load_safetensors(path: str | Path) -> dict[str, Array]:
    """Return the arrays of a safetensors file, as the file has them; `assign` puts them into a model.

    Parameters
    ----------
    path : path
        The file. The lengths and offsets in it are checked before any array is made.

    Returns
    -------
    dict of str to array
        The arrays by name, in the header's order. bfloat16, which NumPy lacks, is widened to float32.

    Raises
    ------
    TypeError
        `path` is no path.
    ValueError
        The file is damaged, of another kind, or holds an array of a dtype that NumPy lacks, such as float8; the
        message names file, array and reason.
    OSError
        The file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> header = b'{"w":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}'
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "w.safetensors"
    ...     n = path.write_bytes(len(header).to_bytes(8, "little") + header + bytes.fromhex("803f0040"))
    ...     load_safetensors(path)
    {'w': array([1., 2.], dtype=float32)}
    """
    with reading(path) as (file, size):
        arrays = {}
        entries = _read_header(file, size)
        for name, (dtype, shape, _) in sorted(entries.items(), key=lambda entry: entry[1][2]):
            array = read_into(file, np.empty(shape, _DTYPES[dtype]))
            arrays[name] = from_bfloat16(array) if dtype == "BF16" else array.astype(array.dtype.newbyteorder("="))
        return {name: arrays[name] for name in entries}


def _read_header(file: BinaryIO, size: int) -> dict[str, tuple[str, tuple[int, ...], tuple[int, int]]]:
    """Return {name: (dtype, shape, (start, end))} for a file of `size` bytes, with every number checked."""
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(size - 8, HEADER_LIMIT):
        raise ValueError(
            f"declares a header of {length} bytes, of {size - 8} in the file; at most {HEADER_LIMIT} are read"
        )
    header = json.loads(file.read(length), object_pairs_hook=_without_duplicates)
    if not isinstance(header, dict):
        raise ValueError(f"must have a dict as its header, got {describe(header)}")  # noqa: TRY004
    header.pop("__metadata__", None)
    entries = {name: _checked_entry(name, entry) for name, entry in header.items()}
    ends = sorted(offsets for _, _, offsets in entries.values())
    for (_, end), (start, _) in pairwise([(0, 0), *ends, (size - 8 - length, 0)]):
        if end != start:
            raise ValueError(f"has arrays that overlap, leave a gap or miss the file's end, at {end} and {start}")
    return entries


def _checked_entry(name: str, entry: Any) -> tuple[str, tuple[int, ...], tuple[int, int]]:
    """Return (dtype, shape, (start, end)) of the array `name`, if they agree with each other."""
    match entry:
        case {
            "dtype": str() as dtype,
            "shape": list() as shape,
            "data_offsets": [int() as start, int() as end],
            **rest,
        }:
            if dtype not in _DTYPES:
                raise ValueError(f"array {name!r} has the dtype {dtype[:20]}, which NumPy lacks")
            whole = all(type(length) is int and length >= 0 for length in shape)
            if not rest and whole and len(shape) <= RANK_LIMIT and 0 <= start <= end:
                needed = math.prod(shape) * np.dtype(_DTYPES[dtype]).itemsize
                if needed != end - start:
                    raise ValueError(
                        f"array {name!r} of shape {describe(tuple(shape))} and dtype {dtype} cannot have "
                        f"{end - start} bytes"
                    )
                return dtype, tuple(shape), (start, end)
    raise ValueError(f"array {name!r} must have a dtype, a shape and a pair of offsets, got {describe(entry)}")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object as a dict; a second value for one name is an error."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("holds two entries of one name")
    return found
