"""Numbers where a mask is true, and zeros elsewhere."""

import numpy as np

from allconv.typing import Array

_INTEGERS = {2: np.int16, 4: np.int32, 8: np.int64}  # By the bytes of a floating dtype: the integers of its size.


def masked(values: Array, mask: Array, out: Array | None = None) -> Array:
    """Return the values where a mask is true, and 0 elsewhere, whatever the values are.

    Parameters
    ----------
    values : array
        Numbers of a real floating dtype.
    mask : array of bool, of the shape of `values`
        Where the values stay.
    out : array, optional
        Where to write the result, in the shape and dtype of `values`. The default is a new array.

    Returns
    -------
    array
        The result, which is `out` if that is given.

    Notes
    -----
    The product of a value and the mask is NaN where an infinity or NaN is masked. Here the bits of the numbers are
    multiplied, as integers. Both are many times as fast as np.where, whose branches follow the mask.

    Examples
    --------
    >>> masked(np.array([np.inf, 2.0, np.nan]), np.array([False, True, False]))
    array([0., 2., 0.])
    """
    if out is None:
        out = np.empty_like(values)
    integers = _INTEGERS.get(values.dtype.itemsize)
    if integers is None:
        out[...] = np.where(mask, values, 0)  # NumPy has no integers of the size of a long double.
    else:
        np.multiply(values.view(integers), mask, out=out.view(integers))
    return out
