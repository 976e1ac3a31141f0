"""What two runs end with, compared bit by bit."""

import numpy as np

CLOCK = ("seconds", "made_with")  # what two runs with the same bits may differ in


def bits(value, path="state"):
    """Return the bits of each value of a nested state by its path, without what the clock makes."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {
            at: own for name, item in items if name not in CLOCK for at, own in bits(item, f"{path}/{name}").items()
        }
    if isinstance(value, np.ndarray):
        return {path: (value.dtype, value.shape, value.tobytes())}
    return {path: (type(value), repr(value))}  # a NaN equals itself here


def differing(first, second):
    """Return the paths at which two states have other bits."""
    own, other = bits(first), bits(second)
    return sorted(path for path in own.keys() | other.keys() if own.get(path) != other.get(path))
