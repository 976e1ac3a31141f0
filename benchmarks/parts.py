"""Compare the time of each kind of layer with that of the NumPy calls that it consists of.

    python benchmarks/parts.py "LeNet step" "ResNet-20 step" [--runs 7]

The names are rows of `train_step.py`. One step is recorded: each call of a NumPy function by the library, with its
arguments. The same calls are then repeated in the same order with nothing between them, in one thread. Their times
bound what the library could reach with these calls. What is left of a part's time is Python, and assignments to slices.

A prediction is that of the fused model, whose layers are one part.
"""

import argparse
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from train_step import CASES, Call, Case, our_step

import allconv as ac
from allconv.layers.observe import observe
from allconv.models.fusion import fuse

FUNCTIONS = {"bincount", "concatenate", "copyto", "count_nonzero", "dot", "einsum", "take", "tensordot", "where"}
PRODUCTS = {"matmul", "dot", "einsum", "tensordot"}
OUTSIDE = "loss, optimizer, sums"
Times = dict[str, list[float]]


class Recording:
    """The NumPy calls of a step, by the part of the step that makes them; it stands where modules have ``np``."""

    def __init__(self) -> None:
        self.part = OUTSIDE
        self.active = False
        self.calls: list[tuple[str, str, Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        value = getattr(np, name)
        recorded = isinstance(value, np.ufunc) or name in FUNCTIONS
        return _Recorded(self, name, value) if recorded else value


class _Recorded:
    """A function of NumPy, or a method of one, that notes its calls."""

    def __init__(self, recording: Recording, name: str, function: Callable[..., Any]) -> None:
        self._recording, self._name, self._function = recording, name, function

    def __call__(self, *args: Any, **options: Any) -> Any:
        if self._recording.active:
            self._recording.calls.append((self._recording.part, self._name, self._function, args, options))
        return self._function(*args, **options)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._function, name)
        return _Recorded(self._recording, self._name, value) if callable(value) else value


@contextmanager
def recorded() -> Iterator[Recording]:
    """Put a recording in the place of ``np`` in all modules of the library."""
    recording = Recording()
    modules = [module for name, module in sys.modules.items() if name.startswith("allconv.") and hasattr(module, "np")]
    for module in modules:
        vars(module)["np"] = recording
    try:
        yield recording
    finally:
        for module in modules:
            vars(module)["np"] = np


def calls_of(case: Case) -> tuple[ac.Layer, Call]:
    """Return the model of a row, and the step or the prediction that is measured."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((case.batch, *case.in_shape)).astype(np.float32)
    model = case.build(rng)
    if case.training:
        return model, our_step(model, images, rng.integers(0, 10, case.batch))
    fused = fuse(model)
    return fused, lambda: fused(images)


def part_times(model: ac.Layer, call: Call, runs: int, training: bool) -> dict[str, float]:
    """Return the median milliseconds of each kind of layer, and of what is outside all layers."""
    steps: list[dict[str, float]] = []

    def timed(call: Any, *args: Any) -> Any:
        start = time.perf_counter()
        result = call(*args)
        steps[-1][type(call.layer).__name__] += time.perf_counter() - start
        return result

    for _ in range(runs + 2):
        steps.append(defaultdict(float))
        start = time.perf_counter()
        if training:
            with observe(model.leaves(), forward=timed, backward=timed):
                call()
        else:
            call()
        steps[-1][OUTSIDE] = time.perf_counter() - start - sum(steps[-1].values())
    return {part: 1e3 * statistics.median(step[part] for step in steps[2:]) for part in steps[-1]}


def record(case: Case) -> Recording:
    """Return the NumPy calls of one step."""
    with recorded() as recording:
        model, call = calls_of(case)
        call()

        def noted(call: Any, *args: Any) -> Any:
            recording.part = type(call.layer).__name__
            result = call(*args)
            recording.part = OUTSIDE
            return result

        recording.active = True
        if case.training:
            with observe(model.leaves(), forward=noted, backward=noted):
                call()
        else:
            call()
        recording.active = False
    return recording


def repeat(recording: Recording, runs: int) -> dict[tuple[str, bool], float]:
    """Return the median milliseconds of the repeated calls, by part and whether they are matrix products."""
    rounds: list[dict[tuple[str, bool], float]] = []
    for _ in range(runs + 1):
        rounds.append(defaultdict(float))
        for part, name, function, args, options in recording.calls:
            start = time.perf_counter()
            function(*args, **options)
            rounds[-1][part, name in PRODUCTS] += time.perf_counter() - start
    return {key: 1e3 * statistics.median(one[key] for one in rounds[1:]) for key in rounds[-1]}


def show(case: Case, runs: int) -> None:
    """Print the table of one row."""
    times = {}
    for threads in (2, 1):
        ac.set_num_threads(threads)
        times[threads] = part_times(*calls_of(case), runs, case.training)
    recording = record(case)
    with np.errstate(all="ignore"):
        bare = repeat(recording, runs)
    print(f"\n{case.name}, batch {case.batch}, ms")
    print(f"{'':24} {'2 threads':>10} {'1 thread':>9} {'products':>16} {'other calls':>16} {'rest':>7}")
    rows = []
    for part in sorted(times[1], key=times[1].__getitem__, reverse=True):
        numbers = [times[2][part], times[1][part]]
        for product in (True, False):
            count = sum(part == at and (name in PRODUCTS) == product for at, name, *_ in recording.calls)
            numbers += [count, bare.get((part, product), 0.0)]
        rows.append(numbers)
        print_row(part, numbers)
    print_row("all", [sum(column) for column in zip(*rows, strict=True)])


def print_row(part: str, numbers: list[float]) -> None:
    """Print a line: the times, and the count and the time of each kind of call."""
    two, one, products, product_ms, others, other_ms = numbers
    calls = f"{products:6} {product_ms:9.2f} {others:6} {other_ms:9.2f}"
    print(f"{part:24} {two:10.2f} {one:9.2f} {calls} {one - product_ms - other_ms:7.2f}", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="+", help="rows of train_step.py")
    parser.add_argument("--runs", type=int, default=7, help="timed steps (default: 7)")
    arguments = parser.parse_args()
    cases = {case.name: case for case in CASES}
    for name in arguments.rows:
        cases_of_name = [case for case in CASES if case.name == name]
        if not cases_of_name:
            parser.error(f"no row is called {name!r}; there are {', '.join(cases)}")
        for case in cases_of_name:
            show(case, arguments.runs)


if __name__ == "__main__":
    main()
