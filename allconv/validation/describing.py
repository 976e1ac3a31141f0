"""The words in which a message shows a value."""

import numpy as np


def describe(value: object) -> str:
    """Return a short description of a value, for a message.

    Parameters
    ----------
    value : object
        Anything.

    Returns
    -------
    str
        Shape and dtype of an array, the repr of anything else, cut to 80 characters.

    Examples
    --------
    >>> describe(np.zeros(3)), describe("one")
    ('an array of shape (3,) and dtype float64', "'one'")
    """
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    try:
        text = repr(value)
    except Exception:  # Python refuses to print an int of more than 4300 digits, for example.
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= 80 else text[:77] + "..."


def where_the_array_is(name: str, value: object) -> str:
    """Return the end of a message, which says where the array is in what was passed."""
    if hasattr(value, "detach"):
        return f"; convert it first: {name}.detach().numpy()"
    if hasattr(value, "inputs") and hasattr(value, "targets"):
        return "; pass the array of the Dataset, dataset.inputs"
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], np.ndarray):
        pair = "(y, cache), as forward returns it" if isinstance(value[1], list | tuple) else "of two arrays"
        return f"; this is a pair {pair}: pass its first part"
    return ""
