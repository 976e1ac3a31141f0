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
