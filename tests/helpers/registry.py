"""One row for everything public: how to build it, what to feed it, and which arguments it must refuse.

`test_public_api.py` fails for a public name without a row, `test_bad_arguments.py` for an argument without a rule. A
rule belongs to an argument's name wherever that occurs (`BY_NAME`), unless the row has another one (`bad`).
"""

import copy
import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

import allconv as ac


class Rule(NamedTuple):
    """A rule in the words of the messages, values of a wrong type (TypeError), and values out of range (ValueError)."""

    words: str
    types: Sequence[Any] = ()
    values: Sequence[Any] = ()


class Bad(NamedTuple):
    """A value whose message does not follow from a rule alone, and the message's beginning."""

    value: Any
    error: type[Exception]
    message: str


Rules = Rule | list[Rule | Bad]


def bad_values(argument, rules):
    """Yield (value, error, the beginning of its message)."""
    for rule in rules if isinstance(rules, list) else [rules]:
        if isinstance(rule, Bad):
            yield rule
            continue
        for error, values in ((TypeError, rule.types), (ValueError, rule.values)):
            for value in values:
                shown = "an array of shape" if isinstance(value, np.ndarray) else repr(value)[:77]
                yield value, error, f"{argument} must be {rule.words}, got {shown}"


@dataclass
class Row:
    """What to call, with which arguments, and rules of arguments of its own; `make` gets copies of `given`."""

    make: Callable[..., Any]
    given: dict[str, Any] = field(default_factory=dict)
    bad: dict[str, Rules] = field(default_factory=dict)

    def build(self, **options):
        return self.make(**copy.deepcopy(self.given) | options)

    def rules(self):
        """Return {argument: its rules}."""
        named = {name: BY_NAME[name] for name in inspect.signature(self.make).parameters if name in BY_NAME}
        return named | self.bad


@dataclass
class LayerRow(Row):
    """A layer, the shape of an input, other options to test it with, and shapes that it must refuse."""

    shape: tuple[int, ...] = (3, 7, 6, 4)
    variants: list[dict[str, Any]] = field(default_factory=lambda: [{}])
    bad_shapes: list[tuple[int, ...]] = field(default_factory=lambda: [(), (0, 3)])
    kinks: bool = False  # inputs are kept away from where the layer has no derivative


@dataclass
class LossRow(Row):
    """A loss, and a batch to differentiate it at."""

    scores: Any = None
    target: Any = None


@dataclass
class OptimizerRow(Row):
    """An optimizer, and the variants in which all optimizers' tests run it: {name: options}."""

    variants: dict[str, dict[str, Any]] = field(default_factory=dict)


def number(words, *values):
    """Return the rule of a real number; `values` are finite ones out of range."""
    types = [True, "0.1", None, [0.1], (), 1j, np.array([1.0, 2.0]), b"1", {}]
    return Rule(words, types, [*values, math.nan, math.inf, -math.inf])


def choice(*names):
    """Return the rule of one string of several; what is nearly one of them is refused."""
    near = ["", f"{names[0]} ", names[0].swapcase(), names[0] + names[-1]]
    return Rule(f"one of {', '.join(map(repr, names))}", [None, True, 1, 1.5, names[0].encode(), [names[0]]], near)


def integers(words, *values):
    return Rule(words, [1.5, True, "3", None, math.nan, [2], np.float64(2), b"1", 1j], [*values])


POSITIVE, NON_NEGATIVE = number("a positive number", 0, -1, -0.5, 0.0), number("a non-negative number", -1, -1e-5)
FINITE, PROBABILITY = number("a finite number"), number("a number in [0, 1]", -0.1, 1.1, 2)
FRACTION = number("a number in [0, 1)", -0.1, 1, 1.5, 2)
POSITIVE_INT, NON_NEGATIVE_INT = integers("a positive int", 0, -1), integers("a non-negative int", -1)
BOOL = Rule("True or False", [0, 1, "yes", None, 1.0, math.nan, [], (True,), np.array([True]), b"", 2, -1])
PAIR_TYPES = [1.5, 2.0, True, "3", math.nan, (1, 1.5), (True, 1)]
PAIR_OR_NONE = Rule("a positive int or a pair of them", PAIR_TYPES, [0, -1, (1,), (1, 2, 3), (1, 0)])
PAIR = PAIR_OR_NONE._replace(types=[*PAIR_TYPES, None])
NOT_DTYPES = [int, np.float16, "float16", np.complex64, None, "single!", object, bool, "int32", 3.0, "", np.longdouble]
NOT_RNGS = [0, 1.5, "rng", np.random, np.random.RandomState(0), True, [], (), {}, b"", 1j, np.random.default_rng]
PADS = "'same', 'same_lower', 'valid', a non-negative int, a pair of them or four of them (top, left, bottom, right)"
PADDING = [
    choice("same", "same_lower", "valid")._replace(types=[]),
    Rule(PADS, [True, 1.0, (1, 1.5), None, math.nan], [-1, (1, -1), (1,), (1, 2, 3), ()]),
]
LAYER = Rule("a Layer", [None, 3, "net", ac.ReLU, [ac.ReLU()], lambda x: x])
CALLABLE_OR_NONE = Rule("callable or None", [1, "guided", [None]])
ROWS = np.ones((2, 5))
BATCH = [
    Rule("an array of real floating dtype", [ROWS.astype(int), "abc"]),
    Rule("a batch of at least one example, (N, ...)", [], [ROWS[:0]]),
]
WEIGHTS = "class_weight must be a sequence of non-negative finite numbers"
P = ac.Parameter(np.zeros(2))
NAMED = [ac.Parameter(np.zeros(2)), ac.Parameter(np.zeros(2))]
for _parameter in NAMED:
    _parameter.name = "0.weight"
LIST = "parameters must be a non-empty iterable of distinct Parameters, got "
NUMBERS = "a sequence of positive numbers in increasing order"
MILESTONES = [
    Rule(NUMBERS, [None, 3, "12", {1, 2}], [[2, 1], [1, 1]]),
    Bad([0, 1], ValueError, "milestones[0] must be a positive number, got 0"),
    *(Bad([1, x], ValueError, f"milestones[1] must be a positive number, got {x}") for x in (-2, math.nan, math.inf)),
    *(Bad([x], TypeError, f"milestones[0] must be a positive number, got {x!r}") for x in (True, "1")),
]
BY_NAME: dict[str, Rules] = {
    **dict.fromkeys(["in_channels", "out_channels", "in_features", "out_features", "channels"], POSITIVE_INT),
    **dict.fromkeys(["classes", "blocks", "width", "runs", "batch_size"], POSITIVE_INT),
    **dict.fromkeys(["seed", "elements"], NON_NEGATIVE_INT),
    **dict.fromkeys(["kernel_size", "stride", "dilation"], PAIR),
    **dict.fromkeys(["bias", "count_padding", "ceil_mode", "keepdims", "in_forward", "in_backward"], BOOL),
    **dict.fromkeys(["nesterov", "epsilon_hat", "centered", "random_order", "dilated", "unpadded_last"], BOOL),
    **dict.fromkeys(["dropout", "backward", "training", "check_finite", "frozen", "drop_last", "shuffle"], BOOL),
    **dict.fromkeys(["eps", "alpha", "std", "gamma", "step_size", "epochs", "power", "first"], POSITIVE),
    **dict.fromkeys(["start_divisor", "final_divisor", "clip_value"], POSITIVE),
    **dict.fromkeys(["negative_slope", "learning_rate", "weight_decay", "initial_accumulator"], NON_NEGATIVE),
    **dict.fromkeys(["start", "end", "final", "peak"], NON_NEGATIVE),
    **dict.fromkeys(["scale", "initial_scale"], FINITE),
    **dict.fromkeys(["dampening", "label_smoothing", "p"], PROBABILITY),
    "max_norm": POSITIVE._replace(values=[v for v in POSITIVE.values if v != math.inf]),
    "momentum": FRACTION,
    "padding": PADDING,
    "algorithm": choice("auto", "im2col", "winograd"),
    "axis": Rule("an int", [1.5, True, "1", None, math.nan, [1], (1,), b"1", 1j, np.float64(1), {}, np.array([1])]),
    "dtype": Rule("float32 or float64", NOT_DTYPES),
    "rng": Rule("a numpy.random.Generator or None", NOT_RNGS),
    "approximate": choice("none", "tanh"),
    "body": LAYER,
    "model": LAYER,
    "images": BATCH,
    "reduction": choice("mean", "sum", "none"),
    "ignore_index": Rule("an int or None", [1.0, True, "1"]),
    "class_weight": [
        *(Bad(value, TypeError, WEIGHTS) for value in ("ab", [True, False])),
        *(Bad(value, ValueError, WEIGHTS) for value in ([1, -1], [1, math.nan], [], [[1, 2]], 2.0)),
    ],
    "parameters": [
        *(Bad(value, TypeError, LIST + shown) for value, shown in ((None, "None"), (5, "5"), (P, "Parameter("))),
        *(Bad(value, ValueError, LIST + "an empty ") for value in ([], iter([]))),
        Bad([np.zeros(2)], TypeError, LIST + "an array of shape (2,) and dtype float64 at 0"),
        Bad([P, None], TypeError, LIST + "None at 1"),
        Bad({"0.weight": P}, TypeError, LIST + "'0.weight' at 0"),
        Bad([P, P], ValueError, LIST + "Parameter("),
        Bad(NAMED, ValueError, "parameters must have distinct names, got '0.weight' at 0 and 1"),
    ],
    "betas": [
        Rule("a pair of numbers in [0, 1)", [0.9, None], [(0.9,), (0.9, 0.9, 0.9)]),
        Bad((1.0, 0.9), ValueError, "betas[0] must be a number in [0, 1), got 1.0"),
        *(Bad((0.9, x), ValueError, f"betas[1] must be a number in [0, 1), got {x}") for x in (-0.1, math.nan)),
        Bad(("0.9", 0.9), TypeError, "betas[0] must be a number in [0, 1), got '0.9'"),
    ],
    "bias_correction": choice("after_max", "before_max", "none"),
    "maximum": choice("elementwise", "tensor"),
    "milestones": MILESTONES,
}
# Arguments without a rule of their own: any function of the right signature, or what the tests of a file are about.
WITHOUT_RULE = {"initializer", "target", "resume", "layer", "position", "loss", "rules"}

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
    "GlobalAveragePool2D": LayerRow(ac.GlobalAveragePool2D, variants=[{}, {"keepdims": True}], bad_shapes=NO_IMAGES),
    "Flatten": LayerRow(ac.Flatten),
    "Dropout": LayerRow(ac.Dropout, {"rate": 0.4, "rng": RNG}, {"rate": FRACTION}, variants=[{}, {"rate": 0.0}]),
    "BatchNorm": LayerRow(
        ac.BatchNorm,
        {"channels": 4, "dtype": np.float64},
        {"momentum": PROBABILITY},
        variants=[{}, {"eps": 0.1, "momentum": 0.5}, {"frozen": True}],
        bad_shapes=[(3, 7, 6, 5), (3, 5), (3, 7, 4), (), (0, 4)],
    ),
    "ReLU": LayerRow(ac.ReLU, kinks=True),
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
        variants=[{}, {"scale": 0.3}, {"in_forward": False, "in_backward": False}],
        bad_shapes=OTHER_IMAGES,
        kinks=True,
    ),
}

SCORES = np.random.default_rng(0).standard_normal((2, 5, 4))
LOSSES = {
    "SoftmaxCrossEntropy": LossRow(ac.SoftmaxCrossEntropy, scores=SCORES[0], target=np.array([0, 3, 1, 1, 2])),
    "MeanSquaredError": LossRow(ac.MeanSquaredError, scores=SCORES[0], target=SCORES[1]),
}

GIVEN = {"parameters": [P], "learning_rate": 0.01}
NESTEROV = "nesterov must be False without a momentum or with a dampening, got nesterov=True"
ARTICLE = {"betas": (0.9, 0.9), "bias_correction": "none", "maximum": "tensor"}
NO_SKIP = "model must be a Layer that holds a Skip, got "
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
    )
}
INITIALIZERS = {
    "normal": Row(ac.initializers.normal, {"std": 0.05}),
    **{
        name: Row(lambda name=name: getattr(ac.initializers, name))
        for name in ("he_normal", "glorot_uniform", "orthogonal", "zeros")
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
            "rotate": Rule("a finite number", ["left", None, True], [math.nan, math.inf]),
            "scale": [
                Rule("a positive number", [], [0, -1]),
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
    "residual_net": Row(ac.models.residual_net, {"blocks": 1}),
    "fuse": Row(ac.models.fuse, {"model": ac.ReLU()}),
}


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
PHOTOS = {"model": NET, "images": np.ones((3, 4, 4, 2))}
OTHERS = [None, 3, "x"]
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
            "loader": ac.data.Loader(ac.data.shapes(4, seed=0), 2),
            "epochs": 1,
        },
        {
            "model": Rule("a Layer", OTHERS),
            "loss": Rule("callable", OTHERS),
            "optimizer": Rule("an Optimizer", OTHERS),
            "loader": Rule("a Loader", OTHERS),
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
    "predict": Row(ac.predict, {"model": Untouched(), "images": ROWS}, {"model": []}),
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
        ac.gradcheck.check_loss,
        {"loss": ac.MeanSquaredError(), "scores": ROWS, "target": ROWS},
        {"scores": DOUBLES},
    ),
    "gradcheck.compare": Row(
        ac.gradcheck.compare,
        {"model": ac.Sequential(ac.ReLU()), "x": ROWS, "rules": {ac.ReLU: ac.rules.guided}},
        {"x": BATCH},
    ),
    "class_activation_map": Row(explain.class_activation_map, PHOTOS, PICTURES | {"model": []}),
}
for _method in (explain.saliency, explain.deconvnet, explain.guided_backprop):
    FUNCTIONS[_method.__name__] = Row(_method, PHOTOS, PICTURES | {"layer": PATHS})
    FUNCTIONS[f"{_method.__name__} of a unit"] = Row(_method, PHOTOS | {"layer": "2"}, PICTURES | {"position": OUTSIDE})

KINDS = [PARAMETERS, LAYERS, LOSSES, OPTIMIZERS, SCHEDULES, INITIALIZERS, RULES, AUGMENTERS, MODELS, FUNCTIONS]
