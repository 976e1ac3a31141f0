"""The members of an uncompressed .npz: arrays in a zip, each with NumPy's header, written and read with bounds."""

import hashlib
import math
import stat
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from allconv.checkpoint.errors import CheckpointError
from allconv.typing import Array
from allconv.validation import describe

DIRECTORY_LIMIT = 1 << 22  # bounds the zip's directory, in bytes: zipfile takes up to ten times that, 40 MB
CHUNK = 1 << 20  # bytes read at a time: all of an array at once would be a second copy of it
RANK_LIMIT = 64  # the most axes that an array of NumPy has
DTYPES = {
    name: np.dtype(name)
    for name in (
        *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64", "complex64", "complex128"),
    )
}


def npy_header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """Return the .npy header, version 1.0. NumPy's own differs between its versions, which would change our bytes."""
    text = f"{{'descr': {dtype.newbyteorder('<').str!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    text += " " * (-(10 + len(text) + 1) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode("ascii")


def bytes_of(array: Array) -> memoryview:
    """Return the memory of a C-contiguous array as bytes, also where it is empty or 0-d."""
    return array.reshape(-1).view(np.uint8).data


class NewZip(zipfile.ZipFile):
    """A zip to be written, of which nothing is left to do after an error.

    Closing a zip writes its directory. After an interrupt in the middle of a member it raises ValueError instead, which
    would hide the interrupt.
    """

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        """Write the directory, unless an error ends the block: the file is thrown away then."""
        if kind is None:
            self.close()
        else:
            self.fp = None  # zipfile takes this as closed


def write_member(archive: zipfile.ZipFile, name: str, data: Array) -> None:
    """Add the C-contiguous little-endian array `data` to the zip, as the member ``NAME.npy``."""
    info = zipfile.ZipInfo(name + ".npy", date_time=(1980, 1, 1, 0, 0, 0))  # the earliest that zip can hold
    info.create_system = 3  # Unix, on every system: the same bytes everywhere
    header = npy_header(data.shape, data.dtype)
    info.file_size = len(header) + data.nbytes
    with archive.open(info, "w") as member:
        member.write(header)
        member.write(bytes_of(data))


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; CheckpointError where a device or a FIFO is at `path`."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # to open a FIFO would wait; a device may have no end
        raise CheckpointError(f"{path}: is a device or a FIFO, no regular file")
    return path.open("rb")


def open_zip(file: BinaryIO) -> zipfile.ZipFile:
    """Open a zip whose directory is small: zipfile reads all of it at once, whatever length the zip declares.

    The end of a zip is a record of 22 bytes. One with large numbers has two more before it, of 56 and 20 bytes.
    """
    file.seek(-min(file.seek(0, 2), 98), 2)
    records = file.read().rjust(98, b"\0")
    large, locator, end = records[:56], records[56:76], records[76:]
    if not end.startswith(b"PK\5\6") or not end.endswith(b"\0\0"):  # the last field: the length of a comment
        raise CheckpointError("is not a zip file, or its end is missing")
    length = int.from_bytes(end[12:16], "little")
    if locator.startswith(b"PK\6\7") and large.startswith(b"PK\6\6"):
        length = int.from_bytes(large[40:48], "little")
    if length > DIRECTORY_LIMIT:
        raise CheckpointError(f"declares a directory of {length} bytes, more than {DIRECTORY_LIMIT}")
    return zipfile.ZipFile(file)


def stored_members(archive: zipfile.ZipFile, stored: int) -> dict[str, zipfile.ZipInfo]:
    """Return the members by name, for a file of `stored` bytes.

    None is compressed, and together they are no larger than the file.
    """
    members = {info.filename: info for info in archive.infolist()}
    if len(members) != len(archive.infolist()):
        raise CheckpointError("holds two members of one name")
    for info in members.values():
        if info.compress_type != zipfile.ZIP_STORED:
            raise CheckpointError(f"member {info.filename!r} is compressed")
    if sum(info.file_size for info in members.values()) > stored:
        raise CheckpointError("declares more bytes than it holds")
    return members


def read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, entry: dict[str, Any]) -> Array:
    """Return the array of the member `info`, if shape, dtype and SHA-256 are those of the manifest's `entry`."""
    shape, dtype = tuple(entry["shape"]), DTYPES[entry["dtype"]]
    if len(shape) > RANK_LIMIT or not all(type(size) is int and size >= 0 for size in shape):
        raise CheckpointError(f"cannot have shape {describe(shape)}")
    header = npy_header(shape, dtype)
    if info.file_size != len(header) + math.prod(shape) * dtype.itemsize:
        raise CheckpointError(f"of shape {shape} and dtype {dtype} cannot have {info.file_size} bytes with its header")
    array = np.empty(shape, dtype.newbyteorder("<"))
    data = bytes_of(array)
    with archive.open(info) as member:
        if member.read(len(header)) != header:
            raise CheckpointError("does not have the header that the manifest states")
        for start in range(0, len(data), CHUNK):
            chunk = member.read(CHUNK)
            data[start : start + len(chunk)] = chunk
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise CheckpointError("does not have the SHA-256 that the manifest states")
    return array.astype(dtype, copy=False)
