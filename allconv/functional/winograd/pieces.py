"""Products of matrices, cut into pieces so small that BLAS takes the operands without packing."""

import functools

from allconv.functional import tuning
from allconv.typing import Array


def pieces(left: Array, right: Array, out: Array) -> list[tuple[Array, Array, Array]]:
    """Return the operands of out = left @ right, in pieces so small that BLAS takes them without packing.

    Parameters
    ----------
    left : array (..., rows, inner)
    right : array (..., inner, columns)
    out : array (..., rows, columns)

    Returns
    -------
    list of (array, array, array)
        Views of `left`, `right` and `out`: stacks of matrices for `numpy.matmul`.
    """
    (*stack, rows, inner), columns = left.shape, right.shape[-1]
    height = min(rows, tuning.WINOGRAD.piece_rows)
    width = _piece_columns(columns, tuning.WINOGRAD.small_product // (height * inner))
    if not width:
        return [(left, right, out)]
    whole = rows // height * height
    cut = [
        (
            left[..., :whole, :].reshape(*stack, -1, 1, height, inner),
            right.reshape(*stack, 1, inner, -1, width).swapaxes(-3, -2),
            out[..., :whole, :].reshape(*stack, -1, height, columns // width, width).swapaxes(-3, -2),
        )
    ]
    return cut if whole == rows else [*cut, (left[..., whole:, :], right, out[..., whole:, :])]


@functools.cache
def _piece_columns(columns: int, most: int) -> int:
    """Return the largest divisor of `columns` that is at most `most`, or 0 where it would be too narrow."""
    least = tuning.WINOGRAD.least_piece_columns
    return next((width for width in range(min(columns, most), least - 1, -1) if columns % width == 0), 0)
