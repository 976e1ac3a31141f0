"""The registry's rows of functions: what to call them with, and which arguments they must refuse."""

import numpy as np

import allconv as ac
from helpers.argument_rules import (
    BATCH,
    BOOL,
    CALLABLE_OR_NONE,
    LAYER,
    NON_NEGATIVE_INT,
    POSITIVE_INT,
    ROWS,
    Bad,
    P,
    Row,
    Rule,
    Rules,
    choice,
    integers,
)

DOUBLE = {"dtype": np.float64, "rng": np.random.default_rng(7)}


class Untouched(ac.Layer):
    """A model that no function may run before it has looked at all of its arguments."""

    def forward(self, x, *, training=False):
        raise AssertionError("the model was run")


LABELS = "labels must have one entry for each of 2 images, got an array of shape "
SINGLE = "layer must have float64 parameters for a gradient check, got float32 for weight; build it with dtype="
DOUBLES: Rules = [
    *BATCH,
    Rule("an array of float64", [ROWS.astype(np.float32)]),
    Rule("finite", [], [np.full((2, 5), np.nan)]),
]
NET = ac.Sequential(
    ac.Conv2D(2, 4, 3, **DOUBLE), ac.ReLU(), ac.Conv2D(4, 5, 3, stride=2, **DOUBLE), ac.GlobalAveragePool2D()
)
TARGET = Rule("an int in 0..4, or 3 of them", [[], 1.0, True, "cat"], [5, -1, [0, 1], [[0], [1], [2]], [0, 1, 5]])
PICTURES: dict[str, Rules] = {
    "images": [
        Rule("an array of real floating dtype", [np.zeros((1, 4, 4, 2), np.uint8)]),
        Bad(np.zeros((4, 4, 2)), ValueError, "images must have shape (N, H, W, C)"),
    ],
    "target": TARGET,
}
PATHS = [Rule("a path in the model", [], ["9", "0.body.7", "0..0"]), Rule("a path in the model, or None", [2])]
OUTSIDE = [
    *(Bad(place, ValueError, "position must lie in an output of 2x2, got (") for place in ((2, 0), (0, 2))),
    Rule("a non-negative int or a pair of them", [1.5, "0"], [(-1, 0)]),
]
VIEWS: Rules = [
    Rule("a non-empty sequence of pairs (weight, function)", [3, "xy"], [[]]),
    Bad([(1.0, "flip")], TypeError, "views must be a non-empty sequence of pairs (weight, function), got one"),
    Bad([(0, abs)], ValueError, "the weight of a view must be a positive number, got 0"),
]
PHOTOS = {"model": NET, "images": np.ones((3, 4, 4, 2))}
SHAPE = Rule("a tuple of positive ints, without the batch axis", [3, "ab"], [(0,)])
OTHERS = [None, 3, "x"]
SOURCES = "a Loader, arrays (inputs, targets), an object whose iter() starts anew with batches, or a function that "
SOURCES += "returns an iterator"
BATCH_SIZE = integers("a positive int", 0, -1)._replace(types=[1.5, True, "3"])  # None is the default.
explain = ac.explain
FUNCTIONS = {
    "profile": Row(ac.profile, {"model": Untouched(), "images": ROWS}),
    "layer_statistics": Row(
        ac.layer_statistics,
        {"model": Untouched(), "loss": ac.MeanSquaredError(), "images": ROWS, "labels": ROWS},
        {
            "loss": Rule("callable", ["mse", None]),
            "labels": [Bad(np.ones((3, 5)), ValueError, LABELS + "(3, 5)"), Bad(1.0, ValueError, LABELS + "()")],
        },
    ),
    "observe": Row(
        ac.observe,
        {"layers": ac.ReLU()},
        {
            "layers": [
                Rule("a Layer or pairs (path, Layer)", [None, ac.ReLU]),
                Bad([ac.ReLU()], TypeError, "layers must be a Layer or pairs (path, Layer), got ReLU()"),
                Bad([("0", "1")], TypeError, "layers must be a Layer or pairs (path, Layer), got ('0', '1')"),
            ],
            "forward": CALLABLE_OR_NONE,
            "backward": CALLABLE_OR_NONE,
            "rule": Rule("a str or None", [1]),
        },
    ),
    "train": Row(
        ac.train,
        {
            "model": NET,
            "loss": ac.SoftmaxCrossEntropy(),
            "optimizer": ac.SGD(NET.parameters(), 0.1),
            "loader": (np.ones((4, 4, 4, 2)), np.arange(4)),
            "epochs": 1,
        },
        {
            "model": Rule("a Layer", OTHERS),
            "loss": Rule("callable", OTHERS),
            "optimizer": Rule("an Optimizer", OTHERS),
            "loader": Rule(SOURCES, [None, 3, "x", {}, ac.data.Loader]),
            "validation": Rule(SOURCES, [3, "x", {}, ac.data.Loader]),
            "batch_size": BATCH_SIZE,
            "seed": integers("a non-negative int", -1)._replace(types=[1.5, True, "3"]),
            "epochs": POSITIVE_INT,
            "report_every": Rule("a positive int", [2.0, True], [0]),
            "schedule": Rule("callable or None", [0.1, "cosine"]),
        },
    ),
    "data.Loader": Row(
        ac.data.Loader,
        {"dataset": ac.data.shapes(4, seed=0), "batch_size": 2},
        {
            "dataset": Rule("a Dataset", [ROWS, None, ac.data.Dataset]),
            "augment": Rule("callable or None", ["article", 1]),
            "normalize": Rule("callable or None", ["article", 255]),
        },
    ),
    "rules.override_backward": Row(ac.rules.override_backward, {"model": ac.ReLU(), "rules": {"": ac.rules.guided}}),
    "rules.match": Row(ac.rules.match, {"model": ac.ReLU(), "rules": {"": ac.rules.guided}}),
    "rules.active_rules": Row(ac.rules.active_rules, {"model": ac.ReLU()}),
    "data.shapes": Row(ac.data.shapes, {"n": 3, "seed": 0}, {"n": POSITIVE_INT}),
    "set_num_threads": Row(ac.set_num_threads, {"n": 1}, {"n": POSITIVE_INT}),
    "set_memory_limit": Row(ac.set_memory_limit, {"bytes": 0}, {"bytes": NON_NEGATIVE_INT}),
    "evaluate": Row(
        ac.evaluate,
        {"model": Untouched(), "loss": ac.MeanSquaredError(), "loader": (np.ones((4, 4, 4, 2)), np.ones((4, 5)))},
        {
            "loss": Rule("callable", OTHERS),
            "loader": Rule(SOURCES, [None, 3, "x", {}, ac.data.Loader]),
            "batch_size": BATCH_SIZE,
            "views": VIEWS,
        },
    ),
    "predict": Row(
        ac.predict,
        {"model": Untouched(), "inputs": ROWS},
        {
            "inputs": [
                Rule("uint8 images (N, H, W, C) or a floating array (N, ...)", [ROWS.astype(int), "abc"]),
                Rule("at least one image, (N, H, W, C)", [], [ROWS.astype(np.uint8)]),
            ],
            "views": VIEWS,
        },
    ),
    "data.whitening_filters": Row(
        ac.data.whitening_filters,
        {"images": np.random.default_rng(0).normal(size=(3, 5, 4, 2))},
        {"size": [POSITIVE_INT, Bad(5, ValueError, "size must be at most the height and width of the images, got 5")]},
    ),
    "data.shift_views": Row(ac.data.shift_views, {}, {"pixels": POSITIVE_INT}),
    "clip_grad_norm": Row(ac.clip_grad_norm, {"parameters": [P], "max_norm": 1.0}, {"parameters": []}),
    "clip_grad_value": Row(ac.clip_grad_value, {"parameters": [P], "clip_value": 1.0}, {"parameters": []}),
    "gradcheck.check": Row(
        ac.gradcheck.check,
        {"layer": Untouched(), "x": ROWS},
        {
            "layer": [LAYER, Bad(ac.Linear(5, 1), TypeError, SINGLE)],
            "x": DOUBLES,
            "separate": Rule("True or False", [1, "yes"]),
        },
    ),
    "gradcheck.check_loss": Row(
        ac.gradcheck.check_loss, {"loss": ac.MeanSquaredError(), "scores": ROWS, "target": ROWS}, {"scores": DOUBLES}
    ),
    "gradcheck.compare": Row(
        ac.gradcheck.compare,
        {"model": ac.Sequential(ac.ReLU()), "x": ROWS, "rules": {ac.ReLU: ac.rules.guided}},
        {"x": BATCH},
    ),
    "gradcheck.grade": Row(
        ac.gradcheck.grade,
        {"forward": abs, "backward": abs, "like": ac.ReLU()},
        {
            "forward": Rule("callable", [None, "x", 3]),
            "backward": Rule("callable", [None, "x", 3]),
            "like": LAYER,
            "x": DOUBLES,
        },
    ),
    "interop.assign": Row(
        ac.interop.assign,
        {"model": ac.Linear(2, 3), "arrays": {"weight": np.ones((3, 2)), "bias": np.ones(3)}},
        {
            "arrays": [
                Rule("a mapping of names to arrays", [None, 3, [ROWS], {1: ROWS}]),
                Bad({"w": [1.0]}, TypeError, "arrays['w'] must be an array, got [1.0]"),
                Bad(
                    {"w": ROWS},
                    ValueError,
                    "arrays must be those of the model (torch): parameter 'weight' has no array",
                ),
            ],
            "source": choice("torch", "keras", "allconv"),
            "rename": [
                Rule("callable, a mapping or None", [1, "x"]),
                Bad(lambda name: "x", ValueError, "rename must keep names apart, got 'x' twice"),
            ],
            "strict": BOOL,
            "input_shape": [],
        },
    ),
    "deploy.save": Row(
        ac.deploy.save,
        {"model": ac.Linear(3, 3), "folder": "none", "input_shape": (3,)},
        {
            "folder": Rule("a path", [None, 3, b"file", ["file"]]),
            "input_shape": SHAPE,
            "normalize": Rule("a Standardize, GlobalContrast, ZCA or None", [3, "mean", ac.data.Standardize]),
            "names": Rule("a sequence of one str for each of the 3 outputs", ["abc", [1, 2, 3], 3], [["a", "b"]]),
        },
    ),
    "deploy.load": Row(ac.deploy.load, {"folder": "none"}, {"folder": Rule("a path", [None, 3, b"file", ["file"]])}),
    "interop.save_safetensors": Row(ac.interop.save_safetensors, {"model": Untouched(), "path": "none"}),
    "interop.load_keras": Row(ac.interop.load_keras, {"path": "none"}),
    "interop.from_keras": Row(ac.interop.from_keras, {"path": "none"}),
    "interop.load_safetensors": Row(ac.interop.load_safetensors, {"path": "none"}),
    "interop.load_torch": Row(ac.interop.load_torch, {"path": "none"}),
    "interop.to_onnx": Row(
        ac.interop.to_onnx,
        {"model": Untouched(), "path": "none", "input_shape": (3,)},
        {
            "input_shape": SHAPE,
            "layout": choice("NHWC", "NCHW"),
            "opset": [
                Rule("a positive int", [1.5, None], [0]),
                *(Bad(version, ValueError, f"opset must be from 13 to 22, got {version}") for version in (12, 23)),
            ],
        },
    ),
    "interop.from_onnx": Row(ac.interop.from_onnx, {"path": "none"}, {"input_shape": SHAPE}),
    "class_activation_map": Row(explain.class_activation_map, PHOTOS, PICTURES | {"model": []}),
}
for _method in (explain.saliency, explain.deconvnet, explain.guided_backprop):
    FUNCTIONS[_method.__name__] = Row(_method, PHOTOS, PICTURES | {"layer": PATHS})
    FUNCTIONS[f"{_method.__name__} of a unit"] = Row(_method, PHOTOS | {"layer": "2"}, PICTURES | {"position": OUTSIDE})
