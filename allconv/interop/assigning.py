"""Arrays of another framework put into a model: matched, converted to the layouts here, and checked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from allconv.checkpoint.weights import load_model_state
from allconv.interop.flattening import flattened_channels, from_channels_first
from allconv.interop.matching import by_name, by_order, modules_in, modules_of
from allconv.layers.base import Layer
from allconv.layers.conv import Conv2D
from allconv.layers.conv_transpose import ConvTranspose2D
from allconv.layers.linear import Linear
from allconv.layers.shapes import check_shape
from allconv.typing import Array
from allconv.validation import check_array, check_bool, check_callable, check_choice, check_instance, describe


@dataclass(frozen=True)
class Assignment:
    """What `assign` has done.

    Attributes
    ----------
    names : dict of str to str
        For each parameter that was assigned, by its path, the name of its array.
    missing : list of str
        The parameters without an array, which are as they were.
    unexpected : list of str
        The arrays without a parameter.
    """

    names: dict[str, str]
    missing: list[str]
    unexpected: list[str]


def assign(
    model: Layer,
    arrays: Mapping[str, Array],
    *,
    source: str = "torch",
    rename: Callable[[str], str | None] | Mapping[str, str | None] | None = None,
    strict: bool = True,
    input_shape: tuple[int, ...] | None = None,
) -> Assignment:
    """Put the arrays of another framework into `model`, each in the layout that it has here.

    Arrays and parameters are matched by name if each parameter has an array of its name; a prefix that all names of a
    file share, such as ``module.``, is passed over. Otherwise they are matched by order and shape: among the layers
    of one kind (convolutions with bias, batch normalizations, ...) and one size, the first of the model gets the first
    of the file.

    Parameters
    ----------
    model : Layer
        The network. Nothing of it is changed unless all is right.
    arrays : mapping of str to array
        What `load_torch`, `load_keras` or `load_safetensors` returned, or the state dict of a module of PyTorch.
    source : {"torch", "keras", "allconv"}, default "torch"
        Whose layouts and names the arrays have. PyTorch has weights of convolutions as (out, in, rows, columns), those
        of linear layers as (out, in), and images as NCHW, which changes the rows of a layer behind `Flatten`. The
        counter ``num_batches_tracked`` is left out, and so are optimizers and metrics.
    rename : callable or mapping, optional
        A new name for the name of an array, or None to leave the array out. A mapping keeps the names that it lacks.
    strict : bool, default True
        Whether a parameter without an array, or an array without a parameter, is an error. With False, names are
        matched as far as they go; an array of another shape is an error all the same.
    input_shape : tuple of int, optional
        The shape of an example, such as ``(28, 28, 1)``. It is needed for arrays of PyTorch if the network starts
        with `Flatten`, so that no layer before tells the number of channels.

    Returns
    -------
    Assignment
        Which array went where, and what did not match.

    Raises
    ------
    TypeError
        An argument is of another type.
    ValueError
        The arrays are those of another model: every parameter and array without a partner, or with one of another
        shape, is named. Or no layer tells the number of channels before a `Flatten`.

    Examples
    --------
    >>> from allconv.layers.linear import Linear
    >>> model = Linear(2, 3)
    >>> arrays = {"fc.weight": np.arange(6.0).reshape(3, 2), "fc.bias": np.ones(3)}
    >>> assign(model, arrays).names
    {'weight': 'fc.weight', 'bias': 'fc.bias'}
    >>> model.weight.value
    array([[0., 2., 4.],
           [1., 3., 5.]], dtype=float32)
    """
    check_instance("model", model, Layer)
    check_choice("source", source, ("torch", "keras", "allconv"))
    check_bool("strict", strict)
    input_shape = None if input_shape is None else check_shape(input_shape, "input_shape")
    renamed = _renamed(arrays, rename)
    ours, theirs = modules_of(model, source), modules_in(renamed, source)
    paths = [path for module in ours for path in module.members.values()]
    expected = [name for module in theirs for name in module.members.values()]
    names = by_name(ours, theirs)
    if len(names) < len(paths) and (strict or not names):
        ordered = by_order(ours, theirs)
        names = ordered if len(ordered) >= len(names) else names
    missing = [path for path in paths if path not in names]
    taken = set(names.values())
    unexpected = [name for name in expected if name not in taken]
    problems = [f"parameter {path!r} has no array" for path in missing if strict or not names]
    problems += [f"array {name!r} has no parameter" for name in unexpected if strict or not names]
    converted = _converted(model, {path: renamed[name] for path, name in names.items()}, source, input_shape)
    values = {path: parameter.value for path, parameter in model.named_parameters()}
    for path, array in converted.items():
        if array.shape != values[path].shape:
            found = renamed[names[path]].shape
            problems.append(f"parameter {path!r} of shape {values[path].shape} cannot take {names[path]!r} of {found}")
    if problems:
        shown = "; ".join(problems[:20]) + ("" if len(problems) <= 20 else f"; and {len(problems) - 20} more")
        raise ValueError(f"arrays must be those of the model ({source}): {shown}")
    states = {path: state for path, layer in model.named_layers() if (state := layer.state())}
    load_model_state(model, {"model": values | converted, "layers": states})
    return Assignment(names, missing, unexpected)


def _array_of(name: str, value: object) -> Array:
    """Return an array, or a tensor of PyTorch as one, which the state dict of a module holds."""
    detach = getattr(value, "detach", None)
    if detach is not None:
        return check_array(f"arrays[{name!r}]", detach())
    if not isinstance(value, np.ndarray):
        raise TypeError(f"arrays[{name!r}] must be an array, got {describe(value)}")
    return value


def _renamed(arrays: object, rename: Callable[[str], str | None] | Mapping[str, str | None] | None) -> dict[str, Array]:
    """Return the arrays under their new names."""
    if not isinstance(arrays, Mapping) or not all(isinstance(name, str) for name in arrays):
        raise TypeError(f"arrays must be a mapping of names to arrays, got {describe(arrays)}")
    checked = {name: _array_of(name, value) for name, value in arrays.items()}
    if not (rename is None or callable(rename) or isinstance(rename, Mapping)):
        raise TypeError(f"rename must be callable, a mapping or None, got {describe(rename)}")
    if callable(rename):
        check_callable("rename", rename, takes="name")
    found: dict[str, Array] = {}
    for name, array in checked.items():
        new = name if rename is None else rename(name) if callable(rename) else rename.get(name, name)
        if not isinstance(new, str | None):
            raise TypeError(f"rename must give a str or None, got {describe(new)} for {name!r}")
        if new in found:
            raise ValueError(f"rename must keep names apart, got {new!r} twice")
        if new is not None:
            found[new] = array
    return found


def _converted(
    model: Layer, arrays: dict[str, Array], source: str, input_shape: tuple[int, ...] | None
) -> dict[str, Array]:
    """Return the arrays, by the path of the parameter that each is for, in the layouts of this library."""
    layers = dict(model.named_layers())
    flat = flattened_channels(model, input_shape) if source == "torch" else {}
    found = {}
    for path, array in arrays.items():
        place, _, role = path.rpartition(".")
        array = _CONVERT[source](layers[place], role, array)
        if place in flat and not (isinstance(layers[place], Linear) and role == "bias"):
            channels = flat[place]
            if channels is None:
                raise ValueError(
                    f"input_shape must be given, since no layer tells the channels of the images that {place!r} sees "
                    "flattened"
                )
            if array.ndim and len(array) % channels == 0:
                array = from_channels_first(array, channels)
        found[path] = np.ascontiguousarray(array)
    return found


def _from_torch(layer: Layer, role: str, array: Array) -> Array:
    """Return an array of PyTorch, whose weights have the outputs first."""
    if role == "weight" and isinstance(layer, Conv2D | ConvTranspose2D) and array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    if role == "weight" and isinstance(layer, Linear) and array.ndim == 2:
        return array.T
    return array


def _from_keras(layer: Layer, role: str, array: Array) -> Array:
    """Return an array of Keras, whose depthwise weights are (rows, columns, in, multiplier).

    The slopes of its PReLU are (1, 1, C), or (C, 1, 1) for NCHW images.
    """
    if role == "weight" and isinstance(layer, Conv2D) and array.ndim == 4 and layer.groups == array.shape[2] > 1:
        return array.reshape(*array.shape[:2], 1, -1)
    if role == "weight" and array.ndim == 3 and sorted(array.shape)[:2] == [1, 1]:
        return array.reshape(-1)
    return array


def _unchanged(layer: Layer, role: str, array: Array) -> Array:  # noqa: ARG001
    """Return the array."""
    return array


_CONVERT = {"torch": _from_torch, "keras": _from_keras, "allconv": _unchanged}
