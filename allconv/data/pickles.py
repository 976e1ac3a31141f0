"""The instructions of a pickle, looked at before any is obeyed.

A pickle is a program for a small stack machine. Python's reader of it takes much on trust, whatever names it may
import: nine bytes with a large memo index reserve gigabytes, and a key made of nested tuples takes forever to hash.
Here a reader says which instructions it needs, and gets an error for every other one.
"""

import pickletools
from collections.abc import Collection, Mapping
from typing import Any, BinaryIO

# The instructions of plain data, by what they do to the stack and the memo.
STRINGS = {
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
INTS = {"INT", "LONG", "LONG1", "BININT", "BININT1", "BININT2"}
_PUTS = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
_GETS = {"GET", "BINGET", "LONG_BINGET"}
_CHANGES = {"APPEND", "APPENDS", "SETITEM", "SETITEMS", "BUILD"}  # These instructions change a value in place.
PLAIN = (
    STRINGS
    | INTS
    | _PUTS
    | _GETS
    | _CHANGES
    | {
        *("PROTO", "FRAME", "MARK", "STOP", "GLOBAL", "STACK_GLOBAL", "REDUCE", "NONE", "NEWTRUE", "NEWFALSE"),
        *(
            "EMPTY_LIST",
            "LIST",
            "EMPTY_DICT",
            "DICT",
            "EMPTY_TUPLE",
            "TUPLE",
            "TUPLE1",
            "TUPLE2",
            "TUPLE3",
            "BYTEARRAY8",
        ),
    }
)


def instructions(names: Collection[str]) -> dict[bytes, pickletools.OpcodeInfo]:
    """Return the instructions of those names by the byte that stands for each."""
    return {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes if opcode.name in names}


def check_instructions(
    stream: BinaryIO,
    size: int,
    known: Mapping[bytes, pickletools.OpcodeInfo],
    *,
    keys: Collection[str],
    limit: int,
) -> int:
    """Raise unless a whole and harmless pickle starts where `stream` stands, and return where it ends.

    Parameters
    ----------
    stream : file
        The file, which is read up to the end of the pickle.
    size : int
        The bytes of the whole file.
    known : mapping
        The instructions that the pickle may have, as `instructions` returns them.
    keys : collection of str
        The names of the instructions that may make the key of a dict.
    limit : int
        The most instructions.

    Returns
    -------
    int
        The place in the file after the last instruction.

    Raises
    ------
    TypeError, ValueError
        If the pickle is cut or damaged, or has another instruction, another key or more instructions.
    """
    values: list[str] = []  # The instruction that made each value on the stack.
    marks: list[int] = []
    memo: dict[int, str] = {}
    frame_end = 0
    for count in range(limit):
        start = stream.tell()
        code = stream.read(1)
        if code not in known:
            raise ValueError(f"the instruction {code!r}, which plain data has no need of" if code else "its early end")
        opcode = known[code]
        # The readline is for STRING: the reader of pickletools refuses what is not ASCII.
        argument: Any = stream.readline() if opcode.name == "STRING" else opcode.arg and opcode.arg.reader(stream)
        if stream.tell() > frame_end > start or (opcode.name == "FRAME" and start < frame_end):
            raise ValueError("an instruction that crosses the end of a frame")  # the reader in C would lose its start
        match opcode.name:
            case "STOP":
                if len(values) != 1 or marks:
                    raise ValueError("STOP before the end, or with other than one value on the stack")
                return stream.tell()
            case "FRAME":
                frame_end = stream.tell() + argument
                if frame_end > size:
                    raise ValueError("its end, in the middle of a frame")
            case "MARK":
                marks.append(len(values))
            case name if name in _PUTS:
                index = len(memo) if name == "MEMOIZE" else argument
                if not 0 <= index <= count:  # a writer counts from 0 or 1
                    raise ValueError("a memo index above the number of instructions")
                memo[index] = _top(values, marks)
            case name if name in _GETS:
                if argument not in memo:
                    raise ValueError("a reference to what was not stored")
                values.append(memo[argument])
            case _:
                _apply(opcode, values, marks, keys)
    raise ValueError(f"more than {limit} instructions")


def _apply(opcode: pickletools.OpcodeInfo, values: list[str], marks: list[int], allowed: Collection[str]) -> None:
    """Take from the stack what the instruction takes, and push what it makes, each named by its instruction."""
    name, before, taken = opcode.name, opcode.stack_before, []
    if pickletools.markobject in before:
        if not marks:
            raise ValueError("a list without a mark")
        first = marks.pop()
        taken = values[first:]
        del values[first:]
        before = before[: before.index(pickletools.markobject)]
    if before:
        _top(values, marks, len(before))
        taken = values[-len(before) :] + taken
        del values[-len(before) :]
    keys = {"DICT": taken[::2], "SETITEM": taken[1::2], "SETITEMS": taken[1::2]}.get(name, [])
    if not all(key in allowed for key in keys):
        raise TypeError("a key that is not a string" if "INT" not in allowed else "a key that is no string and no int")
    values += [taken[0] if name in _CHANGES else name] * len(opcode.stack_after)


def _top(values: list[str], marks: list[int], count: int = 1) -> str:
    """Return the value on top of the stack, which must have `count` above its last mark."""
    if len(values) - (marks[-1] if marks else 0) < count:
        raise ValueError("an empty stack")
    return values[-1]
