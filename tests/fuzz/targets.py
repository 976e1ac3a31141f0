"""Everything public that takes an argument, with valid arguments: found from the registry and from `__all__`."""

import contextlib
import copy
import functools
import inspect
import os
import tempfile
import types
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from helpers import registry
from helpers.function_rows import Untouched
from helpers.registry import DOUBLE, Row

import allconv as ac

# What needs an optional package for any call.
PACKAGES = {"to_onnx": "onnx", "from_onnx": "onnx", "load_keras": "h5py", "from_keras": "h5py"}
# What is not called, and why.
NOT_FUZZED = {
    **{f"interop.{name}": f"needs {package}" for name, package in PACKAGES.items() if not find_spec(package)},
    **dict.fromkeys(["data.download_cifar10", "data.cifar10"], "reads 170 MB, or the network"),
    **dict.fromkeys(["data.Imgaug", "data.imgaug_article_augment", "data.import_imgaug"], "needs an optional package"),
    **dict.fromkeys(["distributed.MPIGroup", "distributed.start"], "needs several processes"),
    **dict.fromkeys(["Evaluation", "LayerStatistics", "Record", "Run", "Stopped"], "a result, made by the library"),
    **dict.fromkeys(["article.Case", "checkpoint.CheckpointError"], "a result, made by the library"),
    **dict.fromkeys(
        [f"gradcheck.{name}" for name in ("CheckRow", "Comparison", "Grade", "GradeRow", "Report")], "a result"
    ),
    "interop.Assignment": "a result",
    **dict.fromkeys(["Layer", "Optimizer"], "a base class: its subclasses are called"),
    **dict.fromkeys(["rules.Rule", "rules.Pattern"], "a type"),
    "stop_on_signals": "takes no argument",
}
# Methods for authors of layers and optimizers, which the library calls itself with arguments that it has checked.
INTERNAL_METHODS = {"update", "add_slot", "negligible", "before_setting", "after_setting"}
INTERNAL_METHODS |= {"write", "write_gradient", "forward_with", "backward_with"}
# Arguments that stay valid: a cache is what a forward pass returned, by the contract of a layer.
NOT_REPLACED = {"cache"}


@contextlib.contextmanager
def new_folder():
    """Let a function run in an empty folder of its own."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


@dataclass
class Target:
    """A function to call; ``prepare()`` returns it with new valid arguments."""

    room: str
    prepare: Callable[[], tuple[Callable[..., Any], dict[str, Any]]]

    @property
    def kept(self):
        return NOT_REPLACED | {"name"} if self.room == "validation" else NOT_REPLACED

    @functools.cached_property
    @new_folder()
    def arguments(self):
        return {name: value for name, value in self.prepare()[1].items() if name not in self.kept}


def small_net():
    """Return a net for small RGB images, in float64."""
    rng = np.random.default_rng(3)
    layers = ac.Conv2D(3, 4, 3, dtype=np.float64, rng=rng), ac.ReLU(), ac.GlobalAveragePool2D()
    return ac.Sequential(*layers, ac.Linear(4, 3, dtype=np.float64, rng=rng))


def dataset():
    rng = np.random.default_rng(5)
    return ac.data.Dataset(rng.integers(0, 256, (4, 6, 6, 3), dtype=np.uint8), np.array([0, 1, 2, 0]), classes=3)


def _with_gradient():
    parameter = ac.Parameter(np.zeros(2))
    parameter.add_grad(np.ones(2))
    return [parameter]


# A valid value by the argument's name; `rows` of the registry come before it, and defaults after it.
SAMPLES: dict[str, Callable[[], Any]] = {
    "model": small_net,
    "layer": ac.ReLU,
    "loss": ac.SoftmaxCrossEntropy,
    "dataset": dataset,
    "loader": lambda: ac.data.Loader(dataset(), 2),
    "images": lambda: np.random.default_rng(2).integers(0, 256, (4, 6, 6, 3), dtype=np.uint8),
    "inputs": lambda: SAMPLES["images"](),
    "labels": lambda: np.array([0, 1, 2, 0]),
    "targets": lambda: np.array([0, 1, 2, 0]),
    "fractions": lambda: (0.5, 0.5),
    "x": lambda: np.random.default_rng(1).standard_normal((3, 7, 6, 4)),
    "dy": lambda: np.random.default_rng(1).standard_normal((3, 5)),
    "cache": lambda: np.ones((3, 5)),
    "rng": lambda: np.random.default_rng(4),
    "shape": lambda: (3, 2),
    "dtype": lambda: np.dtype(np.float64),
    "mean": lambda: np.ones(3),
    "std": lambda: np.ones(3),
    "matrix": lambda: np.eye(3),
    "state": lambda: {"a": np.ones(2)},
    "rules": lambda: {ac.ReLU: ac.rules.guided},
    "rule": lambda: ac.rules.guided,
    "parameters": _with_gradient,
    "value": lambda: np.ones((2, 3, 3, 3)),
    "like": lambda: np.ones(3),
    "grad": lambda: np.ones(2),
    "path": lambda: "new.npz",
    "folder": lambda: "folder",
    "config": dict,
    "columns": lambda: ["loss"],
    "what": lambda: "what",
    "name": lambda: "d",
    **{name: functools.partial(int, n) for name, n in {"n": 2, "count": 8, "step": 2, "bytes": 1 << 28}.items()},
    **{name: functools.partial(int, n) for name, n in {"epoch": 0, "batch_size": 2, "seed": 0, "epochs": 1}.items()},
}
ROOMS = ["parameters", "layers", "losses", "optimizers", "schedules", "initializers", "rules", "augmenters", "models"]
ROOMS += ["functions", "estimators"]
# Valid values of single functions.
GIVEN: dict[str, Callable[[], dict[str, Any]]] = {
    "train": lambda: (
        {"model": (net := small_net()), "loss": ac.SoftmaxCrossEntropy(), "optimizer": ac.SGD(net.parameters(), 0.1)}
        | {"loader": ac.data.Loader(dataset(), 2), "epochs": 1}
    ),
    "evaluate": lambda: {name: SAMPLES[name]() for name in ("model", "loss", "loader")},
    "load_weights": lambda: {"model": small_net(), "path": _written()},
    "checkpoint.read": lambda: {"path": _written()},
    "checkpoint.load_model_state": lambda: {
        "model": small_net(),
        "state": ac.checkpoint.model_state(small_net()),
    },
    "deploy.save": lambda: {"model": small_net(), "folder": "net", "input_shape": (6, 6, 3)},
    "deploy.load": lambda: {"folder": _deployed()},
    "interop.save_safetensors": lambda: {"model": small_net(), "path": "new.safetensors"},
    "interop.load_safetensors": lambda: {"path": _tensors()},
    "interop.to_onnx": lambda: {"model": small_net(), "path": "new.onnx", "input_shape": (6, 6, 3)},
    "data.ZCA": lambda: {"mean": np.ones((6, 6, 3)), "matrix": np.eye(108)},
    "validation.check_dtype": lambda: {"name": "dtype", "value": np.float32},
    "validation.check_int": lambda: {"name": "n", "value": 3},
    "validation.check_gradient": lambda: {"dy": np.ones(3), "like": np.ones(3)},
    "clip_grad_norm": lambda: {"parameters": _with_gradient(), "max_norm": 1.0},
    "clip_grad_value": lambda: {"parameters": _with_gradient(), "clip_value": 1.0},
    "article.rules_for": lambda: {"model": ac.ELU(), "fault": next(iter(ac.article.FAULTS))},
    "checkpoint.load": lambda: {"folder": str(ac.checkpoint.save("folder", {"a": 1}).parent)},
    "checkpoint.atomic_write": lambda: {"path": Path("new")},
    "distributed.check_same": lambda: {"what": "what", "value": b"1"},
    "article.elu_twice": lambda: _for_rule(ac.ELU()),
    "article.pool_undivided": lambda: _for_rule(ac.MeanPool2D(2)),
    "article.average_undivided": lambda: _for_rule(ac.GlobalAveragePool2D()),
}


def _written():
    ac.save_weights(small_net(), "weights.npz")
    return "weights.npz"


def _tensors():
    ac.interop.save_safetensors(small_net(), "weights.safetensors")
    return "weights.safetensors"


def _deployed():
    ac.deploy.save(small_net(), "net", input_shape=(6, 6, 3))
    return "net"


def _for_rule(layer):
    y, cache = layer.forward(np.random.default_rng(1).standard_normal((2, 4, 4, 3)))
    return {"layer": layer, "dy": np.cos(np.arange(y.size)).reshape(y.shape), "cache": cache}


def valid_arguments(function, given):
    """Return a valid value for each argument of a function; a default stays, unless a sample is known."""
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if name in given:
            found[name] = given[name]
        elif parameter.default is not parameter.empty and name != "rng":  # unseeded, results differ
            found[name] = parameter.default
        else:
            assert name in SAMPLES, f"SAMPLES must have a value for {name} of {function}"
            found[name] = SAMPLES[name]()
    return found


def of_object(room, make, sample):
    """Yield the methods and the settable attributes of an object that `make` makes."""
    instance = make()
    kind = type(instance)
    if isinstance(instance, types.FunctionType):
        yield "()", Target(room, lambda: _call(make(), lambda: {"epochs": 1.5} | _for_rule(ac.ReLU())))
        return
    for name in dir(kind):
        member = inspect.getattr_static(kind, name)
        if name == "__call__" or not name.startswith("_"):
            if isinstance(member, types.FunctionType | classmethod) and name not in INTERNAL_METHODS:
                yield f".{name}", Target(room, functools.partial(_method, make, name, sample))
            elif hasattr(member, "__set__") and getattr(member, "fset", True) and hasattr(instance, name):
                yield f".{name} =", Target(room, functools.partial(_attribute, make, name))


def _method(make, name, sample):
    instance = make()
    return getattr(instance, name), valid_arguments(getattr(instance, name), sample(instance))


def _attribute(make, name):
    instance = make()
    return lambda value: setattr(instance, name, value), {"value": copy.deepcopy(getattr(instance, name))}


def _of_layer(row, layer):
    """Return what the methods of a layer take."""
    shape = getattr(row, "shape", None) or ((1, 28, 28, 1) if row.make is ac.models.lenet else (1, 32, 32, 3))
    x = np.random.default_rng(1).standard_normal(shape)
    y, cache = layer.forward(x)
    shapes = {"in_shape": shape[1:], "input_shape": shape[1:], "x_shape": shape}
    dy = np.cos(np.arange(y.size)).reshape(y.shape).astype(y.dtype)
    return {"x": x, "dy": dy, "cache": cache, "state": layer.state()} | shapes


def _step(row):
    optimizer = row.build()
    parameter = optimizer.parameters[0]

    def step(grad):
        parameter.grad = grad
        for other in optimizer.parameters[1:]:
            other.grad = np.ones(other.value.shape)
        optimizer.step()
        return parameter.value.copy()

    return step, {"grad": np.ones(parameter.value.shape)}


def _sample(row, instance):
    """Return what the methods of a row's object take, by argument."""
    if hasattr(row, "scores"):
        return {"scores": row.scores, "target": row.target}
    if isinstance(instance, ac.Layer):
        return _of_layer(row, instance)
    return {"state": instance.state()} if hasattr(instance, "state") else {}


def _runnable(given):
    """Return a row's arguments with a model that can be run."""
    given = copy.deepcopy(given)
    for name, value in given.items():
        if isinstance(value, Untouched):
            given[name] = ac.Linear(5, 5, **copy.deepcopy(DOUBLE))
    return given


def public(module=ac, prefix=""):
    """Yield (name, object) for all that `allconv` offers, its public modules' names included."""
    names = getattr(module, "__all__", None) or [n for n, o in vars(module).items() if n[0] != "_" and _own(module, o)]
    for name in sorted(names):
        thing = getattr(module, name)
        if isinstance(thing, types.ModuleType):
            yield from public(thing, f"{prefix}{name}.")
        elif callable(thing) and prefix + name not in NOT_FUZZED and not prefix.startswith("typing"):
            yield prefix + name, thing


def _own(module, thing):
    return getattr(thing, "__module__", None) == module.__name__


@functools.cache
def targets():
    """Return {name: Target} of everything public."""
    found, rows = {}, {}
    for room, kind in zip(ROOMS, registry.KINDS, strict=True):
        for name, row in kind.items():
            thing = row.build() if _makes_it_itself(row) else row.make
            rows.setdefault(
                thing if inspect.isroutine(thing) or inspect.isclass(thing) else getattr(ac, name), (room, row)
            )
    for name, thing in public():
        room, row = rows.get(thing, (name.rpartition(".")[0] or "others", Row(thing)))
        given, sample = GIVEN.get(name, functools.partial(_runnable, row.given)), functools.partial(_sample, row)
        if not _makes_it_itself(row):
            found[name] = Target(room, functools.partial(_call, thing, given))
        elif inspect.isfunction(thing):
            found[name] = Target(room, functools.partial(_call, thing, lambda: _for_rule(ac.ReLU())))
        makes_more = thing in rows and room in ("schedules", "models", "initializers", "rules")
        if inspect.isclass(thing) or (makes_more and not _makes_it_itself(row)):
            build = functools.partial(_build, row.make, given)
            found |= {name + suffix: target for suffix, target in of_object(room, build, sample)}
        if room == "optimizers":
            found[name + ".step(grad)"] = Target(room, functools.partial(_step, row))
    return {name: target for name, target in found.items() if target.arguments}


def _makes_it_itself(row):
    """Tell whether a row has a function of its own that returns the public object."""
    return row.make.__name__ == "<lambda>"


def _call(function, given):
    return function, valid_arguments(function, given())


def _build(make, given):
    return make(**valid_arguments(make, given()))
