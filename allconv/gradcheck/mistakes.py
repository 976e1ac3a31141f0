"""A list of known mistakes: which of them makes the array that a student's function has returned?

Each function of this module tries one kind of mistake. It makes the wrong array from the right ones, compares it with
the student's, and returns a sentence if the two are the same.
"""

import itertools
from collections.abc import Callable, Iterator

import numpy as np

from allconv.gradcheck.layer_mistakes import known_of_layer, window_of
from allconv.gradcheck.point import cosine_and_ratio, norm
from allconv.gradcheck.reference import SAME, Reference, axis_names, same, sizes_of
from allconv.typing import Array

Kind = Callable[[str, Array, Reference], str]

# Bounds the windows of an image for which `_overwritten` is tried, since it writes them one by one.
_MOST_WINDOWS = 100


def explain(name: str, yours: Array, reference: Reference) -> str:
    """Return a sentence that says what is wrong with an array of the right shape.

    Parameters
    ----------
    name : str
        The key of the array in ``reference.arrays``.
    yours : array
        The student's array, which is not the right one.
    reference : Reference
        The right arrays.
    """
    right = reference.arrays[name]
    cosine, ratio = cosine_and_ratio(right, yours)
    scaled = yours / (ratio or 1.0)  # A second mistake may be a factor.
    for candidate, end in ((yours, ""), (scaled, f"; beside that its norm is {ratio:.4g} of the right one")):
        for kind in KINDS:
            found = kind(name, candidate, reference)
            if found:
                return f"{shown_name(name)} is wrong: {found}{end}."
    index = np.unravel_index(int(np.argmax(np.abs(yours - right))), right.shape)
    place = f"[{', '.join(map(str, index))}] " if right.ndim else ""
    return (
        f"{shown_name(name)} is wrong in a way that is not among the known mistakes: its cosine with the right array "
        f"is {cosine:.4f}, its norm is {ratio:.4g} of the right one, and at {place}it is {yours[index]:.6g} instead of "
        f"{right[index]:.6g}."
    )


def shown_name(name: str) -> str:
    """Return the name of an array as a student's backward function calls it."""
    return name if name in ("y", "dx") else f"d{name}"


def wrong_shape(name: str, yours: Array, reference: Reference) -> str:
    """Return a sentence that says what is wrong with an array of another shape than the right one."""
    wanted = reference.arrays[name]
    start = f"{shown_name(name)} must have shape {wanted.shape}, got {yours.shape}"
    for words, arrays in known_of_layer(reference):
        if name in arrays and same(yours, arrays[name]):
            return f"{start}: {words}."
    for other, array in reference.arrays.items():
        if other not in (name, "y") and same(yours, array):
            return f"{start}: the numbers are those of {shown_name(other)}. Return dx, then the others in order."
    if yours.size == wanted.size and same(yours.reshape(wanted.shape), wanted):
        return f"{start}: the numbers are right. Axes of length 1 are left over or missing."
    if sorted(yours.shape) == sorted(wanted.shape):
        for order in itertools.permutations(range(yours.ndim)):
            if same(yours.transpose(order), wanted):
                return f"{start}: it is transposed."
    names = axis_names("dx", yours)
    for count in range(1, yours.ndim - wanted.ndim + 1) if yours.ndim > wanted.ndim else ():
        for axes in itertools.combinations(range(yours.ndim), count):
            over = ", ".join(names[axis] for axis in axes)
            if same(yours.sum(axes), wanted):
                batch = ", so it is not summed over the batch" if axes == (0,) else ""
                return f"{start}: the sum over the axis {over} is missing{batch}."
            if same(yours.mean(axes), wanted):
                return f"{start}: the mean over the axis {over} is missing."
    for size, axis in _remainders(yours, wanted):
        cut = tuple(slice(size) if k == axis else slice(None) for k in range(wanted.ndim))
        if same(yours, wanted[cut]):
            lost = wanted.shape[axis] - size
            return f"{start}: the last {lost} along the axis {axis_names(name, wanted)[axis]}, a remainder, is dropped."
    return f"{start}."


def _remainders(yours: Array, wanted: Array) -> Iterator[tuple[int, int]]:
    """Yield the size and the axis where one axis alone is shorter than it should be."""
    if yours.ndim == wanted.ndim:
        shorter = [axis for axis in range(wanted.ndim) if yours.shape[axis] != wanted.shape[axis]]
        if len(shorter) == 1 and yours.shape[shorter[0]] < wanted.shape[shorter[0]]:
            yield yours.shape[shorter[0]], shorter[0]


def _zeros(name: str, yours: Array, reference: Reference) -> str:  # noqa: ARG001
    """Find an array of zeros."""
    return "it is zero everywhere" if not yours.any() else ""


def _factor(name: str, yours: Array, reference: Reference) -> str:
    """Find a constant factor, and a size of the arrays that explains it."""
    right = reference.arrays[name]
    factor = float(np.vdot(right, yours)) / (norm(right) ** 2 or 1.0)
    if factor == 0 or not same(yours, factor * right):
        return ""
    if abs(factor + 1) < 1e-6:
        return "its sign is the opposite"
    text = f"it is {factor:.6g} times the right array"
    for words, size in sizes_of(reference):
        if abs(factor / size - 1) < 1e-6:
            return f"{text}; the factor 1 / {size} is missing, where {size} is {words}"
        if abs(factor * size - 1) < 1e-6:
            averaged = ", so it is averaged where it must be summed" if size == len(reference.x) else ""
            return f"{text}; the factor 1 / {size} is too much, where {size} is {words}{averaged}"
    return f"{text}; a factor of {1 / factor:.6g} is missing"


def _rearranged(name: str, yours: Array, reference: Reference) -> str:
    """Find the right numbers in another order."""
    right = reference.arrays[name]
    names = axis_names(name, right)
    for a, b in itertools.combinations(range(right.ndim), 2):
        if right.shape[a] == right.shape[b] and same(yours.swapaxes(a, b), right):
            return f"it is transposed, with the axes {names[a]} and {names[b]} exchanged"
    for count in (2, 1):
        for axes in itertools.combinations(range(right.ndim), count):
            if same(np.flip(yours, axes), right):
                kernel = "the kernel is flipped" if right.ndim == 4 and axes[-1] < 2 else "it is in reverse order"
                return f"{kernel} along {' and '.join(names[axis] for axis in axes)}"
    shuffled = same(np.sort(yours, axis=None), np.sort(right, axis=None))
    return "it has the right numbers in another order" if shuffled else ""


def _known_of_layer(name: str, yours: Array, reference: Reference) -> str:
    """Find what the layer gives with another option, or its activation with another factor."""
    for words, arrays in known_of_layer(reference):
        if name in arrays and same(yours, arrays[name]):
            return words
    return ""


def _bias(name: str, yours: Array, reference: Reference) -> str:
    """Find an output in which a parameter that is added is missing, or counts twice."""
    for parameter, value in reference.values.items() if name == "y" else ():
        if value.ndim == 1 and value.shape[0] == yours.shape[-1]:
            if same(yours + value, reference.arrays["y"]):
                return f"{parameter} is never added"
            if same(yours - value, reference.arrays["y"]):
                return f"{parameter} is added twice"
    return ""


def _part_of_dy(name: str, yours: Array, reference: Reference) -> str:
    """Find a gradient to which only a part of dy has contributed."""
    dy = reference.dy
    if name == "y":
        return ""
    for axis, called in enumerate(axis_names("y", dy)[: max(dy.ndim - 1, 1)]):
        size = dy.shape[axis]
        what = "example" if axis == 0 else {"H": "row", "W": "column"}.get(called, f"entry along {called}")
        for words, first, last in (
            (f"the first {what} counts alone", 0, 1),
            (f"the last {what} counts alone", size - 1, size),
            (f"the last {what} of dy is left out, a remainder that is dropped", 0, size - 1),
            (f"the first {what} of dy is left out", 1, size),
        ):
            kept = np.zeros(size)
            kept[first:last] = 1
            part = reference.for_part_of_dy(kept.reshape([size if k == axis else 1 for k in range(dy.ndim)]))
            if same(yours, part[name]):
                summed = ", so it is not summed over the batch" if axis == 0 and last - first == 1 else ""
                return words + summed
    return ""


def _overwritten(name: str, yours: Array, reference: Reference) -> str:
    """Find a dx in which overlapping windows overwrite one another, in any order of the windows."""
    dy = reference.dy
    if name != "dx" or dy.ndim != 4 or dy.shape[1] * dy.shape[2] > _MOST_WINDOWS:
        return ""
    rows, columns = range(dy.shape[1]), range(dy.shape[2])
    parts, windows = {}, {}
    for i, j in itertools.product(rows, columns):
        only = np.zeros((1, *dy.shape[1:3], 1))
        only[0, i, j, 0] = 1
        parts[i, j] = reference.for_part_of_dy(only)["dx"]
        windows[i, j] = window_of(reference, only)
    for down, across in itertools.product((1, -1), repeat=2):
        numbers, whole = np.zeros_like(yours), np.zeros_like(yours)
        for at in itertools.product(rows[::down], columns[::across]):
            numbers = np.where(parts[at] != 0, parts[at], numbers)
            whole = np.where(windows[at], parts[at], whole)
        if same(yours, numbers) or same(yours, whole):
            return "where windows overlap, one overwrites the other, and their contributions must be added, with +="
    return ""


def _edge(name: str, yours: Array, reference: Reference) -> str:
    """Find an array that is right but for its first or last entries along one axis."""
    right = reference.arrays[name]
    names = axis_names(name, right)
    wrong = np.abs(yours - right) > SAME * np.max(np.abs(right))
    for axis in range(right.ndim):
        bad = np.flatnonzero(wrong.any(axis=tuple(k for k in range(right.ndim) if k != axis)))
        size = right.shape[axis]
        if 0 < bad.size <= size // 2 and bad.size < size and np.ptp(bad) == bad.size - 1:
            # Of the examples, the last ones alone can be a remainder.
            end = "last" if bad[-1] == size - 1 else "first" if bad[0] == 0 and axis > 0 else ""
            if end:
                zero = not np.take(yours, bad, axis).any()
                lost = ", which are zero: a remainder is dropped" if zero and end == "last" else ""
                return f"only the {end} {bad.size} of {size} along the axis {names[axis]} are wrong{lost}"
    return ""


def _added(name: str, yours: Array, reference: Reference) -> str:
    """Find a dx to which dy has been added once more."""
    right, dy, x = reference.arrays[name], reference.dy, reference.x
    if name == "dx" and dy.shape == x.shape:
        for text, extra in (("dy", dy), ("dy * (x > 0)", dy * (x > 0)), ("dy * (x <= 0)", dy * (x <= 0))):
            factor = float(np.vdot(extra, yours - right)) / (norm(extra) ** 2 or 1.0)
            if factor != 0 and same(yours - right, factor * extra):
                times = "" if abs(abs(factor) - 1) < 1e-6 else f"{abs(factor):.4g} * "
                return f"{times}{text} is {'too much' if factor > 0 else 'missing'} in it"
    return ""


def _maximum(name: str, yours: Array, reference: Reference) -> str:
    """Find an output that is a maximum of the input over some axes."""
    x = reference.x
    for count in range(1, x.ndim) if name == "y" else ():
        for axes in itertools.combinations(range(1, x.ndim), count):
            if same(yours, x.max(axes)):
                return f"it is the maximum of x over {' and '.join(axis_names('dx', x)[axis] for axis in axes)}"
    return ""


KINDS: tuple[Kind, ...] = (
    *(_zeros, _known_of_layer, _factor, _rearranged, _bias),
    *(_part_of_dy, _added, _overwritten, _maximum, _edge),
)
"""The kinds of mistakes, in the order in which they are tried. The more exact a kind is, the earlier it comes."""
