"""One row for everything public: how to build it, what to feed it, and which arguments it must refuse.

`test_public_api.py` fails for a public name without a row, `test_bad_arguments.py` for an argument without a rule.
"""

import copy
import inspect
import math
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pytest

import allconv as ac
from helpers.argument_rules import (
    BOOL,
    BY_NAME,
    DROPOUT_RATE,
    FINITE,
    FRACTION,
    LAYER,
    LIST,
    MILESTONES,
    NON_NEGATIVE,
    PADDING,
    PAIR,
    PAIR_OR_NONE,
    POSITIVE,
    POSITIVE_INT,
    PROBABILITY,
    Bad,
    LayerRow,
    LossRow,
    OptimizerRow,
    P,
    Row,
    Rule,
    Rules,
    choice,
    number,
)
from helpers.function_rows import FUNCTIONS

RNG = np.random.default_rng(7)
DOUBLE = {"dtype": np.float64, "rng": RNG}
IMAGES = (3, 7, 6, 4)
NO_IMAGES = [(3, 7, 6), (3,), (), (0, 7, 6, 4)]
OTHER_IMAGES = [(3, 7, 6, 5), (3,), (), (0, 7, 6, 4)]
CONV = {"in_channels": 4, "out_channels": 6, "kernel_size": 3, **DOUBLE}


def conv(**options):
    return ac.Conv2D(**copy.deepcopy(CONV) | options)


def linear(**options):
    return LAYERS["Linear"].build(**options)


LAYERS = {
    "Conv2D": LayerRow(
        ac.Conv2D,
        CONV,
        {"groups": [POSITIVE_INT, *(Bad(n, ValueError, "groups must divide in_channels and") for n in (3, 4, 5, 8))]},
        variants=[
            {},
            {"kernel_size": 1, "bias": False},
            {"stride": 2},
            {"stride": (3, 2), "padding": "valid", "kernel_size": (2, 5)},
            {"dilation": 2, "padding": (1, 2)},
            {"groups": 2, "padding": (0, 1, 2, 3)},
            {"groups": 4, "out_channels": 8, "padding": "same_lower", "stride": 2},
            {"in_channels": 4, "out_channels": 32, "kernel_size": 3},
        ],
        bad_shapes=[(3, 7, 6, 5), (3, 7, 6), (3, 4, 7, 6), (4,), (), (3, 7, 6, 4, 1), (0, 7, 6, 4), (3, 0, 6, 4)],
    ),
    "Linear": LayerRow(
        ac.Linear,
        {"in_features": 5, "out_features": 3, **DOUBLE},
        shape=(4, 5),
        variants=[{}, {"bias": False}],
        bad_shapes=[(4, 6), (4, 5, 1), (5,), (), (0, 5)],
    ),
    "MeanPool2D": LayerRow(
        ac.MeanPool2D,
        {"kernel_size": 2},
        {"stride": PAIR_OR_NONE},
        variants=[
            {},
            {"kernel_size": 3, "stride": 2},
            {"kernel_size": (3, 2), "stride": (1, 3), "padding": 1},
            {"kernel_size": 3, "stride": 2, "padding": "same", "count_padding": True},
            {"kernel_size": 3, "stride": 2, "padding": (0, 1, 1, 0), "ceil_mode": True},
            {"kernel_size": 2, "stride": 3, "padding": 1, "count_padding": True, "ceil_mode": True},
        ],
        bad_shapes=NO_IMAGES,
    ),
    "MaxPool2D": LayerRow(
        ac.MaxPool2D,
        {"kernel_size": 2},
        {"stride": PAIR_OR_NONE},
        variants=[
            {},
            {"kernel_size": 3, "stride": 2, "padding": "same"},
            {"kernel_size": (3, 2), "stride": (1, 3), "padding": 1, "ceil_mode": True},
            {"kernel_size": 2, "stride": 1, "dilation": 2},
        ],
        bad_shapes=NO_IMAGES,
        kinks=True,
    ),
    "ConvTranspose2D": LayerRow(
        ac.ConvTranspose2D,
        CONV | {"stride": 2, "padding": 1},
        {
            "groups": [POSITIVE_INT, *(Bad(n, ValueError, "groups must divide in_channels and") for n in (3, 4, 5, 8))],
            "output_padding": [
                PAIR._replace(words="a non-negative int or a pair of them", values=[-1, (1,), (1, 2, 3), (1, -1)]),
                Bad(2, ValueError, "output_padding must be less than stride, got 2 for stride 2"),
            ],
        },
        variants=[
            {},
            {"kernel_size": 1, "stride": 1, "padding": "valid", "bias": False},
            {"kernel_size": 4, "padding": "same"},
            {"kernel_size": (2, 5), "stride": (3, 2), "padding": "same_lower"},
            {"kernel_size": (2, 3), "stride": (3, 2), "padding": (1, 0, 2, 1), "output_padding": (2, 1)},
            {"dilation": 2, "groups": 2, "output_padding": 1},
            {"out_channels": 32, "stride": 1},
        ],
        bad_shapes=OTHER_IMAGES,
    ),
    "Upsample2D": LayerRow(
        ac.Upsample2D,
        {"factor": 2},
        {"factor": PAIR, "mode": choice("nearest", "bilinear")},
        variants=[{}, {"factor": (3, 1), "mode": "bilinear"}, {"factor": (2, 4), "mode": "bilinear"}],
        bad_shapes=NO_IMAGES,
    ),
    "ZeroPad2D": LayerRow(
        ac.ZeroPad2D,
        {"padding": 1},
        {
            "padding": [
                PADDING[1],
                Bad("same", TypeError, "padding must be numbers, since there is no window to fit, got 'same'"),
            ]
        },
        variants=[{}, {"padding": (0, 2)}, {"padding": (0, 1, 2, 3)}],
        bad_shapes=NO_IMAGES,
    ),
    "AdaptiveAveragePool2D": LayerRow(
        ac.AdaptiveAveragePool2D,
        {"output_size": 3},
        {"output_size": PAIR},
        variants=[{}, {"output_size": (1, 6)}, {"output_size": (5, 9)}],
        bad_shapes=NO_IMAGES,
    ),
    "GlobalAveragePool2D": LayerRow(ac.GlobalAveragePool2D, variants=[{}, {"keepdims": True}], bad_shapes=NO_IMAGES),
    "Flatten": LayerRow(ac.Flatten),
    "Dropout": LayerRow(ac.Dropout, {"rate": 0.4, "rng": RNG}, {"rate": DROPOUT_RATE}, variants=[{}, {"rate": 0.0}]),
    "BatchNorm": LayerRow(
        ac.BatchNorm,
        {"channels": 4, "dtype": np.float64},
        {"momentum": PROBABILITY},
        variants=[{}, {"eps": 0.1, "momentum": 0.5}, {"frozen": True}],
        bad_shapes=[(3, 7, 6, 5), (3, 5), (3, 7, 4), (), (0, 4)],
    ),
    "LayerNorm": LayerRow(
        ac.LayerNorm,
        {"channels": 4, "dtype": np.float64},
        variants=[{}, {"eps": 0.1}],
        bad_shapes=[(3, 7, 6, 5), (3, 5), (4,), (), (0, 4)],
    ),
    "GroupNorm": LayerRow(
        ac.GroupNorm,
        {"groups": 2, "channels": 4, "dtype": np.float64},
        {"groups": [POSITIVE_INT, Bad(3, ValueError, "groups must divide channels, got 3 for 4")]},
        variants=[{}, {"groups": 1, "eps": 0.1}, {"groups": 4}],
        bad_shapes=[(3, 7, 6, 5), (3, 5), (4,), (), (0, 4)],
    ),
    "ReLU": LayerRow(ac.ReLU, kinks=True),
    "ReLU6": LayerRow(ac.ReLU6, kinks=True),
    "PReLU": LayerRow(
        ac.PReLU,
        {"channels": 4, "dtype": np.float64},
        {"initial": FINITE},
        variants=[{}, {"channels": 1, "initial": -0.5}],
        bad_shapes=[(3, 7, 6, 5), (3, 5), (4,), (), (0, 4)],
        kinks=True,
    ),
    "Scale": LayerRow(ac.Scale, {"factor": 0.3}, {"factor": FINITE}, variants=[{}, {"factor": -2.0}]),
    "LeakyReLU": LayerRow(ac.LeakyReLU, variants=[{}, {"negative_slope": 0.3}, {"negative_slope": 1.5}], kinks=True),
    "ELU": LayerRow(ac.ELU, variants=[{}, {"alpha": 0.5}], kinks=True),
    "GELU": LayerRow(ac.GELU, variants=[{}, {"approximate": "tanh"}]),
    "SiLU": LayerRow(ac.SiLU),
    "Sigmoid": LayerRow(ac.Sigmoid),
    "Tanh": LayerRow(ac.Tanh),
    "Softmax": LayerRow(ac.Softmax, shape=(4, 5), variants=[{}, {"axis": 1}]),
    "LogSoftmax": LayerRow(ac.LogSoftmax, shape=(4, 5), variants=[{}, {"axis": 1}]),
    "Sequential": LayerRow(
        lambda: ac.Sequential(conv(), ac.ELU(), ac.GlobalAveragePool2D(), linear(in_features=6)),
        bad_shapes=OTHER_IMAGES,
        kinks=True,
    ),
    "Skip": LayerRow(
        ac.Skip,
        {"body": ac.Sequential(conv(out_channels=4), ac.ELU())},
        {"shortcut": LAYER._replace(words="a Layer or None", types=[t for t in LAYER.types if t is not None])},
        variants=[
            {},
            {"scale": 0.3},
            {"in_forward": False, "in_backward": False},
            {"scale": 0.3, "body": conv(stride=2), "shortcut": ac.Sequential(conv(stride=2, kernel_size=1), ac.ELU())},
            {"scale": 0.0, "body": conv(stride=2), "shortcut": conv(stride=2, kernel_size=1)},
        ],
        bad_shapes=OTHER_IMAGES,
        kinks=True,
    ),
    "Branches": LayerRow(
        lambda merge="concat": ac.Branches(conv(), ac.Sequential(conv(kernel_size=1), ac.ELU()), merge=merge),
        {},
        {"merge": choice("concat", "sum")},
        variants=[{}, {"merge": "sum"}],
        bad_shapes=OTHER_IMAGES,
        kinks=True,
    ),
}

EVERY_LAYER = [
    pytest.param(case, options, id=f"{name}-{index}")
    for name, case in LAYERS.items()
    for index, options in enumerate(case.variants)
]
every_layer = pytest.mark.parametrize(("case", "options"), EVERY_LAYER)
every_case = pytest.mark.parametrize("case", LAYERS.values(), ids=LAYERS)

SCORES = np.random.default_rng(0).standard_normal((2, 5, 4))
LOSSES = {
    "SoftmaxCrossEntropy": LossRow(ac.SoftmaxCrossEntropy, scores=SCORES[0], target=np.array([0, 3, 1, 1, 2])),
    "MeanSquaredError": LossRow(ac.MeanSquaredError, scores=SCORES[0], target=SCORES[1]),
    "MeanAbsoluteError": LossRow(ac.MeanAbsoluteError, scores=SCORES[0], target=SCORES[1]),
    "Huber": LossRow(ac.Huber, {"delta": 0.7}, {"delta": POSITIVE}, scores=SCORES[0], target=SCORES[1]),
    "BinaryCrossEntropy": LossRow(ac.BinaryCrossEntropy, scores=SCORES[0], target=(SCORES[1] > 0) * 0.9 + 0.05),
}

GIVEN = {"parameters": [P], "learning_rate": 0.01}
NESTEROV = "nesterov must be False without a momentum or with a dampening, got nesterov=True"
ARTICLE = {"betas": (0.9, 0.9), "bias_correction": "none", "maximum": "tensor"}
NO_SKIP = "model must be a Layer that holds a Skip, got "
NEW_OPTIMIZERS = "a non-empty sequence of new Optimizers"
OPTIMIZERS = {
    "SGD": OptimizerRow(
        ac.SGD,
        GIVEN,
        {"nesterov": [BOOL, Bad(True, ValueError, NESTEROV)]},
        {"SGD": {}, "momentum": {"momentum": 0.9}, "Nesterov": {"momentum": 0.9, "nesterov": True}},
    ),
    "Adam": OptimizerRow(ac.Adam, GIVEN, variants={"Adam": {}, "Adam, epsilon_hat": {"epsilon_hat": True}}),
    "AdamW": OptimizerRow(ac.AdamW, GIVEN, variants={"AdamW": {}}),
    "AMSGrad": OptimizerRow(
        ac.AMSGrad,
        GIVEN,
        variants={
            "AMSGrad": {},
            "AMSGrad, before_max": {"bias_correction": "before_max"},
            "AMSGrad, the article's": ARTICLE,
        },
    ),
    "RMSprop": OptimizerRow(
        ac.RMSprop, GIVEN, {"decay": FRACTION}, {"RMSprop": {}, "RMSprop, all": {"centered": True, "momentum": 0.9}}
    ),
    "AdaGrad": OptimizerRow(ac.AdaGrad, GIVEN, variants={"AdaGrad": {"learning_rate": 0.1}}),
    "Muon": OptimizerRow(
        ac.Muon,
        {"parameters": [ac.Parameter(np.eye(2))], "learning_rate": 0.01},
        {
            "coefficients": [
                Rule("three finite numbers", [None, 3.0, "abc"], [(3.0, 1.0), [1, 2, 3, 4]]),
                Bad((1.0, "b", 2.0), TypeError, "coefficients[1] must be a finite number, got 'b'"),
            ],
            "scaling": choice("shape", "rms", "none"),
            "parameters": [
                *BY_NAME["parameters"],
                Bad([P], ValueError, "parameters must have at least two axes to be orthogonalized, got Parameter("),
            ],
        },
    ),
    "Combined": OptimizerRow(
        ac.Combined,
        {"optimizers": [ac.SGD([P], 0.1)]},
        {
            "optimizers": [
                Rule(NEW_OPTIMIZERS, [None, ac.SGD([P], 0.1), [P], [ac.SGD]], [[]]),
                Bad([ac.SGD([P], 0.1), ac.SGD([P], 0.2)], ValueError, LIST + "Parameter("),
            ]
        },
    ),
    "DilatedAMSGrad": OptimizerRow(
        ac.DilatedAMSGrad,
        {"model": ac.Skip(ac.Linear(2, 2))},
        {
            "model": [
                Bad(None, TypeError, NO_SKIP + "None"),
                Bad([P], TypeError, NO_SKIP + "[Parameter("),
                Bad(ac.Linear, TypeError, NO_SKIP + "<class"),
                Bad(ac.ELU(), ValueError, "model must hold at least one Skip, whose scale can be set, got ELU("),
                Bad(ac.Skip(ac.ELU()), ValueError, LIST + "an empty list"),
            ]
        },
    ),
}

schedules = ac.schedules
RATE: dict[str, Rules] = {"rate": NON_NEGATIVE}
FUNCTIONS_OF_EPOCHS = "a non-empty sequence of functions of the epochs elapsed"
SCHEDULES = {  # each of rates up to 0.1
    "constant": Row(schedules.constant, {"rate": 0.1}, RATE),
    "inverse_time": Row(schedules.inverse_time, {"rate": 0.1, "decay": 0.5}, RATE | {"decay": NON_NEGATIVE}),
    "step": Row(schedules.step, {"rate": 0.1, "step_size": 3, "gamma": 0.5}, RATE),
    "multistep": Row(schedules.multistep, {"rate": 0.1, "milestones": [2, 5.5], "gamma": 0.5}, RATE),
    "exponential": Row(schedules.exponential, {"rate": 0.1, "gamma": 0.9}, RATE),
    "linear": Row(schedules.linear, {"rate": 0.1, "start": 0.2, "end": 1.0, "epochs": 7}, RATE),
    "polynomial": Row(schedules.polynomial, {"rate": 0.1, "epochs": 7, "power": 2.0}, RATE),
    "cosine": Row(schedules.cosine, {"rate": 0.1, "epochs": 7, "final": 0.01}, RATE),
    "cosine_restarts": Row(
        schedules.cosine_restarts,
        {"rate": 0.1, "first": 3, "factor": 2, "final": 0.01},
        RATE | {"factor": number("a number in [1, inf)", 0, 0.99)},
    ),
    "one_cycle": Row(
        schedules.one_cycle,
        {"peak": 0.1, "epochs": 10},
        {"rise": number("a number in (0, 1)", 0, 1, -1), "shape": choice("cosine", "linear")},
    ),
    "chain": Row(
        schedules.chain,
        {"schedules": [schedules.linear(0.1, 0.2, 1.0, 3), schedules.cosine(0.1, 7)], "milestones": [3]},
        {
            "schedules": Rule(FUNCTIONS_OF_EPOCHS, [None, [0.1], schedules.constant(0.1)], [[]]),
            "milestones": [*MILESTONES, Rule("one fewer than the 2 schedules", [], [[], [5, 6]])],
        },
    ),
}

PARAMETERS = {
    "Parameter": Row(
        ac.Parameter,
        {"value": np.zeros(2)},
        {
            "value": Rule(
                "an array of real floating dtype",
                [np.ones(2, int), np.ones(2, bool), np.ones(2, complex), ["a"], None, np.array([None])],
            ),
            "trainable": BOOL,
            "decay": BOOL,
        },
    ),
    "AveragedWeights": Row(
        ac.AveragedWeights,
        {"model": ac.Linear(2, 1, bias=False)},
        {
            "values": [
                Rule("a dict of arrays by the names of parameters", [[np.zeros((2, 1))], "weight"]),
                Bad({"bias": np.zeros(1)}, ValueError, "values must have the names of the model's parameters, got"),
                Bad({"weight": np.zeros(2)}, ValueError, "values['weight'] must have shape (2, 1), got an array"),
                Bad({"weight": [1]}, TypeError, "values['weight'] must be an array of real floating dtype, got"),
            ]
        },
    ),
}
INITIALIZERS = {
    "normal": Row(ac.initializers.normal, {"std": 0.05}),
    "identity": Row(ac.initializers.identity),
    **{
        name: Row(lambda name=name: getattr(ac.initializers, name))
        for name in ("fan_in_uniform", "he_normal", "glorot_uniform", "orthogonal", "zeros")
    },
}
RULES = {
    "scaled": Row(ac.rules.scaled, {"factor": 2.0}, {"factor": FINITE}),
    **{name: Row(lambda name=name: getattr(ac.rules, name)) for name in ("guided", "deconvnet", "straight_through")},
}

NOT_AUGMENTERS = (None, 3, "flip")
AUGMENTER = "an augmenter must be callable, augmenter(images, rng), got"
NO_AUGMENTER: Rules = [Bad(value, TypeError, f"{AUGMENTER} {value!r}") for value in NOT_AUGMENTERS]
AXES = "a number, a pair or a dict with keys 'x', 'y'"
AUGMENTERS = {
    "Fliplr": Row(ac.data.Fliplr),
    "RandomShift": Row(ac.data.RandomShift, {}, {"pixels": POSITIVE_INT}),
    "Sometimes": Row(ac.data.Sometimes, {"p": 1.0, "augmenter": ac.data.Affine()}, {"augmenter": NO_AUGMENTER}),
    "Sequential": Row(
        ac.data.Sequential,
        {"augmenters": [ac.data.Affine()]},
        {"augmenters": [Bad([ac.data.Fliplr(), bad], TypeError, f"{AUGMENTER} {bad!r}") for bad in NOT_AUGMENTERS]},
    ),
    "KeepOriginals": Row(ac.data.KeepOriginals, {"augmenter": ac.data.Affine()}, {"augmenter": NO_AUGMENTER}),
    "Affine": Row(
        ac.data.Affine,
        {},
        {
            "rotate": Rule("a number in [-1e+06, 1e+06]", ["left", None, True], [math.nan, math.inf]),
            "scale": [
                Rule("a number in [1e-06, 1e+06]", [], [0, -1]),
                Rule("a number or a pair (low, high) with low <= high", [], [(1.2, 0.8)]),
                Bad({"x": (0.8, 1.2, 1.4)}, ValueError, "scale['x'] must be a number or a pair"),
                Rule(AXES, [], [{"z": 1.0}]),
            ],
            "translate_percent": Rule(AXES, [], [{}]),
        },
    ),
    "article_augment": Row(ac.data.article_augment),
}

MODELS = {
    "article_net": Row(
        ac.models.article_net,
        {"kind": "allcnn"},
        {"kind": choice("convpool", "allcnn"), "activation": choice("elu", "relu")},
    ),
    "all_cnn": Row(
        ac.models.all_cnn,
        {"kind": "A"},
        {"kind": choice("A", "B", "C"), "variant": choice("base", "strided", "convpool", "allcnn")},
    ),
    "lenet": Row(ac.models.lenet, {}, {"activation": choice("relu", "sigmoid", "tanh"), "pool": choice("max", "mean")}),
    "residual_net": Row(ac.models.residual_net, {"blocks": 1}, {"option": choice("A", "B")}),
    "resnet20": Row(ac.models.resnet20, {}, {"option": choice("A", "B")}),
    "fast_net": Row(
        ac.models.fast_net,
        {"filters": np.zeros((2, 2, 3, 24), np.float32)},
        {
            "filters": [
                Rule("an array of shape (2, 2, C, K)", [], [None, [[1.0]], np.zeros((3, 3, 3, 24))]),
                Rule("an array of real floating dtype", [np.zeros((2, 2, 3, 24), int)]),
                Bad(np.full((2, 2, 3, 24), 1e300), ValueError, "filters must hold numbers that fit into float32"),
            ],
            "widths": [
                Rule("three positive ints", [], [64, (64, 64)]),
                Bad((8, 0, 8), ValueError, "widths must be a positive int, got 0"),
            ],
        },
    ),
    "pretrained": Row(ac.models.pretrained, {"name": "allcnn_h"}, {"name": choice("allcnn_h", "fast_net")}),
    "fuse": Row(ac.models.fuse, {"model": ac.ReLU()}),
}


def _fitted(name):
    """Return a function that makes an estimator and fits it: `fit` is what checks the parameters."""
    kind = getattr(import_module("allconv.sklearn"), name)

    def fit(**options):
        return kind(**options).fit(np.eye(4), [0, 1, 0, 1])

    fit.__signature__ = inspect.signature(kind)
    return fit


ESTIMATOR: dict[str, Rules] = {
    "model": [
        Bad(3, TypeError, "model must be callable or None, got 3"),
        Bad(ac.ReLU, TypeError, "model must be an object, such as ReLU(), got the class ReLU"),
        Bad(ac.ReLU(), TypeError, "model must be callable as model(input_shape, outputs, rng), got ReLU()"),
        Bad(lambda *_: None, TypeError, "what model returns must be a Layer, got None"),
        Bad(lambda *_: ac.Linear(4, 5), ValueError, "model must return a network from (4,) to ("),
    ],
    "image_shape": [
        Rule("three positive ints (H, W, C) or None", [3, "8x8"], [(8, 8), (8, 0, 1), (8.0, 8, 1)]),
        Bad((2, 2, 2), ValueError, "image_shape must have as many numbers as X has features, 4, got (2, 2, 2)"),
    ],
    "epochs": POSITIVE_INT,
    "n_iter_no_change": POSITIVE_INT,
    "validation_fraction": [
        number("a number in (0, 1)", 0, 1, -0.1)._replace(types=[True, "0.1"]),
        Bad(0.01, ValueError, "validation_fraction must leave both parts an example, got 0.01 of n_samples=4"),
    ],
    **dict.fromkeys(["early_stopping", "warm_start", "verbose"], BOOL),
    "random_state": [Bad("seed", ValueError, "'seed' cannot be used to seed a numpy.random.RandomState instance")],
}
WEIGHTS_OF_CLASSES = Rule("a dict, 'balanced' or None", [3, [1, 2], np.ones(2)], ["balance"])
ESTIMATORS = {}
if find_spec("sklearn"):
    ESTIMATORS = {
        "ConvNetClassifier": Row(
            _fitted("ConvNetClassifier"), {"epochs": 1}, ESTIMATOR | {"class_weight": WEIGHTS_OF_CLASSES}
        ),
        "ConvNetRegressor": Row(_fitted("ConvNetRegressor"), {"epochs": 1}, ESTIMATOR),
    }

KINDS = [
    *(PARAMETERS, LAYERS, LOSSES, OPTIMIZERS, SCHEDULES, INITIALIZERS, RULES, AUGMENTERS, MODELS, FUNCTIONS),
    ESTIMATORS,
]
