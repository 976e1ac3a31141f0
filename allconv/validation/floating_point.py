"""What NumPy says of overflows and invalid operations inside the library."""

from typing import Any

import numpy as np


def quiet(**kinds: Any) -> np.errstate:
    """Return a context without NumPy's warnings of overflow, division by zero and invalid operations.

    A number that is not finite shows in the result, and a warning would name a line of the library that is not at
    fault. Only the default, "warn", is silenced: a caller's ``numpy.errstate(all="raise")`` holds.

    Parameters
    ----------
    **kinds : object
        What `numpy.errstate` shall do instead, by the kind of error.

    Returns
    -------
    context manager
        The context.

    Examples
    --------
    >>> with quiet():
    ...     np.ones(1) / np.zeros(1)
    array([inf])
    """
    now = np.geterr()
    silenced: dict[str, Any] = {
        kind: "ignore" for kind, reaction in now.items() if reaction == "warn" and kind != "under"
    }
    return np.errstate(**silenced | kinds)
