"""The dtype of sums in layers without parameters, whose output has the dtype of the input."""

import numpy as np

from allconv.typing import Array


def for_sums(x: Array) -> Array:
    """Return `x` in a dtype in which many of its elements can be added.

    float16 ends at 65504 and has 11 bits: a sum of thirty numbers of 2000 is infinite, and one of 70,000 numbers loses
    its last digits or all of them. Sums of float16 are therefore made in float32, and the result is rounded once.

    Parameters
    ----------
    x : array
        An array of a real floating dtype.

    Returns
    -------
    array
        A float32 copy of a float16 array, and any other array itself.

    Examples
    --------
    >>> for_sums(np.ones(3, np.float16)).dtype, for_sums(np.ones(3)).dtype
    (dtype('float32'), dtype('float64'))
    """
    return x.astype(np.float32) if x.dtype == np.float16 else x
