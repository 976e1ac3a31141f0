"""A model's parameters and layer states by path: taken out, put back, and kept in a file.

A path names a place in the model, such as ``0.weight``; `Layer.named_parameters` and `Layer.named_layers` give them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from allconv.checkpoint import format as storage
from allconv.checkpoint.errors import CheckpointError
from allconv.layers.base import Layer
from allconv.typing import Array
from allconv.validation import check_floating, check_instance, describe

# What reads the files of other libraries, by the end of their names.
_READERS = {
    **dict.fromkeys((".pt", ".pth"), "interop.load_torch"),
    ".safetensors": "interop.load_safetensors",
    **dict.fromkeys((".h5", ".hdf5", ".keras"), "interop.load_keras"),
    ".onnx": "interop.from_onnx",
}


def save_weights(model: Layer, path: str | Path, *, dtype: DTypeLike | None = None) -> None:
    """Write the model's parameters, and what its layers hold besides, to the file `path`.

    Parameters
    ----------
    model : Layer
        What `model_state` takes out of it is written.
    path : path
        The file appears whole or not at all, and replaces one that is there. It is an uncompressed .npz, also if
        `path` ends otherwise: ``np.load(path)["model/0.weight"]`` reads one array.
    dtype : {float16, float32, float64}, optional
        To which dtype the parameters are rounded in the file. float16 takes half the bytes of float32. The default is
        each parameter's own.

    Raises
    ------
    TypeError, ValueError
        If an argument has another type, or a parameter is too large for `dtype`; nothing is written.
    OSError
        The file could not be written; `path` is as it was.

    Examples
    --------
    >>> import tempfile
    >>> from allconv.layers.linear import Linear
    >>> model, other = (Linear(2, 3, rng=np.random.default_rng(seed)) for seed in (0, 1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_weights(model, f"{folder}/weights.npz")
    ...     load_weights(other, f"{folder}/weights.npz")
    >>> bool((model.weight.value == other.weight.value).all())
    True
    """
    state = model_state(model)
    if dtype is not None:
        state["model"] = {
            name: check_floating(f"parameter {name!r}", value, dtype) for name, value in state["model"].items()
        }
    storage.write(path, state)


def load_weights(model: Layer, path: str | Path) -> None:
    """Put into `model` what `save_weights` wrote to `path`.

    Parameters
    ----------
    model : Layer
        It must have exactly the file's paths and shapes, as `load_model_state` says. A failed load changes nothing.
    path : path
        A file of `save_weights`, or of a checkpoint.

    Raises
    ------
    CheckpointError
        The file is damaged or of another kind.
    ValueError
        The file holds another model; all that is missing, unexpected or of another shape is named.
    OSError
        The file cannot be opened.

    Notes
    -----
    A model that shares only a part of its paths takes that part by `interop.assign`, which reports the rest:
    ``assign(model, checkpoint.read(path)["model"], source="allconv", strict=False)``.

    Examples
    --------
    >>> import tempfile
    >>> from allconv.layers.linear import Linear
    >>> trained, fresh = Linear(2, 3), Linear(2, 3)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_weights(trained, f"{folder}/weights.npz")
    ...     load_weights(fresh, f"{folder}/weights.npz")
    >>> np.array_equal(fresh.weight.value, trained.weight.value)
    True
    """
    check_instance("model", model, Layer)
    try:
        state = storage.read(path)
    except CheckpointError as error:
        reader = _READERS.get(Path(path).suffix.lower())
        hint = f"; {reader} reads files of this kind" if reader else ""
        raise CheckpointError(f"{error}{hint}") from error
    try:
        load_model_state(model, state)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def model_state(model: Layer) -> dict[str, Any]:
    """Return a copy of all that distinguishes the model from another of the same layers.

    Parameters
    ----------
    model : Layer
        Any layer, with those in it.

    Returns
    -------
    dict
        ``"model"``: by path, a copy of the value of each parameter, running statistics among them;
        ``"layers"``: by path, what a layer holds besides (a Skip's scale, a Dropout's generator), if it does.

    Raises
    ------
    TypeError
        `model` is no Layer.

    Examples
    --------
    >>> from allconv.layers.linear import Linear
    >>> model_state(Linear(2, 3))["model"]["bias"]
    array([0., 0., 0.], dtype=float32)
    """
    check_instance("model", model, Layer)
    return {
        "model": {path: parameter.value.copy() for path, parameter in model.named_parameters()},
        "layers": {path: state for path, layer in model.named_layers() if (state := layer.state())},
    }


def load_model_state(model: Layer, state: dict[str, Any]) -> None:
    """Put back into the model what `model_state` took out of one. A failed load changes nothing.

    Parameters
    ----------
    model : Layer
        It must have exactly the paths and shapes of `state`. Floating dtypes may differ: values are cast to the
        model's (float64 to float32 rounds).
    state : dict
        What `model_state` returned, or a checkpoint's state: keys other than ``"model"`` and ``"layers"`` are passed
        over.

    Raises
    ------
    ValueError
        One error that names every path that is missing, unexpected, of another shape, not floating, too large for
        float32, or read-only in the model; or a layer refuses its state.
    TypeError
        `state` does not have the two dicts.

    Examples
    --------
    >>> from allconv.layers.linear import Linear
    >>> model = Linear(2, 3)
    >>> before = model_state(model)
    >>> model.weight.value += 1
    >>> load_model_state(model, before)
    >>> bool((model.weight.value == before["model"]["weight"]).all())
    True
    """
    check_instance("model", model, Layer)
    parameters, layers = dict(model.named_parameters()), dict(model.named_layers())
    with_state = {path: layer.state() for path, layer in layers.items() if layer.state()}
    problems: list[str] = []
    values = _matching(state, "model", parameters, problems)
    states = _matching(state, "layers", with_state, problems)
    cast: dict[str, Array] = {}
    for path in parameters.keys() & values.keys():
        value, wanted = values[path], parameters[path].value
        if not isinstance(value, np.ndarray) or value.dtype.kind != "f" or value.shape != wanted.shape:
            problems.append(f"parameter {path!r} must be floating of shape {wanted.shape}, got {describe(value)}")
            continue
        if not wanted.flags.writeable:
            problems.append(f"parameter {path!r} is read-only, as in a fused copy: load the model, then fuse it")
            continue
        try:
            with np.errstate(over="raise"):
                cast[path] = value.astype(wanted.dtype)
        except FloatingPointError:
            problems.append(f"parameter {path!r} must fit {wanted.dtype}, got {np.abs(value).max():g}")
    if problems:
        raise ValueError(f"state does not fit the model: {'; '.join(sorted(problems))}")

    try:
        for path, layer_state in states.items():
            layers[path].load_state(layer_state)
    except Exception:
        for path, layer_state in with_state.items():
            layers[path].load_state(layer_state)
        raise
    for path, parameter in parameters.items():
        parameter.value = cast[path]


def _matching(state: dict[str, Any], key: str, wanted: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """Return ``state[key]``, and add to `problems` the paths that it lacks and those that are not in `wanted`."""
    found = state.get(key) if isinstance(state, Mapping) else state
    if not isinstance(found, dict):
        raise TypeError(f"state[{key!r}] must be a dict by path, got {describe(found)}")
    kind = "parameter" if key == "model" else "state of layer"
    problems += [f"{kind} {path!r} is missing" for path in wanted.keys() - found.keys()]
    problems += [f"{kind} {path!r} is unexpected" for path in found.keys() - wanted.keys()]
    return found
