"""From a padding argument to the rows and columns of padding, and to the size of the output."""

from typing import Literal

from allconv.functional.rounding import ceil_div
from allconv.typing import Pair
from allconv.validation import check_choice, describe, is_int

Pads = tuple[Pair, Pair]  # ((top, bottom), (left, right))
Padding = Literal["same", "same_lower", "valid"] | int | tuple[int, int] | tuple[int, int, int, int]

_NAMES = ("same", "same_lower", "valid")
_RULE = "'same', 'same_lower', 'valid', a non-negative int, a pair of them or four of them (top, left, bottom, right)"


def check_padding(name: str, value: object) -> Padding:
    """Return `value` if it is a padding argument: a name, an int, a pair or four numbers.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    value : object
        What a caller passed.

    Returns
    -------
    str, int or tuple of int
        The value, with Python's own integers.

    Raises
    ------
    TypeError, ValueError
        For anything else; the message names the argument, the rule and the value.

    Examples
    --------
    >>> check_padding("padding", [1, 2])
    (1, 2)
    """
    if isinstance(value, str):
        return check_choice(name, value, _NAMES)  # type: ignore[return-value]
    numbers = (value,) if is_int(value) else value
    message = f"{name} must be {_RULE}, got {describe(value)}"
    if not isinstance(numbers, tuple | list) or not all(is_int(number) for number in numbers):
        raise TypeError(message)
    if len(numbers) not in (1, 2, 4) or (len(numbers) == 1 and not is_int(value)) or min(numbers) < 0:
        raise ValueError(message)
    return int(numbers[0]) if is_int(value) else tuple(map(int, numbers))  # type: ignore[return-value]


def resolve_padding(padding: Padding, size: Pair, kernel: Pair, stride: Pair, dilation: Pair = (1, 1)) -> Pads:
    """Return the rows and columns of zeros that a padding argument means for an input.

    Parameters
    ----------
    padding : {"same", "same_lower", "valid"}, int, pair or four of int
        "same" gives ceil(size / stride) outputs, as in TensorFlow: an odd row or column of padding goes to the bottom
        and the right. With "same_lower" it goes to the top and the left. A pair is (vertical, horizontal), four
        numbers are (top, left, bottom, right).
    size : pair of int
        (H, W).
    kernel, stride, dilation : pair of int
        (vertical, horizontal).

    Returns
    -------
    pair of pairs of int
        ((top, bottom), (left, right)).

    Examples
    --------
    >>> resolve_padding("same", (32, 32), (3, 3), (2, 2))
    ((0, 1), (0, 1))
    """
    if isinstance(padding, int):
        padding = (padding, padding)
    if isinstance(padding, tuple):
        top, left, bottom, right = padding if len(padding) == 4 else padding * 2
        return (top, bottom), (left, right)
    if padding == "valid":
        return (0, 0), (0, 0)
    pads = []
    for n, k, s, d in zip(size, kernel, stride, dilation, strict=True):
        total = max((ceil_div(n, s) - 1) * s + d * (k - 1) + 1 - n, 0)
        less, more = total // 2, total - total // 2
        pads.append((less, more) if padding == "same" else (more, less))
    return pads[0], pads[1]


def output_size(size: Pair, pads: Pads, kernel: Pair, stride: Pair, dilation: Pair = (1, 1)) -> Pair:
    """Return the height and the width of the output.

    Parameters
    ----------
    size : pair of int
        (H, W).
    pads : pair of pairs of int
        ((top, bottom), (left, right)).
    kernel, stride, dilation : pair of int
        (vertical, horizontal).

    Returns
    -------
    pair of int
        (H_out, W_out). Rows and columns at the end that no whole window reaches have no output.

    Raises
    ------
    ValueError
        Where not even one window fits; the message states the sizes.

    Examples
    --------
    >>> output_size((6, 7), ((0, 0), (1, 1)), (3, 3), (2, 2))
    (2, 4)
    """
    result = []
    for n, (before, after), k, s, d in zip(size, pads, kernel, stride, dilation, strict=True):
        room = n + before + after - d * (k - 1) - 1
        if room < 0:
            raise ValueError(
                f"the window must fit into the padded input: kernel {kernel} with dilation {dilation} "
                f"on input {size}, got padding {pads}"
            )
        result.append(room // s + 1)
    return result[0], result[1]
