"""The gradient check of a layer or a network."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from allconv.gradcheck.contract import findings
from allconv.gradcheck.kinks import find_kink, trace
from allconv.gradcheck.point import INPUT, STEPS, Difference, Direction, Point, cosine_and_ratio
from allconv.gradcheck.report import CheckRow, Report
from allconv.layers.base import Layer
from allconv.layers.snapshot import Snapshot
from allconv.typing import Array
from allconv.validation import (
    check_batch,
    check_bool,
    check_instance,
    check_int,
    describe,
    quiet,
)

# The largest relative error of a central difference, and of the adjoint identity, with which a row passes.
TOLERANCE = 1e-7
ADJOINT_TOLERANCE = 1e-9

# A step for functions whose second derivative is large or jumps, as ELU's does at 0. Its rounding errors are larger.
_FINEST = STEPS[-1] / 10

# The largest number of points beside a kink that are tried. A large network has a kink near most of them.
_NEIGHBOURS = 8

# The largest error at a kink, as a share of the curvature. A derivative between the two one-sided ones departs from
# their mean by at most half their difference, the curvature. Rounding and the step add little to it. Where layers are
# nested, kinks inside may cancel in the output, and so in the curvature, but not in the error.
_SHARE, _SHARE_OF_HOLDER = 1.01, 10.0

# The largest number of weights in a model whose parameters each get a row of their own by default.
_SEPARATE = 20_000


def check(
    layer: Layer, x: Array, *, seed: int = 0, training: bool = False, elements: int = 200, separate: bool | None = None
) -> Report:
    r"""Check a layer's backward pass, or a whole network's, against central differences in float64.

    With a random projection g of the output, :math:`F(x, \theta) = \langle g, f(x, \theta) \rangle` is a scalar whose
    gradient one backward pass gives. Along random directions d, scaled like the elements they move, the check compares
    :math:`\langle \nabla F, d \rangle` with :math:`(F(\cdot + h d) - F(\cdot - h d)) / 2h`: for the input, for the
    parameters jointly and one by one. The error is relative to the larger of the two values, or to the norm of the
    sum's terms where that is larger; the best of h = 1e-4, 1e-5, 1e-6 must be under 1e-7. Beside that it checks small
    arrays element by element, the adjoint identity :math:`\langle g, J d \rangle = \langle J^\top g, d \rangle` to 1e-9
    where f is affine, and the side conditions of the contract: arguments and cache left alone, the same bits again from
    the same cache, gradients that add up.

    Parameters
    ----------
    layer : Layer
        Its parameters must be float64. Their values and gradients and all states are put back at the end.
    x : array of float64, shape (N, ...)
        The point at which the gradient is checked.
    seed : int, default 0
        The seed of g and of the directions.
    training : bool, default False
        The mode of the forward pass. Random layers draw the same numbers in every pass.
    elements : int, default 200
        The largest size of an array that is checked element by element too; 0 for none.
    separate : bool, optional
        Whether each parameter has a row of its own. By default it has in models of up to 20,000 weights.

    Returns
    -------
    Report
        Prints as a table. Where a network fails, its layers are checked on their own, and the report says in which of
        them the departure starts.

    Raises
    ------
    TypeError, ValueError
        If a parameter or `x` is not float64, or `x` is empty or not finite.

    Notes
    -----
    At a kink (ReLU at 0, a tie in max pooling) there is no derivative to compare with. A row has the status "kink",
    and says where, only if F itself bends there on the scale of the step, by enough to account for the difference, and
    backward is right at a point beside it; else the row has failed. For a layer without nested layers, backward must
    lie between the slopes on the two sides. A direction that meets a kink is followed by the constant one, which keeps
    ties.

    The cost: one forward and backward pass, and six forward passes for each direction. Where all three steps are off,
    h = 1e-7 is tried too.

    Examples
    --------
    >>> from allconv.layers.elu import ELU
    >>> report = check(ELU(), np.random.default_rng(0).standard_normal((4, 3)))
    >>> report.passed, [row.what for row in report.rows if row.check == "elements"]
    (True, ['x'])
    """
    check_instance("layer", layer, Layer)
    for parameter in layer.parameters():
        if parameter.value.dtype != np.float64:
            raise TypeError(
                f"layer must have float64 parameters for a gradient check, got {parameter.value.dtype} for "
                f"{parameter.name}; build it with dtype=np.float64"
            )
    x = check_point("x", x)
    options = _Options(
        np.random.default_rng(check_int("seed", seed, minimum=0)),
        check_bool("training", training),
        check_int("elements", elements, minimum=0),
        separate if separate is None else check_bool("separate", separate),
    )
    snapshot = Snapshot(layer)
    try:
        with quiet():
            rows = tuple(_rows(layer, x, "", options))
    finally:
        snapshot.restore()
    return Report(f"gradient check of {type(layer).__name__} at x {x.shape}, seed {seed}", rows)


@dataclass(frozen=True)
class _Options:
    rng: np.random.Generator
    training: bool
    elements: int
    separate: bool | None


def check_point(name: str, value: Array) -> Array:
    """Return a copy of an array that is a point for a check: float64, with examples, and finite."""
    array = check_batch(name, value)
    if array.dtype != np.float64:
        raise TypeError(
            f"{name} must be an array of float64, got {describe(array)}; convert it: {name}.astype(np.float64)"
        )
    wrong = np.count_nonzero(~np.isfinite(array))
    if wrong:
        raise ValueError(f"{name} must be finite, got {describe(array)}, {wrong} of its elements NaN or infinite")
    return np.array(array)


def _rows(layer: Layer, x: Array, path: str, options: _Options) -> Iterator[CheckRow]:
    """Yield the rows of one layer, and those of its nested layers where it fails."""
    make = partial(CheckRow, path, type(layer).__name__)
    snapshot = Snapshot(layer)
    failed = False
    for what, condition, fault in findings(layer, x, snapshot, options.rng, training=options.training):
        failed |= bool(fault)
        yield make(what, condition, None, None, "FAILED" if fault else "ok", fault)
    arrays = {INPUT: x} | {name: p.value.copy() for name, p in layer.named_parameters() if p.trainable}
    point = Point(layer, arrays, snapshot, options.rng, training=options.training)
    for row in _gradient_rows(point, make, options, nested=bool(path)):
        failed |= row.status == "FAILED"
        yield row
    children = {id(child): name for name, child in layer.children()}
    if failed and children:
        for _, child, entered, _ in trace(point):
            name = children.pop(id(child), None)
            if name is not None:
                yield from _rows(child, entered, f"{path}.{name}" if path else name, options)


def _gradient_rows(
    point: Point, make: Callable[..., CheckRow], options: _Options, *, nested: bool
) -> Iterator[CheckRow]:
    known = [key for key in point.arrays if key in point.gradients]
    parameters = [key for key in known if key != INPUT]
    # A joint direction that fails does not tell which parameter is wrong, so then each gets its own row.
    separate = options.separate
    if separate is None:
        separate = sum(point.arrays[key].size for key in parameters) <= _SEPARATE
    if len(parameters) > 1:
        joint = _direction_row(point, make, "all parameters", point.direction(*parameters))
        separate |= joint.status == "FAILED"
        yield joint
    for key in known if separate or len(parameters) == 1 else [INPUT]:
        if key not in point.gradients:
            continue
        name = key or "x"
        direction = point.direction(key)
        row = _direction_row(point, make, name, direction)
        yield row
        exact = point.adjoint(direction)
        if exact is not None:
            yield make(name, "adjoint", exact.error, None, "ok" if exact.error <= ADJOINT_TOLERANCE else "FAILED")
        # Nested layers are looked at because the whole has failed; their elements only where their direction fails too.
        if point.arrays[key].size <= options.elements and (not nested or row.status == "FAILED"):
            yield _elements_row(point, make, name, key)


def _direction_row(point: Point, make: Callable[..., CheckRow], what: str, direction: Direction) -> CheckRow:
    found = _difference(point, direction)
    status, note = _status(point, direction, found, redraw=True)
    if status == "kink":
        # Ties stay ties along a constant direction, so that a maximum has a derivative there.
        direction = {key: np.full_like(d, np.median(point.sizes[key])) for key, d in direction.items()}
        along_ties = _difference(point, direction)
        if _status(point, direction, along_ties, redraw=False)[0] == "FAILED":
            found, status, note = along_ties, "FAILED", f"all elements moved alike, beside a kink: {note}"
    return make(what, "direction", found.error, found.step, status, note)


def _elements_row(point: Point, make: Callable[..., CheckRow], what: str, key: str) -> CheckRow:
    array = point.arrays[key]
    numeric, analytic = np.zeros_like(array), np.zeros_like(array)
    results: dict[str, list[Difference]] = {"ok": [], "kink": [], "FAILED": []}
    places: dict[str, list[str]] = {"kink": [], "FAILED": []}
    for index in np.ndindex(array.shape):
        direction = {key: np.zeros_like(array)}
        direction[key][index] = unit = float(point.sizes[key][index])
        found = _difference(point, direction, (STEPS[1], STEPS[0], STEPS[2]), TOLERANCE / 10)
        status, where = _status(point, direction, found, redraw=False)
        results[status].append(found)
        numeric[index], analytic[index] = found.numeric / unit, found.analytic / unit
        if status != "ok":
            differences = f"numeric {numeric[index]:.6g}"
            if status == "kink":
                differences = f"left {found.left / unit:.6g}, right {found.right / unit:.6g}"
            place = f"[{', '.join(map(str, index))}] {differences}, backward {analytic[index]:.6g}"
            places[status].append(f"{place} ({where})" if where else place)
    worst = max(results["FAILED"] or results["ok"] or results["kink"], key=lambda found: found.error)
    notes = []
    if results["FAILED"]:
        cosine, ratio = cosine_and_ratio(numeric, analytic)
        notes.append(f"cosine {cosine:.4f}, backward / numeric {ratio:.4f}")
    for name, verb in (("FAILED", "wrong"), ("kink", "at a kink")):
        if places[name]:
            more = ", ..." if len(places[name]) > 3 else ""
            notes.append(f"{len(places[name])} of {array.size} {verb}: {'; '.join(places[name][:3])}{more}")
    status = next(name for name in ("FAILED", "kink", "ok") if results[name])
    return make(what, "elements", worst.error, worst.step, status, "; ".join(notes))


def _difference(
    point: Point, direction: Direction, steps: tuple[float, ...] = STEPS, enough: float = 0.0
) -> Difference:
    """Return the central difference with the smallest error; one with a finer step only where no other is right."""
    found = point.difference(direction, steps, enough)
    if found.error <= TOLERANCE:
        return found
    finer = point.difference(direction, (_FINEST,))
    return finer if finer.error <= TOLERANCE else found


def _status(point: Point, direction: Direction, found: Difference, *, redraw: bool) -> tuple[str, str]:
    """Return "ok", "kink" or "FAILED" for a difference, and for a kink where it is; a random direction may be redrawn.

    A kink needs all of three things. F changes its slope within the step. The curvature is large enough to explain the
    error. And at a point nearby, where F is smooth, backward is right.
    """
    if found.error <= TOLERANCE:
        return "ok", ""
    share = _SHARE_OF_HOLDER if any(point.layer.children()) else _SHARE
    explained = math.isfinite(found.error) and found.error <= share * found.curvature
    where = find_kink(point, direction) if explained else None
    if where is None:
        return "FAILED", ""
    for k in range(_NEIGHBOURS):
        other = point.beside(k)
        there = other.direction(*direction) if redraw else direction
        error = other.difference(there, (*STEPS, _FINEST), TOLERANCE).error
        if error <= TOLERANCE:
            return "kink", f"{where}, {error:.1e} beside it"
        if find_kink(other, there) is None:
            return "FAILED", ""
    return "FAILED", f"kinks at every point tried, one at {where}: use a smaller batch"
