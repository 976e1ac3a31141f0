"""The grade of a student's forward and backward functions beside one of the library's layers."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from allconv.gradcheck.beside import TRAINING_STEPS, final_loss, milliseconds
from allconv.gradcheck.checking import check, check_point
from allconv.gradcheck.functions import Function, Functions, call_once
from allconv.gradcheck.mistakes import explain, shown_name
from allconv.gradcheck.reference import Reference, distance, reference_of, same
from allconv.gradcheck.report import Report
from allconv.layers.base import Layer
from allconv.tables import align
from allconv.typing import Array
from allconv.validation import check_bool, check_callable, check_instance, check_int, quiet

# Bounds the relative difference of the losses after the same training that counts as rounding.
_SAME_LOSS = 1e-6


@dataclass(frozen=True)
class GradeRow:
    """One line of a grade's table.

    Attributes
    ----------
    what : str
        The array, the pass or the training that the line is about.
    check : str
        What was compared or measured.
    yours, ours : float or None
        The two numbers; None where there is none. For a comparison, `yours` is the relative error.
    status : str
        "ok", "FAILED" or "kink"; "" for a time, which is no part of the grade.
    """

    what: str
    check: str
    yours: float | None
    ours: float | None
    status: str


@dataclass(frozen=True)
class Grade:
    """The result of `grade`; ``str(result)`` is the table with the words under it, ``bool(result)`` is `passed`.

    Attributes
    ----------
    title : str
        What was compared, and at which shape.
    faults : tuple of str
        A sentence for each thing that is wrong.
    rows : tuple of GradeRow
        The lines of the table.
    """

    title: str
    faults: tuple[str, ...]
    rows: tuple[GradeRow, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults

    @property
    def words(self) -> str:
        """What is wrong, a sentence a line; or one sentence that says that everything is right."""
        if self.faults:
            return "\n".join(self.faults)
        return "Right: both functions do what the layer does, and backward is the gradient of forward."

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        cells = [("what", "check", "yours", "ours", "status")]
        for row in self.rows:
            yours, ours = ("" if number is None else f"{number:.3g}" for number in (row.yours, row.ours))
            cells.append((row.what, row.check, yours, ours, row.status))
        table = align(cells, right={2, 3}) if self.rows else []
        return "\n".join([f"{self.title}: {'passed' if self.passed else 'FAILED'}", *table, self.words])


def grade(
    forward: Function, backward: Function, like: Layer, x: Array | None = None, *, seed: int = 0, training: bool = False
) -> Grade:
    """Compare two functions of one's own with a layer of the library, and say in words what is wrong with them.

    The functions are called with float64. Their results are compared with the layer's, and their gradients with central
    differences and by the adjoint identity, as `check` does. Then both are timed, and a small network is trained with
    each of them from the same start. Where a result is wrong, it is compared with a list of known mistakes: a factor
    missing, a transpose, a gradient that is not summed over the batch, a mask of the wrong array, a flipped kernel, a
    remainder that is dropped, and others.

    Parameters
    ----------
    forward : callable
        The function ``forward(x, *parameters) -> (y, cache)``. The parameters are arrays, in the order in which `like`
        lists them: weight, bias.
    backward : callable
        The function ``backward(dy, cache) -> dx``, or with parameters ``backward(dy, cache) -> (dx, *gradients)``, in
        the same order. It may change neither of its arguments.
    like : Layer
        The layer that the functions imitate. It is copied to float64, and its trained parameters get random values.
    x : array of float64, shape (N, ...), optional
        The input. By default it is drawn in a shape that the layer takes: images of 7x6 pixels, or a few examples for
        a layer that takes vectors.
    seed : int, default 0
        The seed of everything that is drawn.
    training : bool, default False
        The mode of the layer's forward pass, for layers such as `BatchNorm`.

    Returns
    -------
    Grade
        It prints as a table with the words under it. ``passed`` is the verdict, and ``words`` says what is wrong.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range, or `like` does not take `x`. An error in the functions is not raised: the
        words say what it was.

    Notes
    -----
    Times are the best of a few calls at the same small batch. They compare the functions on this machine, and are no
    part of the verdict.

    Examples
    --------
    >>> from allconv import ReLU
    >>> def forward(x):
    ...     return np.maximum(x, 0), x
    >>> def backward(dy, cache):
    ...     return dy * (dy > 0)
    >>> grade(forward, backward, like=ReLU()).faults[0]
    'dx is wrong: it is dy * (dy > 0); the mask is taken from the wrong array, dy instead of x.'
    >>> grade(forward, lambda dy, x: dy * (x > 0), like=ReLU()).passed
    True
    """
    check_callable("forward", forward)
    check_callable("backward", backward)
    check_instance("like", like, Layer)
    point = None if x is None else check_point("x", x)
    rng = np.random.default_rng(check_int("seed", seed, minimum=0))
    check_bool("training", training)
    with quiet():
        reference = reference_of(like, point, rng, training=training)
        heading = f"your functions beside {like!r} at x {reference.x.shape}, seed {seed}"
        arrays, faults = call_once(forward, backward, reference)
        if faults:
            return Grade(heading, tuple(faults), ())
        functions = Functions(forward, backward, reference.values)
        try:
            report = check(functions, reference.x, seed=seed)
            measured = tuple(_beside(functions, reference))
        except Exception as error:
            again = f"The functions work once. Called again, they raised {type(error).__name__}: {error}"
            return Grade(heading, (again,), ())
        rows = (*_compared(arrays, reference), *_differences(report), *measured)
        faults = [*_side_conditions(report), *_wrong_arrays(arrays, report, reference)]
    if not faults and measured[-1].status == "FAILED":
        faults.append(f"Trained with your functions, a network ends at another loss: {measured[-1].yours:.6g}.")
    return Grade(heading, tuple(faults), rows)


def _compared(arrays: dict[str, Array], reference: Reference) -> Iterator[GradeRow]:
    """Yield the lines of the table that compare the arrays with the layer's."""
    for name, array in arrays.items():
        right = reference.arrays[name]
        status = "ok" if same(array, right) else "FAILED"
        yield GradeRow(shown_name(name), "the layer's result", distance(array, right), None, status)


def _differences(report: Report) -> Iterator[GradeRow]:
    """Yield the lines of the table about differences and the adjoint identity."""
    checks = {"direction": "differences", "elements": "differences, each element", "adjoint": "adjoint identity"}
    for row in report.rows:
        if row.error is not None:
            what = row.what if row.what.startswith("all") else f"d{row.what}"
            yield GradeRow(what, checks[row.check], row.error, None, row.status)


def _side_conditions(report: Report) -> Iterator[str]:
    """Yield a sentence for each side condition of a backward pass that does not hold."""
    for row in report.failures:
        if row.error is None:
            yield f"{row.what}: {row.note}."


def _wrong_arrays(arrays: dict[str, Array], report: Report, reference: Reference) -> Iterator[str]:
    """Yield a sentence for each array that is wrong.

    Where the output is wrong, the gradients belong to another function than the layer's, so they are judged by
    differences alone.
    """
    departs = any(row.error is not None for row in report.failures)
    wrong = [name for name, array in arrays.items() if not same(array, reference.arrays[name])]
    if "y" in wrong:
        yield explain("y", arrays["y"], reference)
        if departs:
            yield "backward is not the gradient of this forward function either; mend forward first."
        else:
            yield "backward is the gradient of this forward function, so only forward has to be mended."
        return
    for name in wrong:
        yield explain(name, arrays[name], reference)
    if departs and not wrong:
        yield "The functions do what the layer does, and what it does is not the gradient of its own forward pass."


def _beside(functions: Functions, reference: Reference) -> Iterator[GradeRow]:
    """Yield the lines of the table about times and training."""
    layers: tuple[Any, Any] = functions, reference.layer
    times = [milliseconds(layer, reference) for layer in layers]
    for index, name in enumerate(("forward", "backward")):
        yield GradeRow(name, "milliseconds", times[0][index], times[1][index], "")
    losses = [final_loss(layer, reference) for layer in layers]
    close = abs(losses[0] - losses[1]) <= _SAME_LOSS * abs(losses[1])
    status = "ok" if close else "FAILED"
    yield GradeRow("training", f"loss after {TRAINING_STEPS} steps", losses[0], losses[1], status)
