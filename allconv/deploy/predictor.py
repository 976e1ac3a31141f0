"""Predict with a network that was saved for deployment. NumPy is all that this file needs.

    import predict

    model = predict.load("folder")
    scores = model(images)
    (best,) = model.top(images[:1])

`allconv.deploy.save` copies this file into the folder as ``predict.py``, beside two others.
``model.json`` lists the steps of the network in order, with plain numbers for strides and padding, and ``weights.npz``
has the arrays. Nothing here starts a thread, writes a file, or reads anything but these two.
"""

# Longer than 300 lines, since a deployed folder shall have one file of code; each function in it is short.
import functools
import hashlib
import io
import json
import math
import reprlib
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

Array = Any  # a NumPy array
Step = Callable[[Array], Array]

FORMAT = 1
STRUCTURE, WEIGHTS = "model.json", "weights.npz"
STRUCTURE_LIMIT = 1 << 22  # bounds model.json, in bytes: JSON takes up to 60 times its length in memory


class Predictor:
    """A network that only predicts; `load` makes it.

    Parameters
    ----------
    structure : dict
        What ``model.json`` holds.
    weights : dict
        The arrays of ``weights.npz`` by name.

    Attributes
    ----------
    input_shape, output_shape : tuple of int
        The shapes of one example and of its scores, without the batch axis.
    names : tuple of str
        The names of the classes; empty if they have none.

    Raises
    ------
    TypeError, ValueError
        From a call, if the inputs are neither uint8 nor floating, or have another shape than the network takes.

    Examples
    --------
    >>> model = load("folder")  # doctest: +SKIP
    >>> scores = model(images)  # doctest: +SKIP
    >>> (best,) = model.top(images[:1], 3)  # doctest: +SKIP
    """

    def __init__(self, structure: dict[str, Any], weights: dict[str, Array]) -> None:
        self.input_shape = tuple(structure["input_shape"])
        self.output_shape = tuple(structure["output_shape"])
        self.names = tuple(structure["names"])
        self._ends_in_probabilities = structure["ends_in_probabilities"]
        self._prepare = _in_a_row(structure["normalize"], weights)
        self._network = _in_a_row(structure["network"], weights)

    def __call__(self, inputs: Array, *, batch_size: int = 8) -> Array:
        """Return the scores of a batch.

        Parameters
        ----------
        inputs : array, shape (N, ...)
            What the training took: uint8 images, or floating numbers. They are normalized here as in training. Without
            a normalization, uint8 is divided by 255.
        batch_size : int, default 8
            The number of examples in memory at the same time.

        Returns
        -------
        array of float32, shape (N, ...)
            The scores.

        Raises
        ------
        TypeError, ValueError
            If `inputs` are neither uint8 nor floating, or have another shape, or if `batch_size` is no positive int.
        """
        inputs, batch_size = np.asarray(inputs), _check_count("batch_size", batch_size)
        if inputs.dtype != np.uint8 and inputs.dtype.kind != "f":
            raise TypeError(f"inputs must be uint8 or floating, got {inputs.dtype}")
        if inputs.shape[1:] != self.input_shape or len(inputs) == 0:
            wanted = ", ".join(map(str, self.input_shape))
            raise ValueError(f"inputs must have shape (N, {wanted}), got {inputs.shape}")
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            return np.concatenate([self._scores(inputs[i : i + batch_size]) for i in range(0, len(inputs), batch_size)])

    def _scores(self, inputs: Array) -> Array:
        x = self._prepare(inputs)
        if x.dtype == np.uint8:  # No normalization has made it floating.
            x = np.divide(x, 255, dtype=np.float32)
        return self._network(x.astype(np.float32, copy=False))

    def top(self, inputs: Array, count: int = 5) -> list[list[tuple[str, float]]]:
        """Return the most probable classes of each example.

        Parameters
        ----------
        inputs : array, shape (N, ...)
            As for a call.
        count : int, default 5
            The number of classes.

        Returns
        -------
        list of list of (str, float)
            For each example, names and probabilities, the largest first. A class without a name is ``class 3``. The
            probabilities are the softmax of the scores, unless the network itself ends in probabilities.

        Raises
        ------
        TypeError, ValueError
            As from a call, or if the network has no classes, or if `count` is no positive int.
        """
        count = _check_count("count", count)
        if len(self.output_shape) != 1:
            raise ValueError(f"the network must give one score a class, got outputs of shape {self.output_shape}")
        scores = self(inputs)
        probabilities = scores if self._ends_in_probabilities else softmax(scores, -1)
        names = self.names or [f"class {index}" for index in range(scores.shape[1])]
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
        return [
            [(names[index], float(row[index])) for index in best]
            for row, best in zip(probabilities, order, strict=True)
        ]


def _check_count(name: str, value: int) -> int:
    """Return `value`, which must be a positive int."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be a positive int, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be a positive int, got {value}")
    return int(value)


def load(folder: str | Path = Path(__file__).parent) -> Predictor:
    """Return the network of a folder that `allconv.deploy.save` wrote.

    Parameters
    ----------
    folder : path, optional
        The folder. The default is the folder of this file.

    Returns
    -------
    Predictor
        A function from inputs to scores.

    Raises
    ------
    TypeError
        `folder` is no path.
    ValueError
        A file is damaged, of another version, or another network's. The message names the file; nothing was computed.
    OSError
        A file is missing or cannot be read.

    Examples
    --------
    >>> scores = load("folder")(images)  # doctest: +SKIP
    """
    if not isinstance(folder, str | Path):
        raise TypeError(f"folder must be a path, got {reprlib.repr(folder)}")
    path = Path(folder) / STRUCTURE
    structure = _read_structure(path)
    weights = _read_weights(Path(folder) / WEIGHTS, structure)
    try:
        return Predictor(structure, weights)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: does not describe a network: {type(error).__name__}: {error}") from error


def fingerprint(structure: dict[str, Any]) -> str:
    """Return the SHA-256 of a structure, its own entry ``sha256`` aside, in a form that white space cannot change."""
    rest = {name: value for name, value in structure.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _open(path: Path) -> io.BufferedReader:
    """Open a file for reading. To open a FIFO would wait for ever, and a device may have no end."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise ValueError(f"{path}: is a device or a FIFO, no regular file")
    return path.open("rb")


def _read_structure(path: Path) -> dict[str, Any]:
    with _open(path) as file:
        text = file.read(STRUCTURE_LIMIT + 1)
    if len(text) > STRUCTURE_LIMIT:
        raise ValueError(f"{path}: is no file of allconv.deploy: it has more than {STRUCTURE_LIMIT} bytes")
    try:
        structure = json.loads(text)
        sha256 = fingerprint(structure) if isinstance(structure, dict) else None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: is damaged, or no file of allconv.deploy: {error}") from error
    if not isinstance(structure, dict) or structure.get("kind") != "allconv.deploy":
        raise ValueError(f"{path}: is no file of allconv.deploy")
    if structure.get("format") != FORMAT:
        raise ValueError(
            f"{path}: has format {structure.get('format')!r}, written by allconv {structure.get('allconv')}; "
            f"this version reads {FORMAT}"
        )
    if structure.get("sha256") != sha256:
        raise ValueError(f"{path}: is damaged: it does not have the SHA-256 that it states")
    return structure


def _read_weights(path: Path, structure: dict[str, Any]) -> dict[str, Array]:
    """Return the arrays by name; the file must be the very one that the structure was written with."""
    with _open(path) as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != structure.get("weights_sha256"):
            raise ValueError(
                f"{path}: is damaged, or belongs to another network: "
                f"it does not have the SHA-256 that {STRUCTURE} states"
            )
        try:
            return _read_arrays(file, file.tell())
        except MemoryError:  # The arrays are no larger than the file.
            raise
        except Exception as error:  # A forged zip raises almost anything.
            raise ValueError(f"{path}: is damaged: {error}") from error


def _read_arrays(file: BinaryIO, size: int) -> dict[str, Array]:
    """Return the arrays of a zip of so many bytes."""
    prefix = "weights/"
    with zipfile.ZipFile(file) as archive:
        members = [info for info in archive.infolist() if info.filename.startswith(prefix)]
        if sum(info.file_size for info in members) > size:
            raise ValueError("it declares more bytes than it holds")
        return {info.filename.removeprefix(prefix).removesuffix(".npy"): _read_array(archive, info) for info in members}


def _read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Array:
    """Return an array whose header states as many bytes as the member has, so that no header takes the memory."""
    with archive.open(info) as member:
        np.lib.format.read_magic(member)
        shape, _, dtype = np.lib.format.read_array_header_1_0(member)
        if dtype.kind != "f" or math.prod(shape) * dtype.itemsize != info.file_size - member.tell():
            raise ValueError(f"{info.filename} of shape {shape} and dtype {dtype} cannot have {info.file_size} bytes")
    with archive.open(info) as member:
        return np.lib.format.read_array(member, allow_pickle=False)


def _in_a_row(steps: list[dict[str, Any]], weights: dict[str, Array]) -> Step:
    """Return the function that applies the steps one after the other."""
    functions = [_bound(step, weights) for step in steps]

    def apply(x: Array) -> Array:
        for function in functions:
            x = function(x)
        return x

    return apply


def _bound(step: dict[str, Any], weights: dict[str, Array]) -> Step:
    """Return the function of a step with its numbers, its arrays, and the rows of steps inside of it."""
    options = {name: value for name, value in step.items() if name not in ("step", "arrays", "inside")}
    options |= {name: weights[place] for name, place in step.get("arrays", {}).items()}
    if "inside" in step:
        options["inside"] = [_in_a_row(steps, weights) for steps in step["inside"]]
    return functools.partial(STEPS[step["step"]], **options)


def _padded(x: Array, pads: list[list[int]], value: float = 0.0) -> Array:
    """Return images with rows and columns of `value` around them; a negative number of them is cut off."""
    inside = tuple(
        slice(max(0, -before), n - max(0, -after)) for n, (before, after) in zip(x.shape[1:3], pads, strict=True)
    )
    around = [(0, 0), *((max(0, before), max(0, after)) for before, after in pads), (0, 0)]
    x = x[:, *inside]
    return np.pad(x, around, constant_values=value) if np.any(around) else x


def conv(
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: list[int],
    dilation: list[int],
    pads: list[list[int]],
    groups: int,
) -> Array:
    """Return the convolution: the windows of each group as rows of a matrix, times the weights of the group."""
    height, width, per_group, outputs = weight.shape
    extent = [d * (k - 1) + 1 for d, k in zip(dilation, (height, width), strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(_padded(x, pads), extent, axis=(1, 2))
    windows = windows[:, :: stride[0], :: stride[1], :, :: dilation[0], :: dilation[1]]
    n, rows, columns = windows.shape[:3]
    windows = windows.reshape(n, rows, columns, groups, per_group, height, width)
    taps = windows.transpose(3, 0, 1, 2, 5, 6, 4).reshape(groups, n * rows * columns, height * width * per_group)
    kernels = weight.reshape(height * width * per_group, groups, outputs // groups).transpose(1, 0, 2)
    y = (taps @ kernels).transpose(1, 0, 2).reshape(n, rows, columns, outputs)
    return y if bias is None else y + bias


def spread(x: Array, stride: list[int]) -> Array:
    """Return images with zeros between their pixels, so that a convolution of stride 1 becomes a transposed one."""
    n, height, width, channels = x.shape
    y = np.zeros((n, (height - 1) * stride[0] + 1, (width - 1) * stride[1] + 1, channels), x.dtype)
    y[:, :: stride[0], :: stride[1]] = x
    return y


def max_pool(x: Array, kernel: list[int], stride: list[int], dilation: list[int], pads: list[list[int]]) -> Array:
    """Return the maximum of each window, taken over all windows at once for one place in the window after another."""
    x = _padded(x, pads, -np.inf)
    last = [n - d * (k - 1) for n, d, k in zip(x.shape[1:3], dilation, kernel, strict=True)]
    taps = (
        x[:, u : u + last[0] : stride[0], v : v + last[1] : stride[1]]
        for u in range(0, kernel[0] * dilation[0], dilation[0])
        for v in range(0, kernel[1] * dilation[1], dilation[1])
    )
    return functools.reduce(np.maximum, taps)


def resample(x: Array, rows: Array, columns: Array) -> Array:
    """Return weighted sums of the rows of images, and then of their columns: mean pooling, upsampling, zero padding."""
    n, height, width, channels = x.shape
    x = (rows @ x.reshape(n, height, width * channels)).reshape(n * len(rows), width, channels)
    return (columns @ x).reshape(n, len(rows), len(columns), channels)


def global_mean(x: Array, keepdims: bool) -> Array:
    """Return the mean of each channel over all positions."""
    return x.mean((1, 2), dtype=np.float64, keepdims=keepdims).astype(x.dtype)


def linear(x: Array, weight: Array, bias: Array | None) -> Array:
    """Return weighted sums of all inputs, plus a bias."""
    y = x @ weight
    return y if bias is None else y + bias


def standardize(x: Array, mean: Array, scale: Array, shift: Array | None = None) -> Array:
    """Return (x - mean) scale + shift, with statistics that are fixed; uint8 becomes float32."""
    dtype = np.float32 if x.dtype == np.uint8 else x.dtype
    y = (x - mean) * scale
    return (y if shift is None else y + shift).astype(dtype, copy=False)


def contrast(x: Array, norm: float, least_divisor: float) -> Array:
    """Return each example without its mean, scaled to a norm."""
    rows = x.reshape(len(x), -1).astype(np.float64)
    rows -= rows.mean(axis=1, keepdims=True)
    divisor = np.sqrt(np.einsum("nd,nd->n", rows, rows)) / norm
    divisor[divisor < least_divisor] = 1
    return (rows / divisor[:, None]).reshape(x.shape)


def whiten(x: Array, mean: Array, matrix: Array) -> Array:
    """Return examples whose values are decorrelated by a symmetric matrix."""
    rows = (x.astype(np.float64) - mean).reshape(len(x), -1).astype(np.float32)
    return (rows @ matrix.T).reshape(x.shape)


def layer_norm(x: Array, weight: Array, bias: Array, eps: float) -> Array:
    """Return the channels at each position with mean 0 and variance 1, then scaled and shifted."""
    return _unit_variance(x, -1, eps) * weight + bias


def group_norm(x: Array, weight: Array, bias: Array, groups: int, eps: float) -> Array:
    """Return the groups of channels of each example with mean 0 and variance 1, then scaled and shifted."""
    grouped = x.reshape(len(x), -1, groups, x.shape[-1] // groups)
    return _unit_variance(grouped, (1, 3), eps).reshape(x.shape) * weight + bias


def _unit_variance(x: Array, axes: int | tuple[int, ...], eps: float) -> Array:
    x = x - x.mean(axes, dtype=np.float64, keepdims=True).astype(x.dtype)
    variance = np.square(x).mean(axes, dtype=np.float64, keepdims=True)
    return x * (1 / np.sqrt(variance + eps)).astype(x.dtype)


def add(x: Array, inside: list[Step], scales: list[float]) -> Array:
    """Return the sum of what several rows of steps make of one input, each times a number."""
    return functools.reduce(np.add, (scale * steps(x) for steps, scale in zip(inside, scales, strict=True)))


def concatenate(x: Array, inside: list[Step]) -> Array:
    """Return what several rows of steps make of one input, side by side along the channels."""
    return np.concatenate([steps(x) for steps in inside], axis=-1)


def flatten(x: Array) -> Array:
    """Return the numbers of each example in one row."""
    return x.reshape(len(x), -1)


def scale(x: Array, factor: float) -> Array:
    """Return all numbers times a constant."""
    return factor * x


def relu(x: Array) -> Array:
    """Return x where it is positive, and 0 elsewhere."""
    return np.maximum(x, 0)


def relu6(x: Array) -> Array:
    """Return x, held between 0 and 6."""
    return np.clip(x, 0, 6)


def leaky_relu(x: Array, slope: float | Array) -> Array:
    """Return x where it is positive, and a slope times x elsewhere."""
    return np.maximum(x, 0) + slope * np.minimum(x, 0)


def elu(x: Array, alpha: float) -> Array:
    """Return x where it is positive, and alpha (exp(x) - 1) elsewhere."""
    return alpha * np.expm1(np.minimum(x, 0)) + np.maximum(x, 0)


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)), in a form that cannot overflow."""
    e = np.exp(-np.abs(x))
    return np.maximum(e, x > 0) / (1 + e)


def silu(x: Array) -> Array:
    """Return x sigmoid(x)."""
    return x * sigmoid(x)


def tanh(x: Array) -> Array:
    """Return the hyperbolic tangent."""
    return np.tanh(x)


def gelu_tanh(x: Array) -> Array:
    """Return x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2."""
    z = np.clip(x, -10, 10)  # outside this range the tanh rounds to -1 or 1
    return x * (1 + np.tanh(math.sqrt(2 / math.pi) * z * (1 + 0.044715 * z * z))) / 2


_CELLS = 64  # the cells of the table of Phi in an interval of length 1
_END = 6  # bounds the table on both sides; beyond it Phi is 0 or 1 up to 1e-9


def gelu(x: Array) -> Array:
    """Return x Phi(x) with the standard normal distribution Phi, from a table and three terms of its Taylor series.

    The series about the place p next to x is Phi(p) + d phi(p) (1 - d p / 2 + d^2 (p^2 - 1) / 6) with the density phi
    and d = x - p. As d is at most 1/128, the next term is below 3e-10.
    """
    values, densities = _normal_table()
    z = np.clip(x, -_END, _END)
    cell = np.rint(z * _CELLS)
    place = cell / _CELLS
    d = z - place
    index = (cell + _END * _CELLS).astype(np.intp)
    series = d * (1 - d * place / 2 + d * d * (place * place - 1) / 6)
    return x * (values.take(index, mode="clip") + densities.take(index, mode="clip") * series)


@functools.cache
def _normal_table() -> tuple[Array, Array]:
    """Return Phi and its density at the places of the table."""
    places = np.arange(-_END * _CELLS, _END * _CELLS + 1) / _CELLS
    values = [math.erfc(-place / math.sqrt(2)) / 2 for place in places]
    densities = np.exp(-places * places / 2) / math.sqrt(2 * math.pi)
    return np.array(values, np.float32), densities.astype(np.float32)


def softmax(x: Array, axis: int) -> Array:
    """Return exp(x) / sum exp(x) along an axis."""
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True, dtype=np.float64).astype(x.dtype)


def log_softmax(x: Array, axis: int) -> Array:
    """Return x - log(sum exp(x)) along an axis."""
    x = x - x.max(axis, keepdims=True)
    return x - np.log(np.exp(x).sum(axis, keepdims=True, dtype=np.float64)).astype(x.dtype)


STEPS: dict[str, Callable[..., Array]] = {
    function.__name__: function
    for function in (
        *(conv, spread, max_pool, resample, global_mean, linear, flatten, scale, add, concatenate),
        *(standardize, contrast, whiten, layer_norm, group_norm),
        *(relu, relu6, leaky_relu, elu, sigmoid, silu, tanh, gelu, gelu_tanh, softmax, log_softmax),
    )
}
