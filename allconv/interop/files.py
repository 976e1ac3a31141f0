"""How a file from elsewhere is opened: a regular one, no pointer of Git LFS, and with one kind of error."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from allconv.checkpoint.errors import CheckpointError
from allconv.checkpoint.npz import open_regular
from allconv.typing import Array
from allconv.validation import check_path

_LFS = b"version https://git-lfs.github.com/spec/"


@contextlib.contextmanager
def reading(path: str | Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open `path` for reading, with its size in bytes; whatever a damaged file provokes names `path`.

    Parameters
    ----------
    path : path
        The file.

    Yields
    ------
    (file, int)
        The open file at its start, and its size in bytes.

    Raises
    ------
    TypeError
        If `path` is no path.
    ValueError
        If the file is a device or a pointer of Git LFS, or the ``with`` block raises anything but an OSError.
    OSError
        If the file cannot be opened or read.
    """
    path = check_path("path", path)
    with open_regular(path) as file:
        try:
            if file.read(len(_LFS)) == _LFS:
                raise ValueError("is a pointer of Git LFS, not the file itself; run `git lfs pull`")  # noqa: TRY301
            size = file.seek(0, 2)
            file.seek(0)
            yield file, size
        except OSError:
            raise
        except Exception as error:
            reason = str(error) if type(error) in (ValueError, CheckpointError) else f"{type(error).__name__}: {error}"
            raise ValueError(f"{path}: {reason[:1000]}") from error


def read_into(file: BinaryIO, array: Array) -> Array:
    """Fill a C-contiguous array with the next bytes of `file`, and return it; ValueError if the file ends before."""
    data = array.reshape(-1).view(np.uint8)
    if data.size and file.readinto(data.data) != data.size:  # type: ignore[attr-defined]
        raise ValueError("ends early")
    return array


def from_bfloat16(bits: Array) -> Array:
    """Return the float32 values of bfloat16 numbers, which are the upper halves of them; `bits` are uint16."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
