"""The fields of a protobuf message, counted before it is parsed.

A message is a row of fields: a tag with the field's number and kind, then a number, or a length and so many bytes.
Those bytes may be a message again. An empty message takes two bytes in a file and up to 200 when it is parsed. A small
file could fill the memory so, which is why its fields are counted first.
"""

from typing import Any, BinaryIO

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # the kinds of fields that the language of ONNX' files can make


def check_fields(file: BinaryIO, size: int, descriptor: Any, limit: int) -> None:
    """Check that the message of `size` bytes at the start of `file` has at most `limit` fields, and go back to it.

    Parameters
    ----------
    file : file
        Only tags and lengths are read, no contents.
    size : int
        The number of bytes.
    descriptor : Descriptor
        What protobuf says of the message's type: which of its fields are messages.
    limit : int
        The largest number of fields, those of inner messages included.

    Raises
    ------
    ValueError
        The message has more fields, or its lengths lead out of it.
    """
    ends = [(size, descriptor)]  # for each message around the place in the file its end and its type
    for _ in range(limit):
        while ends and file.tell() == ends[-1][0]:
            ends.pop()
        if not ends:
            file.seek(0)
            return
        end, kind = ends[-1]
        tag = _number(file)
        if tag & 7 == _BYTES:
            length = _number(file)
            field = kind.fields_by_number.get(tag >> 3)
            if file.tell() + length <= end and field is not None and field.message_type is not None:
                ends.append((file.tell() + length, field.message_type))
            else:
                file.seek(length, 1)
        elif tag & 7 == _VARINT:
            _number(file)
        elif tag & 7 in (_FIXED64, _FIXED32):
            file.seek(8 if tag & 7 == _FIXED64 else 4, 1)
        else:
            raise ValueError(f"is no message of protobuf: a tag {tag} at byte {file.tell()}")
        if file.tell() > end:
            raise ValueError(f"is a damaged message of protobuf: a field leads out of it to byte {file.tell()}")
    raise ValueError(f"has more than {limit} fields, more than a graph here can need")


def _number(file: BinaryIO) -> int:
    """Read an integer: seven bits in each byte, the lowest first, and the eighth bit tells that more follow."""
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            break
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value
    raise ValueError("is a damaged message of protobuf: a number has no end")
