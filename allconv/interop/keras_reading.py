"""A file of Keras as a model of this library."""

import json
import re
from collections import Counter, defaultdict, deque
from pathlib import Path
from typing import Any

from allconv.interop.flattening import flattened_channels, from_channels_first
from allconv.interop.keras_file import open_keras
from allconv.interop.keras_layers import is_of_channels, layer_of_keras
from allconv.interop.keras_options import arguments
from allconv.interop.nesting import Node, nest
from allconv.layers.branches import Branches
from allconv.layers.dropout import Dropout
from allconv.layers.linear import Linear
from allconv.layers.sequential import Sequential
from allconv.parameter import Parameter
from allconv.typing import Array
from allconv.validation import describe

_CALLS = 5_000  # bounds the layers of a model, and how often all of them are called, and with them the time
_INPUTS = 20_000  # bounds what all calls together take
_MERGES = {"Add": "sum", "Concatenate": "concat"}


def from_keras(path: str | Path) -> Sequential:
    """Return the model that a file of Keras describes, with its weights.

    Parameters
    ----------
    path : path
        A ``.keras`` or ``.h5`` file of a Sequential, or of a functional graph of layers that there are here. Keras is
        not needed; h5py is.

    Returns
    -------
    Sequential
        The network, which takes NHWC batches, also where that of Keras has ``channels_first``. An activation that is
        part of a layer there is a layer of its own here, and `Add` and `Concatenate` become `Skip` and `Branches`.

    Raises
    ------
    ImportError
        The package h5py is missing; the message names the extra.
    TypeError
        `path` is no path.
    ValueError
        The file is damaged, holds weights alone, or has a layer or a form of it that there is not here, such as a
        Lambda; the message names file, layer and reason. Nothing in the file is executed or imported.
    OSError
        The file cannot be read.

    Examples
    --------
    >>> model = from_keras("network.keras")  # doctest: +SKIP
    """
    with open_keras(path) as (arrays, text):
        if not text:
            raise ValueError("holds weights alone, without a model; write the model, and use load_keras and assign")
        described = json.loads(text)
        if described["class_name"] not in ("Sequential", "Functional", "Model"):
            raise ValueError(f"describes a {described['class_name']!r}, neither a Sequential nor a functional graph")
        config = described["config"]
        layers = config["layers"] if isinstance(config, dict) else config  # a list in the oldest files
        return _Builder(layers, arrays).build(config if described["class_name"] != "Sequential" else None)


class _Builder:
    """The way from the descriptions of layers, and their weights, to a model."""

    def __init__(self, layers: list[Any], arrays: dict[str, Array]) -> None:
        if not 0 < len(layers) <= _CALLS:
            raise ValueError(f"must have 1 to {_CALLS} layers, got {len(layers)}")
        self.images = _data_format(layers)
        self.layers = layers
        self.weights = _by_layer(layers, arrays)
        self.nodes: dict[str, Node] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.made: dict[str, Any] = {}  # a layer that is called twice is one layer

    def build(self, graph: dict[str, Any] | None) -> Sequential:
        """Return the model; `graph` is the configuration of a functional one."""
        last = ""
        if graph is None:
            first = self.layers[0]["config"]
            if self.layers[0]["class_name"] != "InputLayer":
                last = self._start("input", first)
            for item in self.layers:
                last = self._start("input", first) if item["class_name"] == "InputLayer" else self._add(item, 0, [last])
            return self._nested(last)
        (start,), (end,) = (_tensors(graph[name]) for name in ("input_layers", "output_layers"))
        waiting = []
        for item in self.layers:
            if item["class_name"] == "InputLayer":
                self._start(f"{item['config']['name']}/0", item["config"])
            else:
                waiting += [(item, index, _tensors(call)) for index, call in enumerate(item["inbound_nodes"])]
        if list(self.nodes) != [start]:
            raise ValueError(f"has the inputs {list(self.nodes)}, where a model here has one")
        if len(waiting) > _CALLS or sum(len(inputs) for _, _, inputs in waiting) > _INPUTS:
            raise ValueError(f"has more than {_CALLS} calls of layers, or {_INPUTS} inputs of them")
        _check_calls(self.layers)
        # Keras writes layers in the order in which they were made, not in that of the graph.
        missing = [len(set(inputs)) for _, _, inputs in waiting]
        users: dict[str, list[int]] = defaultdict(list)
        for place, (_, _, inputs) in enumerate(waiting):
            for key in set(inputs):
                users[key].append(place)
        ready = deque([start])
        while ready:
            for place in users.pop(ready.popleft(), ()):
                missing[place] -= 1
                if not missing[place]:
                    ready.append(self._add(*waiting[place]))
        for (item, _, inputs), count in zip(waiting, missing, strict=True):
            if count or not inputs:
                raise ValueError(f"layer {item['config']['name']!r} is part of a circle, or its input is missing")
        return self._nested(end)

    def _nested(self, end: str) -> Sequential:
        """Return the model. Where Keras flattens NCHW images as they lie, rows of the layers behind change order."""
        flats = [item["config"].get("data_format") for item in self.layers if item["class_name"] == "Flatten"]
        model = nest(self.nodes, end)
        if self.images == "channels_last" or set(flats) <= {"channels_first"}:  # Flatten turns images to NHWC then
            return model
        if "channels_first" in flats:
            raise ValueError("flattens NCHW images in two orders")
        layers = dict(model.named_layers())
        for path, channels in flattened_channels(model, next(iter(self.shapes.values()))).items():
            for name, parameter in vars(layers[path]).items():
                if isinstance(parameter, Parameter) and not (isinstance(layers[path], Linear) and name == "bias"):
                    parameter.value = from_channels_first(parameter.value, channels or 1)
        return model

    def _start(self, key: str, config: dict[str, Any]) -> str:
        shape = config.get("batch_shape", config.get("batch_input_shape"))
        if not isinstance(shape, list) or not all(isinstance(length, int) and length > 0 for length in shape[1:]):
            raise ValueError(f"has an input of shape {shape}, which leaves sizes open")
        is_nchw = len(shape) == 4 and self.images == "channels_first"
        self.shapes[key] = (*shape[2:], shape[1]) if is_nchw else tuple(shape[1:])
        self.nodes[key] = Node("input", [])
        return key

    def _add(self, item: dict[str, Any], index: int, inputs: list[str]) -> str:
        """Add a call of a layer, and return its key."""
        kind, config = item["class_name"], item["config"]
        name, shapes = config["name"], [self.shapes[key] for key in inputs]
        key = f"{name}/{index}"
        if key in self.nodes:
            raise ValueError(f"layer {name!r} is there twice")
        try:
            if item.get("module") not in (None, "keras.layers"):
                raise ValueError(f"is of the module {item['module']!r}, not of Keras")  # noqa: TRY301
            merge = _MERGES.get(kind, "")
            if merge:
                if merge == "concat" and not is_of_channels(config.get("axis", -1), shapes[0], self.images):
                    raise ValueError(f"joins along the axis {config['axis']}, not along the channels")  # noqa: TRY301
                self.shapes[key] = Branches(*(_Shaped(shape) for shape in shapes), merge=merge).output_shape(shapes[0])
                self.nodes[key] = Node(name, inputs, merge=merge)
                return key
            if len(inputs) != 1:
                raise ValueError(f"is a {kind} of {len(inputs)} inputs")  # noqa: TRY301
            if name not in self.made:
                self.made[name] = layer_of_keras(kind, config, self.weights.get(name, []), shapes[0], self.images)
            self.shapes[key] = self.made[name].output_shape(shapes[0])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"layer {name!r} {error}") from error
        self.nodes[key] = Node(name, inputs, self.made[name])
        return key


class _Shaped(Dropout):
    """The identity with a given output shape, by which the shape of a merge is found."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(0.0)
        self.shape = shape

    def output_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:  # noqa: ARG002
        """Return the given shape."""
        return self.shape


def _data_format(layers: list[Any]) -> str:
    """Return how images lie in the network; Flatten has a word of its own, which is about the order that it makes."""
    configs = [item["config"] for item in layers if item["class_name"] != "Flatten"]
    formats = {config.get("data_format"): config["name"] for config in configs}
    formats.pop(None, None)
    if len(formats) > 1:
        raise ValueError(f"has layers whose images lie in different ways: {formats}")
    return next(iter(formats), "channels_last")


def _tensors(call: Any) -> list[str]:
    """Return the keys of the calls whose outputs are taken: ``[name, call, output]``, in the forms of Keras 2 and 3."""
    if isinstance(call, dict):
        history = call.get("config", {}).get("keras_history") if call.get("class_name") == "__keras_tensor__" else None
        return _tensors(history) if history else [key for value in call.values() for key in _tensors(value)]
    if isinstance(call, list):
        if len(call) >= 3 and isinstance(call[0], str) and isinstance(call[1], int):
            return [f"{call[0]}/{call[1]}"]
        return [key for item in call for key in _tensors(item)]
    return []


def _check_calls(layers: list[Any]) -> None:
    """Raise ValueError if a layer is called with an option, such as that it is always to train."""
    for item in layers:
        for call in item.get("inbound_nodes", ()):
            for name, value in arguments(call):
                if value and not _tensors(value):
                    described = f"{name}={describe(value)}"
                    raise ValueError(f"layer {item['config']['name']!r} is called with {described}, which is not read")


def _by_layer(layers: list[Any], arrays: dict[str, Array]) -> dict[str, list[Array]]:
    """Return the weights of each layer, which ``.h5`` files have under its name, and others under its class."""
    counts: Counter[str] = Counter()
    places = {}
    for item in layers:
        kind = re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", item["class_name"])).lower()
        number = counts[kind]
        counts[kind] += 1
        places[f"{kind}_{number}" if number else kind] = item["config"]["name"]
    found: dict[str, list[Array]] = {}
    for name, array in arrays.items():
        match = re.fullmatch(r"(?:layers|_layer_checkpoint_dependencies)[/\\]([^/\\]+)/vars/(\d+)", name)
        key = places.get(match[1], "") if match else name.split("/")[0]
        found.setdefault(key, []).append(array)
    return found
