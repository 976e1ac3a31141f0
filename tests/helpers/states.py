"""What two runs end with, compared bit by bit."""

import numpy as np

CLOCK = ("seconds", "made_with")  # what two runs with the same bits may differ in


def flat(value, path=""):
    """Return the values of nested dicts and lists by path, without what the clock makes."""
    if not isinstance(value, dict | list):
        return {path: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return {at: own for name, item in items if name not in CLOCK for at, own in flat(item, f"{path}/{name}").items()}


def bits(value):
    """Return what two values share if, and only if, their bits are the same; a NaN equals itself here."""
    array = isinstance(value, np.ndarray)
    return (value.dtype, value.shape, value.tobytes()) if array else (type(value), repr(value))


def differing(first, second):
    """Return the paths at which two states have other bits."""
    own, other = flat(first), flat(second)
    same = {path for path in own.keys() & other.keys() if bits(own[path]) == bits(other[path])}
    return sorted((own.keys() | other.keys()) - same)
