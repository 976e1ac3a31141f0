"""Where the time and the memory of a training step go: one line a layer."""

import statistics
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from allconv.layers.base import Layer
from allconv.layers.conv import Conv2D
from allconv.layers.intercept import Call
from allconv.layers.nesting import parameters_in
from allconv.layers.observe import observe
from allconv.layers.snapshot import arrays_in, clear_gradients, unchanged
from allconv.layers.summary import LayerSummary
from allconv.parallel.blas import blas_can_be_limited, single_threaded_blas
from allconv.parallel.pool import get_num_threads, run
from allconv.tables import align
from allconv.typing import Array, Cache
from allconv.validation import check_batch, check_bool, check_instance, check_int

_MOST_RUNS = 10_000  # Medians change no more, and a typing error does not run for days.


@dataclass(frozen=True)
class LayerProfile(LayerSummary):
    """One layer of a profile: its summary for a whole batch, and what its passes take.

    Attributes
    ----------
    path, layer : str
        The layer's path in the model, and its constructor form.
    output_shape : tuple of int
        The shape of the output, with the batch axis.
    parameters : int
        The number of its parameters' elements.
    multiply_adds : int
        The multiply-adds of the forward pass of the whole batch, by the definition of the layer.
    algorithm : str
        The algorithm of a convolution, "forward/backward" where the two differ; "" for other layers.
    forward, backward : float
        The time of each pass, in milliseconds.
    peak_share : float
        The multiply-adds of both passes, divided by those that the machine's matrix product does in the same time. It
        is more than 1 where an algorithm needs fewer multiply-adds than the definition.
    kept_bytes : int
        The bytes of the arrays in this layer's cache that live from the forward to the backward pass. An array that an
        earlier layer has cached counts there only.
    """

    algorithm: str
    forward: float
    backward: float
    peak_share: float
    kept_bytes: int


@dataclass(frozen=True)
class Profile:
    """The profile of a training step; ``str(profile)`` is the table.

    Attributes
    ----------
    rows : tuple of LayerProfile
        One for each layer that computes and was called, in forward order.
    forward, backward : float
        The times of the whole passes, in milliseconds.
    workers : int
        The number of threads that shared the work.
    blas_is_limited : bool
        Whether BLAS was held to one thread in each worker. Where it cannot be (Apple's Accelerate), there is one
        worker.
    gemm_peak : float
        The multiply-adds per second of all workers' matrix products together, measured just before in the model's
        dtype: float64 if one of its parameters is.
    """

    rows: tuple[LayerProfile, ...]
    forward: float
    backward: float
    workers: int
    blas_is_limited: bool
    gemm_peak: float

    def __str__(self) -> str:
        texts = "path", "layer", "output shape", "algorithm"
        numbers = "parameters", "multiply-adds", "forward ms", "backward ms", "of peak", "kept MB"
        cells = [(*texts, *numbers), *(_cells(row) for row in self.rows), self._total()]
        blas = "BLAS held to one thread" if self.blas_is_limited else "BLAS cannot be held to one thread, so no more"
        machine = f"{self.workers} {'worker' if self.workers == 1 else 'workers'}, {blas}; "
        machine += f"peak of its matrix product {2e-9 * self.gemm_peak:.0f} GFLOP/s"
        return "\n".join([*align(cells, right=range(4, 10), total=True), machine])

    __repr__ = __str__

    def _total(self) -> tuple[str, ...]:
        return (
            *("", "total", "", ""),
            f"{sum(row.parameters for row in self.rows):,}",
            f"{sum(row.multiply_adds for row in self.rows):,}",
            f"{self.forward:.2f}",
            f"{self.backward:.2f}",
            "",
            f"{1e-6 * sum(row.kept_bytes for row in self.rows):.2f}",
        )


def _cells(row: LayerProfile) -> tuple[str, ...]:
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
    """Return where the time and the memory of a training step on `images` go, without loss and optimizer.

    The model itself is run. Its values, gradients, running statistics and generators are afterwards what they were. No
    other thread may use it meanwhile.

    Parameters
    ----------
    model : Layer
        Any layer. Layers that only hold others are represented by what they hold.
    images : array (N, ...)
        A batch for ``model.forward``.
    backward : bool, default True
        With False only prediction is measured, ``model(images)``, which is all that a fused copy can do.
    runs : int, default 5
        The number of steps whose times are measured, from 1 to 10,000, after one that is not. The times are medians
        over the steps.

    Returns
    -------
    Profile
        Prints as a table.

    Raises
    ------
    TypeError, ValueError
        If an argument is outside its range.

    Examples
    --------
    >>> from allconv import Conv2D, GlobalAveragePool2D, Sequential
    >>> model = Sequential(Conv2D(3, 16, 3), GlobalAveragePool2D())
    >>> row, _ = profile(model, np.zeros((8, 32, 32, 3), np.float32)).rows
    >>> row.path, row.output_shape, row.multiply_adds
    ('0', (8, 32, 32, 16), 3538944)
    """
    check_instance("model", model, Layer)
    images, runs = check_batch("images", images), check_int("runs", runs, maximum=_MOST_RUNS)
    check_bool("backward", backward)
    kept = {id(_owner(array)) for array in (images, *(parameter.value for parameter in parameters_in(model)))}
    watches = {path: _Watch(path, layer, kept) for path, layer in model.leaves()}
    observed = observe(
        model.leaves(),
        forward=lambda call, x: watches[call.path].forward(call, x),
        backward=lambda call, dy, cache: watches[call.path].backward(call, dy, cache),
    )
    whole = []
    with unchanged(model), observed, single_threaded_blas():
        peak = _gemm_peak(np.result_type(np.float32, *(p.value.dtype for p in parameters_in(model))))
        for _ in range(runs + 1):
            for watch in watches.values():
                watch.start_step()
            clear_gradients(model)
            whole.append(_step(model, images, backward=backward))
    forward_ms, backward_ms = (1e3 * statistics.median(seconds) for seconds in zip(*whole[1:], strict=True))
    return Profile(
        tuple(watch.row(peak) for watch in watches.values() if watch.output_shape != ()),
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


def _gemm_peak(dtype: DTypeLike, size: int = 512, products: int = 8) -> float:
    """Return the multiply-adds a second of a matrix product in each worker at once: the best of five."""
    matrix = np.ones((size, size), dtype)
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


class _Watch:
    """The measurements of one layer: what it counts in the first step, and the times of all steps."""

    def __init__(self, path: str, layer: Layer, kept: set[int]) -> None:
        self.path, self.layer = path, layer
        self.output_shape: tuple[int, ...] = ()
        self.algorithms: list[str] = []
        self.multiply_adds, self.passes, self.kept_bytes = 0, 1, 0
        self._kept = kept
        self._steps: list[list[float]] = []  # Each entry has the seconds forward and backward.

    def start_step(self) -> None:
        """Start to count the time of another step."""
        self._steps.append([0.0, 0.0])

    def forward(self, call: Call, x: Array) -> tuple[Array, Cache]:
        """Pass on a forward pass, and measure it."""
        start = time.perf_counter()
        y, cache = call(x)
        self._steps[-1][0] += time.perf_counter() - start
        if len(self._steps) == 1:
            self.output_shape = y.shape
            self.multiply_adds += len(x) * self.layer.multiply_adds(x.shape[1:])
            if call.training:
                self._keep(cache)
            self._note_algorithm(x.shape, backward=False)
        return y, cache

    def backward(self, call: Call, dy: Array, cache: Cache) -> Array | None:
        """Pass on a backward pass, and measure it."""
        start = time.perf_counter()
        dx: Array | None = call(dy, cache)
        self._steps[-1][1] += time.perf_counter() - start
        if len(self._steps) == 1:
            with_dx = call.method == "backward"
            # dx costs as much as dW, and each as much as y. A bias, which is a vector, costs next to nothing.
            with_dw = any(p.trainable and p.value.ndim > 1 for p in parameters_in(self.layer))
            self.passes = 1 + with_dx + with_dw
            if isinstance(self.layer, Conv2D):
                self._note_algorithm(cache.shape, backward=with_dx)  # a convolution's cache is its input
        return dx

    def _keep(self, cache: Cache) -> None:
        """Count the arrays in a cache that no earlier one holds."""
        for array in arrays_in(cache):
            owner = _owner(array)
            if id(owner) not in self._kept:
                self._kept.add(id(owner))
                # The memory of a large array may be longer than the array, and that of a broadcast one is shorter.
                self.kept_bytes += min(array.nbytes, owner.nbytes)

    def _note_algorithm(self, shape: tuple[int, ...], *, backward: bool) -> None:
        if isinstance(self.layer, Conv2D):
            self.algorithms.append(self.layer.chosen_algorithm(shape, backward=backward))

    def row(self, peak: float) -> LayerProfile:
        """Return the layer's row."""
        forward, backward = (statistics.median(seconds) for seconds in zip(*self._steps[1:], strict=True))
        return LayerProfile(
            self.path,
            repr(self.layer),
            self.output_shape,
            sum(parameter.value.size for parameter in parameters_in(self.layer)),
            self.multiply_adds,
            "/".join(dict.fromkeys(self.algorithms)),
            1e3 * forward,
            1e3 * backward,
            self.passes * self.multiply_adds / max(forward + backward, 1e-9) / peak,  # a clock may be coarse
            self.kept_bytes,
        )


def _owner(array: Array) -> Array:
    """Return the array whose memory a view shows."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array
