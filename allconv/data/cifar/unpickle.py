"""A reader of pickled CIFAR batches that cannot run code.

A pickle is a program for a small stack machine: it may import any name and call it, which is how a data file comes
to delete a home folder. The machine below knows only the instructions that a batch needs. It imports nothing and
calls nothing: each use of the five names that pickled uint8 arrays and bytes mention is matched literally, and
answered with an array over the bytes of the file; anything else raises.

It reads what Python 2 wrote (protocols 0 to 2; the official files are protocol 2) and what Python 3 writes
(protocols 0 to 5). A pickle costs at most a fixed number of steps, and memory in proportion to its own length: no
shape, length or memo index that it declares is believed before the bytes are there.
"""

import codecs
import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from allconv.typing import Array

_MAX_STEPS = 1_000_000  # a batch of 10,000 images takes 30,000; 140,000 where each file name is a call

_ADMITTED = {
    "numpy.core.multiarray._reconstruct": "reconstruct",
    "numpy.core.numeric._frombuffer": "frombuffer",
    "numpy.ndarray": "ndarray",
    "numpy.dtype": "dtype",
    "_codecs.encode": "encode",
}


@dataclass(frozen=True)
class _Name:
    """One of the globals that a batch may mention. It is compared with, never imported and never called."""

    name: str


class _UInt8:
    """Stands for dtype uint8, the only one."""


@dataclass(eq=False)
class _PickledArray:
    """Stands for an array, whose contents may come after it is made."""

    value: Array | None = None


def loads(data: bytes, name: str = "data") -> dict[str, Any]:
    """Return the dict that the pickle `data` holds, with keys as str and arrays as read-only uint8 arrays.

    Parameters
    ----------
    data : bytes
        The whole pickle.
    name : str
        What to call it in an error: the file's path.

    Raises
    ------
    ValueError
        If the pickle is not a dict of ints, strings, bytes, lists and uint8 arrays, is cut or damaged, or holds code.

    Examples
    --------
    >>> loads(pickle.dumps({b"labels": [3, 8], b"data": np.zeros((2, 3), np.uint8)}))["data"].shape
    (2, 3)
    """
    machine = _Machine(data)
    try:
        value = machine.run()
        if not isinstance(value, dict):
            raise TypeError(f"a {type(value).__name__} in place of a dict")  # noqa: TRY301
        return {_text(key): _plain(item) for key, item in value.items()}
    except Exception as error:  # whatever a damaged or hostile file provokes
        raise ValueError(
            f"{name} must be a pickled dict of ints, strings, lists and uint8 arrays and nothing else, "
            f"got at byte {machine.start} of {len(data)}: {str(error)[:200]}"
        ) from error


def _text(key: bytes | str) -> str:
    return key.decode("latin-1") if isinstance(key, bytes) else key


def _plain(item: object) -> object:
    if not isinstance(item, _PickledArray):
        return item
    if item.value is None:
        raise ValueError("an array without contents")
    return item.value


class _Machine:
    """The stack machine of the pickle protocols, cut down to the instructions of a batch."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0
        self.start = 0  # where the present instruction starts
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.encoded = 0  # bytes made by _codecs.encode

    def run(self) -> object:
        for _ in range(_MAX_STEPS):
            self.start = self.position
            opcode = self.take(1)
            if opcode == pickle.STOP:
                if len(self.stack) != 1 or self.position != len(self.data):
                    raise ValueError("STOP before the end, or with other than one value on the stack")
                return self.stack[0]
            self.step(opcode)
        raise ValueError(f"more than {_MAX_STEPS} instructions")

    def step(self, opcode: bytes) -> None:
        if opcode in _PUSHES:
            self.stack.append(_PUSHES[opcode](self))
            return
        match opcode:
            case pickle.BINPUT:
                self.memo[self.number(1)] = self.stack[-1]
            case pickle.LONG_BINPUT:
                self.memo[self.number(4)] = self.stack[-1]
            case pickle.PUT:
                self.memo[int(self.line())] = self.stack[-1]
            case pickle.MEMOIZE:
                self.memo[len(self.memo)] = self.stack[-1]
            case pickle.MARK:
                self.marks.append(len(self.stack))
            case pickle.APPEND:
                self.extend(self.pop(1))
            case pickle.APPENDS:
                self.extend(self.pop_to_mark())
            case pickle.SETITEM:
                self.update(self.pop(2))
            case pickle.SETITEMS:
                self.update(self.pop_to_mark())
            case pickle.BUILD:
                (state,) = self.pop(1)
                _set_state(self.stack[-1], state)
            case pickle.PROTO:
                self.take(1)
            case pickle.FRAME:
                self.take(8)
            case _:
                raise ValueError(f"the instruction {opcode!r}, which a batch has no need of")

    def take(self, count: int) -> bytes:
        chunk = self.data[self.position : self.position + count]
        if count < 0 or len(chunk) < count:
            raise ValueError("its end, in the middle of an instruction")
        self.position += count
        return chunk

    def number(self, width: int, *, signed: bool = False) -> int:
        return int.from_bytes(self.take(width), "little", signed=signed)

    def line(self) -> bytes:
        end = self.data.find(b"\n", self.position)
        if end < 0:
            raise ValueError("its end, in the middle of a line")
        return self.take(end + 1 - self.position)[:-1]

    def pop(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise ValueError("an empty stack")
        first = len(self.stack) - count
        values = self.stack[first:]
        del self.stack[first:]
        return values

    def pop_to_mark(self) -> list[Any]:
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        return values

    def recall(self, key: int) -> object:
        if key not in self.memo:
            raise ValueError("a reference to what was not stored")
        return self.memo[key]

    def extend(self, values: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise TypeError("an append to what is not a list")
        self.stack[-1].extend(values)

    def update(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], dict):
            raise TypeError("an item of what is not a dict")
        self.stack[-1].update(_dict(items))

    def call(self, function: object, arguments: object) -> object:
        """Answer a call that pickled uint8 arrays and bytes make; NumPy's own code for them never runs."""
        match function, arguments:
            case _Name("reconstruct"), (_Name("ndarray"), (0,), b"b" | "b"):
                return _PickledArray()
            case _Name("dtype"), (b"u1" | "u1", 0, 1):  # align and copy: 0 and 1, or False and True
                return _UInt8()
            case _Name("frombuffer"), (bytes() as buffer, _UInt8(), tuple() as shape, "C" | "F" as order):
                return _PickledArray(_view(buffer, shape, fortran=order == "F"))
            case _Name("encode"), (str() as text, "latin1"):  # bytes, as Python 3 writes them in protocols 0 to 2
                self.encoded += len(text)
                if self.encoded > len(self.data):
                    raise ValueError("more encoded bytes than the pickle has")
                return text.encode("latin-1")
        raise ValueError("a call that a batch has no need of")


# The instructions that put one value on the stack.
_PUSHES: dict[bytes, Callable[[_Machine], object]] = {
    pickle.NONE: lambda _: None,
    pickle.NEWTRUE: lambda _: True,
    pickle.NEWFALSE: lambda _: False,
    pickle.INT: lambda machine: _integer(machine.line()),
    pickle.LONG: lambda machine: int(machine.line().removesuffix(b"L")),
    pickle.BININT1: lambda machine: machine.number(1),
    pickle.BININT2: lambda machine: machine.number(2),
    pickle.BININT: lambda machine: machine.number(4, signed=True),
    pickle.LONG1: lambda machine: machine.number(machine.number(1), signed=True),
    pickle.STRING: lambda machine: _unquote(machine.line()),
    pickle.SHORT_BINSTRING: lambda machine: machine.take(machine.number(1)),
    pickle.BINSTRING: lambda machine: machine.take(machine.number(4)),
    pickle.SHORT_BINBYTES: lambda machine: machine.take(machine.number(1)),
    pickle.BINBYTES: lambda machine: machine.take(machine.number(4)),
    pickle.BINBYTES8: lambda machine: machine.take(machine.number(8)),
    pickle.BYTEARRAY8: lambda machine: machine.take(machine.number(8)),
    pickle.UNICODE: lambda machine: machine.line().decode("raw-unicode-escape"),
    pickle.SHORT_BINUNICODE: lambda machine: machine.take(machine.number(1)).decode(),
    pickle.BINUNICODE: lambda machine: machine.take(machine.number(4)).decode(),
    pickle.EMPTY_TUPLE: lambda _: (),
    pickle.TUPLE1: lambda machine: tuple(machine.pop(1)),
    pickle.TUPLE2: lambda machine: tuple(machine.pop(2)),
    pickle.TUPLE3: lambda machine: tuple(machine.pop(3)),
    pickle.TUPLE: lambda machine: tuple(machine.pop_to_mark()),
    pickle.EMPTY_LIST: lambda _: [],
    pickle.LIST: lambda machine: machine.pop_to_mark(),
    pickle.EMPTY_DICT: lambda _: {},
    pickle.DICT: lambda machine: _dict(machine.pop_to_mark()),
    pickle.GET: lambda machine: machine.recall(int(machine.line())),
    pickle.BINGET: lambda machine: machine.recall(machine.number(1)),
    pickle.LONG_BINGET: lambda machine: machine.recall(machine.number(4)),
    pickle.GLOBAL: lambda machine: _admitted(machine.line().decode(), machine.line().decode()),
    pickle.STACK_GLOBAL: lambda machine: _admitted(*machine.pop(2)),
    pickle.REDUCE: lambda machine: machine.call(*machine.pop(2)),
}


def _admitted(module: object, name: object) -> _Name:
    if not isinstance(module, str) or not isinstance(name, str):
        raise TypeError("a global whose name is not a string")
    text = f"{module}.{name}"
    known = text.replace("numpy._core.", "numpy.core.", 1)  # NumPy 2 renamed the package
    if known not in _ADMITTED:
        raise ValueError(f"the global {text!r}, which a batch has no need of")
    return _Name(_ADMITTED[known])


def _dict(items: list[Any]) -> dict[bytes | str, Any]:
    # Only strings are hashed: the hash of a deep tuple would overflow the interpreter's own stack.
    if not all(isinstance(key, bytes | str) for key in items[::2]):
        raise TypeError("a key that is not a string")
    return dict(zip(items[::2], items[1::2], strict=True))


def _set_state(target: object, state: object) -> None:
    match target, state:
        case _UInt8(), (int(), b"|" | "|", None, None, None, -1, -1, 0):
            return
        case _PickledArray(), (1, tuple() as shape, _UInt8(), bool() | 0 | 1 as fortran, bytes() as buffer):
            target.value = _view(buffer, shape, fortran=bool(fortran))
        case _:
            raise ValueError("a state that is not that of a uint8 array")


def _view(buffer: bytes, shape: tuple[object, ...], *, fortran: bool) -> Array:
    """Return the bytes as an array of `shape`, which must hold exactly as many: nothing is allocated."""
    lengths = [length for length in shape if type(length) is int and length >= 0]
    if len(shape) > 4 or len(lengths) != len(shape) or math.prod(lengths) != len(buffer):
        raise ValueError("an array whose shape does not match its bytes")
    return np.frombuffer(buffer, np.uint8).reshape(lengths, order="F" if fortran else "C")


def _integer(text: bytes) -> int:
    return text == b"01" if text in (b"00", b"01") else int(text)  # the spelling of False and True


def _unquote(text: bytes) -> bytes:
    """Return what a Python 2 string literal stands for."""
    if len(text) < 2 or text[:1] not in (b"'", b'"') or text[:1] != text[-1:]:
        raise ValueError("a string without its quotes")
    return codecs.escape_decode(text[1:-1])[0]
