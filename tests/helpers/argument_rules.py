"""What a row of the registry holds, and the rules that arguments follow, each in the words of its message.

A rule belongs to an argument's name wherever that occurs (`BY_NAME`), unless the row has another one (`bad`).
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
        anew = {name: copy.deepcopy(value) if isinstance(value, ac.Layer) else value for name, value in options.items()}
        return self.make(**copy.deepcopy(self.given) | anew)

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
DROPOUT_RATE = number("a number in [0, 0.9999]", -0.1, 1, 1.5, 1 - 1e-9)
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
    **dict.fromkeys(["classes", "blocks", "width", "runs", "batch_size", "iterations"], POSITIVE_INT),
    **dict.fromkeys(["seed", "elements"], NON_NEGATIVE_INT),
    **dict.fromkeys(["kernel_size", "stride", "dilation"], PAIR),
    **dict.fromkeys(["bias", "count_padding", "ceil_mode", "keepdims", "in_forward", "in_backward"], BOOL),
    **dict.fromkeys(
        [
            "nesterov",
            "exact",
            "normalize_weights",
            "epsilon_hat",
            "centered",
            "random_order",
            "dilated",
            "unpadded_last",
        ],
        BOOL,
    ),
    **dict.fromkeys(
        ["dropout", "backward", "training", "check_finite", "frozen", "drop_last", "shuffle"],
        BOOL,
    ),
    **dict.fromkeys(["alternate_flip", "prefetch"], BOOL),
    **dict.fromkeys(["eps", "std", "gamma", "step_size", "epochs", "power", "first"], POSITIVE),
    **dict.fromkeys(["start_divisor", "final_divisor", "clip_value"], POSITIVE),
    **dict.fromkeys(["learning_rate", "weight_decay", "initial_accumulator"], NON_NEGATIVE),
    **dict.fromkeys(["start", "end", "final", "peak"], NON_NEGATIVE),
    **dict.fromkeys(["scale", "initial_scale"], FINITE),
    **dict.fromkeys(["dampening", "label_smoothing", "p"], PROBABILITY),
    "max_norm": POSITIVE._replace(values=[v for v in POSITIVE.values if v != math.inf]),
    "momentum": FRACTION,
    "alpha": number("a number in (0, 65504]", 0, -1, 1e5),
    "negative_slope": number("a number in [0, 65504]", -1, -1e-5, 1e5),
    "path": [
        Rule("a path", [None, 3, b"file", ["file"]]),
        Bad("", ValueError, "path must be a path that the file system can have, got ''"),
    ],
    "padding": PADDING,
    "algorithm": choice("auto", "im2col", "banded", "winograd"),
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
WITHOUT_RULE = {"initializer", "rest", "target", "resume", "layer", "position", "loss", "rules"}
