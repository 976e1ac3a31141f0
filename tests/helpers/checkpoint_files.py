"""The bytes of checkpoints: written, read, and made by hand from the docstring of `allconv.checkpoint.format`."""

import hashlib
import io
import json
import math
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from allconv.checkpoint import format as storage
from allconv.checkpoint.errors import CheckpointError
from allconv.checkpoint.npz import npy_header


def same(a, b) -> bool:
    """Whether `b` is what a file should give back for `a`: every type, key and bit."""
    if isinstance(a, np.ndarray):
        if type(b) is not np.ndarray or not b.dtype.isnative:
            return False
        native = a.astype(a.dtype.newbyteorder("="))
        return (native.dtype, native.shape, native.tobytes()) == (b.dtype, b.shape, b.tobytes())
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or struct.pack("d", a) == struct.pack("d", b)
    return a == b


def packed(state, tmp_path) -> bytes:
    storage.write(tmp_path / "x.npz", state)
    return (tmp_path / "x.npz").read_bytes()


def unpack(content: bytes):
    return storage.read_file(io.BytesIO(content), "x.npz")


def peak_of(function):
    """Return the most memory that a call takes, and its result."""
    tracemalloc.start()
    try:
        result = function()
        return tracemalloc.get_traced_memory()[1], result
    finally:
        tracemalloc.stop()


def refused(content, message):
    """Check that a file is refused with this message, and return the memory that this takes."""

    def check():
        with pytest.raises(CheckpointError, match=message):
            unpack(content)

    return peak_of(check)[0]


def npy(array: np.ndarray, shape=None) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    content = file.getvalue()
    return content if shape is None else npy_header(shape, array.dtype) + content[content.index(b"\n") + 1 :]


def entry(name: str, array: np.ndarray, **other) -> dict:
    digest = hashlib.sha256(npy(array)[-array.nbytes :] if array.nbytes else b"").hexdigest()
    return {"name": name, "shape": list(array.shape), "dtype": array.dtype.name, "sha256": digest} | other


def archive(members: list[tuple[str, bytes]], manifest, compression=zipfile.ZIP_STORED, digest=None) -> bytes:
    text = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    digest = np.frombuffer(digest or hashlib.sha256(text).digest(), np.uint8)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as out:
        for name, content in members:
            out.writestr(name + ".npy", content)
        out.writestr("manifest.npy", npy(np.frombuffer(text, np.uint8)), zipfile.ZIP_STORED)
        out.writestr("manifest_sha256.npy", npy(digest), zipfile.ZIP_STORED)
    return file.getvalue()


W = np.arange(6, dtype=np.float32)


def manifest_of(*entries, format=1, values=None):  # noqa: A002
    values = {"w": None} if values is None else values
    return {"format": format, "versions": {}, "values": values, "arrays": list(entries)}
