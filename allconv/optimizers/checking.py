"""The checks of parameters and their gradients, which the optimizers and the limits on gradients share."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from allconv.parameter import Parameter
from allconv.typing import Array
from allconv.validation import check_floating, describe, items_of

Settings = dict[str, Any]


def check_parameters(parameters: object) -> list[Parameter]:
    """Return `parameters` as a list, which must hold at least one Parameter and none of them twice."""
    rule = "parameters must be a non-empty iterable of distinct Parameters"
    listed = items_of(parameters)
    hint = "; pass model.parameters()" if hasattr(parameters, "parameters") else ""
    if listed is None:
        raise TypeError(f"{rule}, got {describe(parameters)}{hint}")
    for index, parameter in enumerate(listed):
        if not isinstance(parameter, Parameter):
            raise TypeError(f"{rule}, got {describe(parameter)} at {index}{hint}")
    if not listed:
        raise ValueError(f"{rule}, got an empty {type(parameters).__name__}")
    seen: dict[int, int] = {}
    for index, parameter in enumerate(listed):
        first = seen.setdefault(id(parameter), index)
        if first != index:
            raise ValueError(f"{rule}, got {parameter!r} twice, at {first} and {index}")
    return listed


def check_groups(
    parameters: object, settings: Iterable[str]
) -> Sequence[tuple[list[Parameter], dict[str, Any] | None]]:
    """Return the groups of `parameters` as pairs of a list of Parameters and a dict of the group's own settings.

    Each dict of a list of dicts is a group: it has ``"parameters"`` and some of `settings`. Anything else must be
    Parameters, which are one group, and None stands for its settings.
    """
    listed = parameters if isinstance(parameters, list | tuple) else []
    if not listed or not all(isinstance(group, Mapping) for group in listed):
        return [(check_parameters(parameters), None)]
    known = sorted(settings)
    groups = []
    for index, group in enumerate(listed):
        own = dict(group)
        unknown = [str(name) for name in own if name != "parameters" and name not in known]
        if "parameters" not in own or unknown:
            raise ValueError(
                f"a group must be a dict with 'parameters' and perhaps {', '.join(known)}, "
                f"got one with {', '.join(map(str, own)) or 'nothing'} at {index}"
            )
        groups.append((check_parameters(own.pop("parameters")), own))
    check_parameters([parameter for group, _ in groups for parameter in group])
    return groups


def check_paths(parameters: list[Parameter]) -> list[str]:
    """Return the names of `parameters`, which must be distinct; the index in the list stands for a missing name."""
    places: dict[str, int] = {}
    for index, parameter in enumerate(parameters):
        path = path_of(parameter, index)
        if path in places:
            raise ValueError(
                f"parameters must have distinct names, got {path!r} at {places[path]} and {index}; "
                "put the layers into one model, and list that model's parameters"
            )
        places[path] = index
    return list(places)


def path_of(parameter: Parameter, index: int) -> str:
    """Return the parameter's name, or its index in the list if it has no name."""
    return parameter.name or str(index)


def gradient_of(parameter: Parameter, index: int) -> Array:
    """Return the gradient in the dtype of the value; RuntimeError if it is missing or has another shape."""
    value, grad = parameter.value, parameter.grad
    if grad is None:
        raise RuntimeError(
            f"every trainable parameter must have a gradient, got none for {path_of(parameter, index)}: "
            "call backward first, of the model that the optimizer was made for, or set trainable=False"
        )
    if type(grad) is not np.ndarray or grad.dtype != value.dtype:
        grad = check_floating(f"the gradient of {path_of(parameter, index)}", grad, value.dtype)
    if grad.shape != value.shape:
        raise RuntimeError(
            f"the gradient of {path_of(parameter, index)} must have shape {value.shape}, got {describe(grad)}"
        )
    return grad
