"""Which array of a file belongs to which parameter of a model: by name, or else by order and shape."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from allconv.layers.base import Layer
from allconv.layers.conv import Conv2D
from allconv.layers.conv_transpose import ConvTranspose2D
from allconv.parameter import Parameter
from allconv.typing import Array

# The names of Keras for what is called weight, bias, running_mean and running_var here.
_KERAS = {
    **dict.fromkeys(("kernel", "depthwise_kernel", "gamma", "alpha"), "weight"),
    **dict.fromkeys(("bias", "beta"), "bias"),
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
# What a file holds beside the weights of layers.
_IGNORED = {
    "torch": re.compile(r"(.*\.)?num_batches_tracked"),
    "keras": re.compile(r"(.*/)?(optimizer|optimizer_weights|seed_generator|metrics|compile_metrics)(/.*)?"),
    "allconv": re.compile(r"(?!)"),
}


@dataclass
class Module:
    """The parameters of one layer, or the arrays of one layer of a file.

    Attributes
    ----------
    path : str
        The name of the layer, with dots between its parts.
    members : dict
        For each parameter its whole name. The key is the parameter's attribute, or its position as a string where the
        file has no more.
    kind : tuple
        What layers of one sort have in common: the number of parameters, the axes of the weight, and a word.
    size : int
        The number of elements of the weight, which no change of layout changes.
    """

    path: str
    members: dict[str, str]
    kind: tuple[int, int, str]
    size: int


def modules_of(model: Layer, source: str) -> list[Module]:
    """Return the layers of `model` that have parameters, in forward order; a shared parameter is there once."""
    found, seen = [], set()
    for path, layer in model.named_layers():
        own = {name: value for name, value in vars(layer).items() if isinstance(value, Parameter)}
        own = {name: value for name, value in own.items() if id(value) not in seen}
        seen |= {id(value) for value in own.values()}
        if own:
            word = ""
            if source == "keras" and isinstance(layer, ConvTranspose2D):
                word = "transpose"
            elif source == "keras" and isinstance(layer, Conv2D) and layer.groups == layer.in_channels > 1:
                word = "depthwise"
            members = {name: f"{path}.{name}" if path else name for name in own}
            weight = next(iter(own.values())).value
            found.append(Module(path, members, (len(own), weight.ndim, word), weight.size))
    return found


def modules_in(arrays: dict[str, Array], source: str) -> list[Module]:
    """Return the layers in a file, in its order; names in alphabetical order are put into that of their numbers."""
    names = [name for name in arrays if not _IGNORED[source].fullmatch(name)]
    if names == sorted(names, key=lambda name: re.split("[./]", name)):
        names.sort(key=_natural)
    found: dict[str, Module] = {}
    for name in names:
        parts = re.split("[./]", name.removesuffix(":0")) if source == "keras" else name.split(".")
        role = _KERAS.get(parts[-1], parts[-1]) if source == "keras" else parts[-1]
        path = ".".join(parts[:-2] if source == "keras" and parts[-2:-1] == ["vars"] else parts[:-1])
        found.setdefault(path, Module(path, {}, (0, 0, ""), 0)).members[role] = name
    for module in found.values():
        weight = arrays[module.members.get("weight", next(iter(module.members.values())))]
        axes, module.size = weight.ndim, weight.size
        text = "/".join(module.members.values())
        word = next((word for word in ("depthwise", "transpose") if source == "keras" and word in text), "")
        module.kind = (len(module.members), 1 if axes == 3 else axes, word)  # 3: a PReLU of Keras, (1, 1, C)
    return list(found.values())


def by_name(model: list[Module], file: list[Module]) -> dict[str, str]:
    """Return {parameter: array} for the parameters that have an array of their name, a common prefix aside."""
    found: dict[str, str] = {}
    prefix = _common_prefix([module.path for module in file])
    there = {module.path: module for module in file} | {module.path[len(prefix) :]: module for module in file}
    for module in model:
        if module.path in there:
            found |= dict(_pairs(module, there[module.path]))
    return found


def by_order(model: list[Module], file: list[Module]) -> dict[str, str]:
    """Return {parameter: array}, the layers of each kind and size in their order; what has no partner is left out.

    If model and file have different sizes, those of one kind are in their order, so that an error can name both shapes.
    """
    found: dict[str, str] = {}
    for kind in {module.kind for module in model}:
        ours, theirs = ([module for module in modules if module.kind == kind] for modules in (model, file))
        if len(ours) == len(theirs):
            if sorted(module.size for module in ours) == sorted(module.size for module in theirs):
                ours.sort(key=lambda module: module.size)
                theirs.sort(key=lambda module: module.size)
            for pair in zip(ours, theirs, strict=True):
                found |= dict(_pairs(*pair))
    return found


def _pairs(ours: Module, theirs: Module) -> Iterable[tuple[str, str]]:
    """Yield (parameter, array) for two layers."""
    for position, (role, parameter) in enumerate(ours.members.items()):
        name = theirs.members.get(role, theirs.members.get(str(position)))
        if name is not None:
            yield parameter, name


def _common_prefix(paths: list[str]) -> str:
    """Return the names of wrappers, such as ``module.``, in which all layers of a file lie."""
    prefix = ""
    while paths and len({path[len(prefix) :].partition(".")[0] for path in paths}) == 1:
        first = paths[0][len(prefix) :].partition(".")
        if not first[1] or any("." not in path[len(prefix) :] for path in paths):
            break
        prefix += first[0] + "."
    return prefix


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key by which 2 comes before 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
