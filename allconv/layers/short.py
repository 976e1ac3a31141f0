"""How the repr of a layer writes a pair of sizes."""

from allconv.typing import Pair


def short_pair(pair: Pair) -> int | Pair:
    """Return one number for a pair of equal numbers, and any other pair unchanged."""
    return pair[0] if pair[0] == pair[1] else pair
