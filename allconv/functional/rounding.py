"""Division that rounds up: how many tiles, strides or blocks cover a length."""


def ceil_div(length: int, step: int) -> int:
    """Return the quotient of two integers, rounded up.

    Parameters
    ----------
    length : int
    step : int
        At least 1.

    Returns
    -------
    int
        How many steps cover the length: the last one may reach beyond its end.

    Examples
    --------
    >>> [ceil_div(length, 4) for length in (0, 1, 4, 5)]
    [0, 1, 1, 2]
    """
    return -(-length // step)
