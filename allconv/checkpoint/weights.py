"""A model's parameters and layer states by path: taken out, put back, and kept in a file."""

from pathlib import Path
from typing import Any

import numpy as np

from allconv.checkpoint import format as storage
from allconv.layers.base import Layer
from allconv.typing import Array
from allconv.validation import describe


def save_weights(model: Layer, path: str | Path) -> None:
    """Write the model to the file `path`: its parameters and what its layers hold besides (`model_state`).

    The file is an uncompressed .npz, also if `path` ends otherwise: ``np.load(path)["model/0.weight"]`` reads one
    array. It appears whole or not at all, and replaces one that is there.

    Raises
    ------
    OSError
        The file could not be written; `path` is as it was.
    """
    storage.write(path, model_state(model))


def load_weights(model: Layer, path: str | Path) -> None:
    """Put into `model` what `save_weights` wrote to `path`; a checkpoint's file will do too.

    Strict by path, as `load_model_state`, which states the rules.

    Raises
    ------
    CheckpointError
        The file is damaged, or none of ours.
    ValueError
        The file holds another model; all that is missing, unexpected or of another shape is named.
    OSError
        The file cannot be opened.
    """
    _check_model(model)
    state = storage.read(path)
    try:
        load_model_state(model, state)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def model_state(model: Layer) -> dict[str, Any]:
    """Return all that makes the model what it is, by path, as `load_model_state` takes it.

    Returns
    -------
    dict
        ``"model"``: a copy of the value of each parameter, running statistics among them;
        ``"layers"``: what the layers hold besides (a Skip's scale, a Dropout's generator), where they do.

    Examples
    --------
    >>> from allconv.layers.linear import Linear
    >>> model_state(Linear(2, 3))["model"]["bias"]
    array([0., 0., 0.], dtype=float32)
    """
    _check_model(model)
    return {
        "model": {path: parameter.value.copy() for path, parameter in model.named_parameters()},
        "layers": {path: state for path, layer in model.named_layers() if (state := layer.state())},
    }


def load_model_state(model: Layer, state: dict[str, Any]) -> None:
    """Put ``state["model"]`` and ``state["layers"]`` into the model; other keys of `state` are left alone.

    Strict: the paths and shapes must be exactly the model's. Floating dtypes may differ: values are cast to the
    model's (float64 to float32 rounds). A failed load changes nothing.

    Raises
    ------
    ValueError
        One error that names every path that is missing, unexpected, of another shape, not floating, or too large
        for float32; or a layer refuses its state.
    TypeError
        `state` does not have the two dicts.
    """
    _check_model(model)
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


def _check_model(model: object) -> None:
    if not isinstance(model, Layer):
        raise TypeError(f"model must be a Layer, got {describe(model)}")


def _matching(state: dict[str, Any], key: str, wanted: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """Return ``state[key]``, and add to `problems` the paths that it lacks and those that are not in `wanted`."""
    found = state.get(key)
    if not isinstance(found, dict):
        raise TypeError(f"state[{key!r}] must be a dict by path, got {describe(found)}")
    kind = "parameter" if key == "model" else "state of layer"
    problems += [f"{kind} {path!r} is missing" for path in wanted.keys() - found.keys()]
    problems += [f"{kind} {path!r} is unexpected" for path in found.keys() - wanted.keys()]
    return found
