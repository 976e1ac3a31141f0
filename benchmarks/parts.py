"""Compare the time of each kind of layer with that of the bare products and passes over memory that it consists of.

    python benchmarks/parts.py "LeNet step" "ResNet-20 step" [--runs 7]

The names are rows of `train_step.py`. The columns have milliseconds, of one step or of one prediction by
the fused model:

- 2 threads, 1 thread: what each kind of layer takes, in a forward and a backward pass together
- waits: how often one of the 2 threads had to wait, mostly for Python's lock (voluntary context switches)
- products: the number of its matrix products, and the time of the same products alone, one after the other, in 1 thread
- copies: the time to read and write in 1 thread, by `np.copyto`, what the passes of such a layer must read and write;
  the inputs are in the memory, not in the cache
- rest: what is left of the time with 1 thread: transforms of tiles, columns, arithmetic, and calls from Python
"""

import argparse
import resource
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
from allconv.parallel.blas import single_threaded_blas
from allconv.typing import Array

PRODUCTS = {"matmul", "dot", "einsum", "tensordot"}
OUTSIDE = "loss, optimizer, sums"
# How many arrays as large as its input a layer must read and write in both passes. An activation reads x and writes y,
# then reads dy and y, and writes dx. BatchNorm reads x and, in the backward pass, x and dy once more for its sums.
# A pool of 2x2 has outputs of a quarter of its input.
PASSES = {"ReLU": 5.0, "GELU": 5.0, "ELU": 5.0, "BatchNorm": 8.0, "MaxPool2D": 2.75, "MeanPool2D": 2.5}


class Recording:
    """The matrix products of a step, by the part of the step that makes them; it stands where modules have ``np``."""

    def __init__(self) -> None:
        self.part = OUTSIDE
        self.active = False
        self.products: list[tuple[str, Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        function = getattr(np, name)
        if name not in PRODUCTS:
            return function

        def noted(*args: Any, **options: Any) -> Any:
            if self.active:
                self.products.append((self.part, function, args, options))
            return function(*args, **options)

        return noted


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


def observed_step(model: ac.Layer, call: Call, case: Case, seen: Callable[..., Any]) -> None:
    """Make one call, and let `seen` pass on the calls of the layers; those of a fused model are not told apart."""
    if case.training:
        with observe(model.leaves(), forward=seen, backward=seen):
            call()
    else:
        call()


def waits() -> int:
    """Return how often the threads of this process have waited so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw


def part_times(case: Case, runs: int) -> dict[str, tuple[float, float]]:
    """Return the median milliseconds and waits of each kind of layer, and of what is outside all layers."""
    model, call = calls_of(case)
    steps: list[dict[str, Array]] = []

    def timed(call: Any, *args: Any) -> Any:
        start = now()
        result = call(*args)
        steps[-1][type(call.layer).__name__] += now() - start
        return result

    def now() -> Array:
        return np.array([1e3 * time.perf_counter(), waits()])

    for _ in range(runs + 2):
        steps.append(defaultdict(lambda: np.zeros(2)))
        start = now()
        observed_step(model, call, case, timed)
        steps[-1][OUTSIDE] = now() - start - sum(steps[-1].values())
    return {part: tuple(np.median([step[part] for step in steps[2:]], axis=0)) for part in steps[-1]}


def product_times(case: Case, runs: int) -> dict[str, tuple[int, float]]:
    """Return by part the number of matrix products, and the median milliseconds of all of them alone."""
    with recorded() as recording:
        model, call = calls_of(case)
        call()

        def noted(call: Any, *args: Any) -> Any:
            recording.part = type(call.layer).__name__
            result = call(*args)
            recording.part = OUTSIDE
            return result

        recording.active = True
        observed_step(model, call, case, noted)
        recording.active = False
    rounds: list[dict[str, float]] = []
    for _ in range(runs + 1):
        rounds.append(defaultdict(float))
        with single_threaded_blas():
            for part, function, args, options in recording.products:
                start = time.perf_counter()
                function(*args, **options)
                rounds[-1][part] += time.perf_counter() - start
    counts = [part for part, *_ in recording.products]
    return {part: (counts.count(part), 1e3 * statistics.median(one[part] for one in rounds[1:])) for part in rounds[-1]}


def copy_times(case: Case, runs: int) -> dict[str, float]:
    """Return by part the milliseconds that copies of as many bytes take as its passes must read and write."""
    model, call = calls_of(case)
    inputs: list[tuple[str, Array]] = []

    def kept(call: Any, *args: Any) -> Any:
        if call.method == "forward":
            inputs.append((type(call.layer).__name__, args[0]))
        return call(*args)

    observed_step(model, call, case, kept)
    copies = {x.shape: np.empty_like(x) for _, x in inputs}
    rounds: list[dict[str, float]] = []
    for _ in range(runs + 1):
        rounds.append(defaultdict(float))
        for part, x in inputs:  # Each copy finds its input as cold as a step does: many others came in between.
            if part in PASSES:
                copy = copies[x.shape]
                start = time.perf_counter()
                np.copyto(copy, x)
                rounds[-1][part] += 1e3 * (time.perf_counter() - start) * PASSES[part] / 2
    return {part: statistics.median(one[part] for one in rounds[1:]) for part in rounds[-1]}


def show(case: Case, runs: int) -> None:
    """Print the table of one row."""
    times = {}
    for threads in (2, 1):
        ac.set_num_threads(threads)
        times[threads] = part_times(case, runs)
    products, copies = product_times(case, runs), copy_times(case, runs)
    print(f"\n{case.name}, batch {case.batch}")
    print(f"{'':24} {'2 threads':>10} {'waits':>6} {'1 thread':>9} {'products':>16} {'copies':>8} {'rest':>8}")
    parts = sorted(times[1], key=times[1].__getitem__, reverse=True)
    rows = [
        (*times[2][part], times[1][part][0], *products.get(part, (0, 0.0)), copies.get(part, 0.0)) for part in parts
    ]
    for part, numbers in zip(parts, rows, strict=True):
        print_row(part if case.training else "the prediction", *numbers)
    if len(rows) > 1:
        print_row("all", *(sum(column) for column in zip(*rows, strict=True)))


def print_row(part: str, two: float, waits: float, one: float, count: float, products: float, copies: float) -> None:
    """Print one line of a table."""
    times = f"{two:10.2f} {waits:6.0f} {one:9.2f} {count:6} {products:9.2f} {copies:8.2f}"
    print(f"{part:24} {times} {one - products - copies:8.2f}", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="+", help="rows of train_step.py")
    parser.add_argument("--runs", type=int, default=7, help="timed steps (default: 7)")
    arguments = parser.parse_args()
    names = {case.name for case in CASES}
    for name in arguments.rows:
        if name not in names:
            parser.error(f"no row is called {name!r}; there are {', '.join(sorted(names))}")
        for case in CASES:
            if case.name == name:
                show(case, arguments.runs)


if __name__ == "__main__":
    main()
