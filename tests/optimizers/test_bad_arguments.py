"""Bad arguments of every optimizer: each error names the argument, the rule and the value."""

import math

import numpy as np
import pytest
from helpers.optimizers import CLASSES

from allconv.layers.elu import ELU
from allconv.layers.linear import Linear
from allconv.layers.skip import Skip
from allconv.optimizers import SGD, AdaGrad, Adam, AdamW, AMSGrad, DilatedAMSGrad, RMSprop
from allconv.parameter import Parameter

# Rows of argument, value, error, what the message must say.
P = Parameter(np.zeros(2))
NAMED = [Parameter(np.zeros(2)), Parameter(np.zeros(2))]
for _parameter in NAMED:
    _parameter.name = "0.weight"
LIST = "parameters must be a non-empty iterable of distinct Parameters, got "


def _numbers(argument, rule, *values):
    """Rows for an argument that must be a real number: wrong kinds always, wrong values as given."""
    kinds = [
        (argument, value, TypeError, f"{argument} must be {rule}, got ") for value in ("0.1", None, True, [0.1], 1j)
    ]
    wrong = [*values, math.nan, math.inf, -math.inf]
    return kinds + [(argument, value, ValueError, f"{argument} must be {rule}, got {value!r}") for value in wrong]


FRACTION = "a number in [0, 1)"
COMMON = [
    ("parameters", None, TypeError, LIST + "None"),
    ("parameters", 5, TypeError, LIST + "5"),
    ("parameters", P, TypeError, LIST + "Parameter("),
    ("parameters", [], ValueError, LIST + "an empty list"),
    ("parameters", iter([]), ValueError, LIST + "an empty "),
    ("parameters", [np.zeros(2)], TypeError, LIST + "an array of shape (2,) and dtype float64 at 0"),
    ("parameters", [P, None], TypeError, LIST + "None at 1"),
    ("parameters", {"0.weight": P}, TypeError, LIST + "'0.weight' at 0"),
    ("parameters", [P, P], ValueError, LIST + "Parameter("),
    ("parameters", NAMED, ValueError, "parameters must have distinct names, got '0.weight' at 0 and 1"),
    *_numbers("learning_rate", "a non-negative number", -0.1),
    *_numbers("weight_decay", "a non-negative number", -1e-4),
]
FLAG = [("1", TypeError), (1, TypeError), (None, TypeError)]
EPS = _numbers("eps", "a positive number", 0, -1e-8)
BETAS = [
    ("betas", 0.9, TypeError, "betas must be a pair of numbers in [0, 1), got 0.9"),
    ("betas", (0.9,), ValueError, "betas must be a pair of numbers in [0, 1), got (0.9,)"),
    ("betas", (0.9, 0.9, 0.9), ValueError, "betas must be a pair of numbers in [0, 1), got (0.9, 0.9, 0.9)"),
    ("betas", (1.0, 0.9), ValueError, "betas[0] must be a number in [0, 1), got 1.0"),
    ("betas", (0.9, -0.1), ValueError, "betas[1] must be a number in [0, 1), got -0.1"),
    ("betas", (0.9, math.nan), ValueError, "betas[1] must be a number in [0, 1), got nan"),
    ("betas", ("0.9", 0.9), TypeError, "betas[0] must be a number in [0, 1), got '0.9'"),
]
ADAM = [*EPS, *BETAS, *[("epsilon_hat", v, e, f"epsilon_hat must be True or False, got {v!r}") for v, e in FLAG]]
BAD_ARGUMENTS = {
    SGD: [
        *_numbers("momentum", FRACTION, -0.1, 1, 1.5),
        *_numbers("dampening", "a number in [0, 1]", -0.1, 1.1),
        *[("nesterov", v, e, f"nesterov must be True or False, got {v!r}") for v, e in FLAG],
        (
            "nesterov",
            True,
            ValueError,
            "nesterov must be False without a momentum or with a dampening, got nesterov=True",
        ),
    ],
    Adam: ADAM,
    AdamW: ADAM,
    AMSGrad: [
        *ADAM,
        (
            "bias_correction",
            "max",
            ValueError,
            "bias_correction must be one of 'after_max', 'before_max', 'none', got 'max'",
        ),
        (
            "bias_correction",
            None,
            TypeError,
            "bias_correction must be one of 'after_max', 'before_max', 'none', got None",
        ),
        ("maximum", "Tensor", ValueError, "maximum must be one of 'elementwise', 'tensor', got 'Tensor'"),
        ("maximum", True, TypeError, "maximum must be one of 'elementwise', 'tensor', got True"),
    ],
    RMSprop: [
        *EPS,
        *_numbers("decay", FRACTION, -0.1, 1),
        *_numbers("momentum", FRACTION, -0.1, 1),
        *[("centered", v, e, f"centered must be True or False, got {v!r}") for v, e in FLAG],
    ],
    AdaGrad: [*EPS, *_numbers("initial_accumulator", "a non-negative number", -0.1)],
}
ROWS = [(cls, *row) for cls in CLASSES for row in COMMON + BAD_ARGUMENTS[cls]]


@pytest.mark.parametrize(("cls", "argument", "value", "error", "message"), ROWS)
def test_bad_arguments(cls, argument, value, error, message):
    arguments = {"parameters": [Parameter(np.zeros(2))], "learning_rate": 0.1} | {argument: value}
    with pytest.raises(error) as caught:
        cls(**arguments)
    assert message in str(caught.value)


MODEL = "model must be a Layer that holds a Skip, got "
DILATED = [
    ("model", None, TypeError, MODEL + "None"),
    ("model", [P], TypeError, MODEL + "[Parameter("),
    ("model", Linear, TypeError, MODEL + "<class"),
    ("model", ELU(), ValueError, "model must hold at least one Skip, whose scale can be set, got ELU(alpha=1)"),
    ("model", Skip(ELU()), ValueError, LIST + "an empty list"),
    *_numbers("initial_scale", "a finite number"),
    *[row for row in COMMON if row[0] != "parameters"],
    *BAD_ARGUMENTS[AMSGrad],
]


@pytest.mark.parametrize(("argument", "value", "error", "message"), DILATED)
def test_bad_arguments_of_the_articles(argument, value, error, message):
    skip = Skip(Linear(2, 2, rng=np.random.default_rng(0)), scale=0.7)
    arguments = {"model": skip, "learning_rate": 0.1} | {argument: value}
    with pytest.raises(error) as caught:
        DilatedAMSGrad(**arguments)
    assert message in str(caught.value)
    assert skip.scale == 0.7


@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (SGD, {"momentum": 0.9, "dampening": 0.1, "nesterov": True}, "nesterov must be False"),
        (
            AMSGrad,
            {"epsilon_hat": True, "bias_correction": "before_max"},
            "epsilon_hat must be False with bias_correction='before_max', got True",
        ),
    ],
)
def test_options_that_exclude_each_other(cls, options, message):
    with pytest.raises(ValueError, match=message):
        cls([Parameter(np.zeros(2))], 0.1, **options)


@pytest.mark.parametrize("rate", [-1, math.nan, math.inf, None, "1", True])
def test_a_bad_learning_rate_is_not_taken(rate):
    optimizer = SGD([Parameter(np.zeros(2))], 0.1)
    with pytest.raises((TypeError, ValueError), match="learning_rate must be a non-negative number, got "):
        optimizer.learning_rate = rate
    assert optimizer.learning_rate == 0.1
