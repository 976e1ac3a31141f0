"""Where the time and the memory of a training step go: one line a layer."""

import copy
import functools
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from allconv.layers.base import Layer
from allconv.layers.conv import Conv2D
from allconv.parallel.threads import blas_can_be_limited, get_num_threads, run, single_threaded_blas
from allconv.typing import Array, Cache
from allconv.validation import check_batch, check_bool, check_int, describe


@dataclass(frozen=True)
class Row:
    """One layer.

    Attributes
    ----------
    path, layer : str
        Its path in the model, and its constructor form.
    output_shape : tuple of int
        With the batch.
    parameters : int
    multiply_adds : int
        Of the forward pass of the whole batch, by the definition of the layer.
    algorithm : str
        A convolution's, "forward/backward" where they differ; "" of other layers.
    forward, backward : float
        Milliseconds.
    peak_share : float
        Multiply-adds of both passes over what the machine's matrix product does in that time. More than 1 where an
        algorithm needs fewer than the definition.
    kept_bytes : int
        Of arrays that live from the forward to the backward pass because of this layer, and of none before it.
    """

    path: str
    layer: str
    output_shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    algorithm: str
    forward: float
    backward: float
    peak_share: float
    kept_bytes: int


@dataclass(frozen=True)
class Profile:
    """The ledger of a step; ``str(profile)`` is the table.

    Attributes
    ----------
    rows : tuple of Row
    forward, backward : float
        Milliseconds of the whole passes.
    workers : int
        Threads that shared the work.
    blas_is_limited : bool
        Whether BLAS was held to one thread in each. Where it cannot be (Apple's Accelerate), there is one worker.
    gemm_peak : float
        Multiply-adds a second of all workers' matrix products together, measured just before.
    """

    rows: tuple[Row, ...]
    forward: float
    backward: float
    workers: int
    blas_is_limited: bool
    gemm_peak: float

    def __str__(self) -> str:
        texts = "path", "layer", "output shape", "algorithm"
        numbers = "parameters", "multiply-adds", "forward ms", "backward ms", "of peak", "kept MB"
        lines = [(*texts, *numbers), *(_cells(row) for row in self.rows), self._total()]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = []
        for cells in lines:
            aligned = [c.ljust(w) if k < 4 else c.rjust(w) for k, (c, w) in enumerate(zip(cells, widths, strict=True))]
            table.append("  ".join(aligned).rstrip())
        rule = "-" * max(map(len, table))
        blas = "BLAS held to one thread" if self.blas_is_limited else "BLAS cannot be held to one thread, so no more"
        machine = f"{self.workers} {'worker' if self.workers == 1 else 'workers'}, {blas}; "
        machine += f"peak of its matrix product {2e-9 * self.gemm_peak:.0f} GFLOP/s"
        return "\n".join([table[0], rule, *table[1:-1], rule, table[-1], machine])

    __repr__ = __str__

    def _total(self) -> tuple[str, ...]:
        return (
            "",
            "total",
            "",
            "",
            f"{sum(row.parameters for row in self.rows):,}",
            f"{sum(row.multiply_adds for row in self.rows):,}",
            f"{self.forward:.2f}",
            f"{self.backward:.2f}",
            "",
            f"{1e-6 * sum(row.kept_bytes for row in self.rows):.2f}",
        )


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.path,
        row.layer,
        str(row.output_shape),
        row.algorithm,
        f"{row.parameters:,}",
        f"{row.multiply_adds:,}",
        f"{row.forward:.2f}",
        f"{row.backward:.2f}",
        f"{row.peak_share:.0%}" if row.multiply_adds else "",
        f"{1e-6 * row.kept_bytes:.2f}",
    )


def profile(model: Layer, images: Array, *, backward: bool = True, runs: int = 5) -> Profile:
    """Return the ledger of a training step on `images`, without loss and optimizer.

    A copy of the model is run, so that neither gradients nor running statistics change.

    Parameters
    ----------
    model : Layer
    images : array (N, ...)
        A batch as for ``model.forward``.
    backward : bool, default True
        With False only prediction is measured, ``model(images)``: what a fused copy can do.
    runs : int, default 5
        The times are medians over as many steps, after one that does not count.

    Raises
    ------
    TypeError, ValueError
        For arguments outside their range.

    Examples
    --------
    >>> from allconv import Conv2D, GlobalAveragePool2D, Sequential
    >>> model = Sequential(Conv2D(3, 16, 3), GlobalAveragePool2D())
    >>> ledger = profile(model, np.zeros((8, 32, 32, 3), np.float32))
    >>> ledger.rows[0].path, ledger.rows[0].output_shape, ledger.rows[0].multiply_adds
    ('0', (8, 32, 32, 16), 3538944)
    """
    if not isinstance(model, Layer):
        raise TypeError(f"model must be a Layer, got {describe(model)}")
    images, runs = check_batch("images", images), check_int("runs", runs)
    check_bool("backward", backward)
    model = copy.deepcopy(model)
    kept = {id(_owner(array)) for array in (images, *(parameter.value for parameter in model.parameters()))}
    watches = [_Watch(path, layer, kept) for path, layer in _leaves(model, "", set())]
    whole = []
    with single_threaded_blas():
        peak = _gemm_peak()
        for _ in range(runs + 1):
            whole.append(_step(model, images, backward=backward))
            for watch in watches:
                watch.end_step()
    forward_ms, backward_ms = (1e3 * statistics.median(seconds) for seconds in zip(*whole[1:], strict=True))
    return Profile(
        tuple(watch.row(peak) for watch in watches if watch.output_shape != ()),
        forward_ms,
        backward_ms,
        workers=get_num_threads(),
        blas_is_limited=blas_can_be_limited(),
        gemm_peak=peak,
    )


def _step(model: Layer, images: Array, *, backward: bool) -> tuple[float, float]:
    """Return the seconds of the two passes."""
    start = time.perf_counter()
    if not backward:
        model(images)
        return time.perf_counter() - start, 0.0
    y, cache = model.forward(images, training=True)
    middle = time.perf_counter()
    model.backward_parameters(np.ones_like(y), cache, release=True)
    return middle - start, time.perf_counter() - middle


def _gemm_peak(size: int = 512, products: int = 8) -> float:
    """Return the multiply-adds a second of a float32 matrix product in each worker at once: the best of five."""
    matrix = np.ones((size, size), np.float32)
    outs = [np.empty_like(matrix) for _ in range(get_num_threads())]

    def task(index: int) -> None:
        for _ in range(products):
            np.matmul(matrix, matrix, out=outs[index])

    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        run(task, len(outs))
        seconds.append(time.perf_counter() - start)
    return len(outs) * products * size**3 / min(seconds)


def _leaves(layer: Layer, path: str, seen: set[int]) -> Iterator[tuple[str, Layer]]:
    """Yield (path, layer) for the layers that are not made of others, each once."""
    if not layer.composite:
        if id(layer) not in seen:
            seen.add(id(layer))
            yield path, layer
        return
    for name, child in layer.children():
        yield from _leaves(child, f"{path}.{name}" if path else name, seen)


class _Watch:
    """Stands between a layer and its callers: counts in the first step, takes the time in all."""

    def __init__(self, path: str, layer: Layer, kept: set[int]) -> None:
        self.path, self.layer, self.steps = path, layer, [[0.0, 0.0]]
        self.output_shape: tuple[int, ...] = ()
        self.algorithms: list[str] = []
        self.multiply_adds, self.passes, self.kept_bytes = 0, 1, 0
        self._kept, self._inside = kept, False
        for name in ("forward", "backward", "backward_parameters"):
            setattr(layer, name, functools.partial(self._call, name, getattr(layer, name)))

    def _call(self, name: str, own: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        if self._inside:  # the base class's backward_parameters calls backward
            return own(*arguments, **options)
        self._inside = True
        start = time.perf_counter()
        try:
            result = own(*arguments, **options)
        finally:
            self._inside = False
        self.steps[-1][name != "forward"] += time.perf_counter() - start
        if len(self.steps) == 1:
            if name == "forward":
                self._count(arguments[0], *result, **options)
            else:
                self.passes = 3 if name == "backward" else 2  # dx costs as much as dW, and each as much as y
            if isinstance(self.layer, Conv2D):
                x = arguments[0 if name == "forward" else 1]  # a convolution's cache is its input
                self.algorithms.append(self.layer.chosen_algorithm(x.shape, backward=name == "backward"))
        return result

    def _count(self, x: Array, y: Array, cache: Cache, *, training: bool = False) -> None:
        self.output_shape = y.shape
        self.multiply_adds += len(x) * self.layer.multiply_adds(x.shape[1:])
        if training:
            self.kept_bytes += sum(_new_bytes(cache, self._kept))

    def end_step(self) -> None:
        """Start counting the next step's time."""
        self.steps.append([0.0, 0.0])

    def row(self, peak: float) -> Row:
        """Return the layer's line."""
        forward, backward = (statistics.median(seconds) for seconds in zip(*self.steps[1:-1], strict=True))
        return Row(
            self.path,
            repr(self.layer),
            self.output_shape,
            sum(parameter.value.size for parameter in self.layer.parameters()),
            self.multiply_adds,
            "/".join(dict.fromkeys(self.algorithms)),
            1e3 * forward,
            1e3 * backward,
            self.passes * self.multiply_adds / max(forward + backward, 1e-9) / peak,  # a clock may be coarse
            self.kept_bytes,
        )


def _new_bytes(cache: Cache, kept: set[int]) -> Iterator[int]:
    """Yield the bytes of the arrays in a cache that are not yet in `kept`, and put them there."""
    if isinstance(cache, np.ndarray):
        owner = _owner(cache)
        if id(owner) not in kept:
            kept.add(id(owner))
            yield owner.nbytes
    elif isinstance(cache, list | tuple | dict):
        for item in cache.values() if isinstance(cache, dict) else cache:
            yield from _new_bytes(item, kept)


def _owner(array: Array) -> Array:
    """Return the array whose memory a view shows."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array
