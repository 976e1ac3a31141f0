"""A reader of pickled CIFAR batches that cannot run code.

A pickle is a program for a small stack machine: it may import any name and call it, which is how a data file comes
to delete a home folder. Python's own reader, `pickle.Unpickler`, is made safe here in two steps:

1. `check_instructions` walks through the instructions before any is obeyed. It knows only those that a batch needs,
   and it bounds what the C code of Python would take on trust.
2. `_Reader` resolves the few names that pickled uint8 arrays and bytes mention, each matched exactly, to stand-ins.
   It imports nothing, and no code of NumPy runs: an array is made over bytes that the file really holds.

It reads what Python 2 wrote (protocols 0 to 2; the official files are protocol 2) and what Python 3 writes
(protocols 0 to 5).
"""

import io
import math
import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np

from allconv.data.pickles import PLAIN, STRINGS, check_instructions, instructions
from allconv.typing import Array

# Bounds the number of instructions, and with it the time (half a second) and the memory. A batch of 10,000 images
# takes 30,000; 140,000 where each file name is a call.
_MAX_STEPS = 200_000

_INSTRUCTIONS = instructions(PLAIN)
_KEYS = STRINGS | {"REDUCE"}  # a call makes bytes, or raises

# NumPy 2 renamed its package numpy.core to numpy._core.
_GLOBALS = {
    ("numpy.core.multiarray", "_reconstruct"): "reconstruct",
    ("numpy._core.multiarray", "_reconstruct"): "reconstruct",
    ("numpy.core.numeric", "_frombuffer"): "frombuffer",
    ("numpy._core.numeric", "_frombuffer"): "frombuffer",
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",
}


def loads(data: bytes, name: str = "data") -> dict[str, Any]:
    """Return the dict that the pickle `data` holds, with keys as str and arrays as read-only uint8 arrays.

    Parameters
    ----------
    data : bytes
        The whole pickle.
    name : str
        What to call it in an error: the file's path.

    Returns
    -------
    dict
        The pickled dict. Strings of Python 2 are bytes.

    Raises
    ------
    ValueError
        If the pickle is not a dict of ints, strings, bytes, lists and uint8 arrays, is cut or damaged, or holds code.
        The message has the reason, and the byte up to which the pickle was read.

    Examples
    --------
    >>> import pickle
    >>> loads(pickle.dumps({b"labels": [3, 8], b"data": np.zeros((2, 3), np.uint8)}))["data"].shape
    (2, 3)
    """
    stream = io.BytesIO(data)
    try:
        if check_instructions(stream, len(data), _INSTRUCTIONS, keys=_KEYS, limit=_MAX_STEPS) != len(data):
            raise ValueError("STOP before the end")  # noqa: TRY301
        stream.seek(0)
        value = _Reader(stream, len(data)).load()
        if not isinstance(value, dict):
            raise TypeError(f"a {type(value).__name__} in place of a dict")  # noqa: TRY301
        return {_text(key): _plain(item) for key, item in value.items()}
    except Exception as error:  # whatever a damaged or hostile file provokes
        raise ValueError(
            f"{name} must be a pickled dict of ints, strings, lists and uint8 arrays and nothing else, "
            f"got at byte {stream.tell()} of {len(data)}: {str(error)[:200]}"
        ) from error


class _Reader(pickle.Unpickler):
    """Python's reader, with stand-ins for the names of a batch and without any other."""

    def __init__(self, stream: io.BytesIO, size: int) -> None:
        super().__init__(stream, encoding="bytes")
        self.encodable = size  # how many bytes _codecs.encode may still make

    def find_class(self, module: str, name: str) -> "_Global":
        if (module, name) not in _GLOBALS:
            raise ValueError(f"the global {f'{module}.{name}'!r}, which a batch has no need of")
        return _Global(_GLOBALS[module, name], self)


@dataclass(frozen=True)
class _Global:
    """Stands for a name that a batch mentions. Calls are matched literally; NumPy's own code never runs."""

    name: str
    reader: _Reader

    def __call__(self, *arguments: object) -> object:
        match self.name, arguments:
            case "reconstruct", (_Global("ndarray"), (0,), b"b" | "b"):
                return _PickledArray()
            case "dtype", (b"u1" | "u1", 0, 1):  # align and copy: 0 and 1, or False and True
                return _UInt8()
            case "frombuffer", (bytes() | bytearray() as buffer, _UInt8(), tuple() as shape, "C" | "F" as order):
                return _PickledArray(_view(buffer, shape, fortran=order == "F"))
            case "encode", (str() as text, "latin1"):  # bytes, as Python 3 writes them in protocols 0 to 2
                self.reader.encodable -= len(text)
                if self.reader.encodable < 0:
                    raise ValueError("more encoded bytes than the pickle has")
                return text.encode("latin-1")
        raise ValueError("a call that a batch has no need of")

    def __setstate__(self, state: object) -> None:
        raise ValueError("a state that is not that of a uint8 array")


@dataclass
class _UInt8:
    """Stands for dtype uint8, the only one. It has no hash, nor has an array: neither can be a key."""

    def __setstate__(self, state: object) -> None:
        if state not in ((3, b"|", None, None, None, -1, -1, 0), (3, "|", None, None, None, -1, -1, 0)):
            raise ValueError("a state that is not that of dtype uint8")


@dataclass
class _PickledArray:
    """Stands for an array, whose contents may come after it is made."""

    value: Array | None = None

    def __setstate__(self, state: object) -> None:
        match state:
            case (1, tuple() as shape, _UInt8(), bool() | 0 | 1 as fortran, bytes() as buffer):
                self.value = _view(buffer, shape, fortran=bool(fortran))
            case _:
                raise ValueError("a state that is not that of a uint8 array")


def _view(buffer: bytes | bytearray, shape: tuple[object, ...], *, fortran: bool) -> Array:
    """Return the bytes as an array of `shape`, which must hold exactly as many: nothing is allocated."""
    lengths = [length for length in shape if type(length) is int and length >= 0]
    if len(shape) > 4 or len(lengths) != len(shape) or math.prod(lengths) != len(buffer):
        raise ValueError("an array whose shape does not match its bytes")
    array = np.frombuffer(memoryview(buffer).toreadonly(), np.uint8)
    return array.reshape(lengths, order="F" if fortran else "C")


def _text(key: object) -> str:
    if not isinstance(key, bytes | str):
        raise TypeError("a key that is not a string")
    return key.decode("latin-1") if isinstance(key, bytes) else key


def _plain(item: object) -> object:
    if not isinstance(item, _PickledArray):
        return item
    if item.value is None:
        raise ValueError("an array without contents")
    return item.value
