"""One row for each public layer: how to build it, and what to feed it.

A public layer without a row fails `test_contract.py`. `ARGUMENTS` are bad constructor arguments; each must be refused
with an error that names the argument, the rule and the value.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import allconv as ac

NOT_AN_INT = [0, -1, 1.5, True, "3", None, np.nan, [2], 10**3 + 0.5, np.float64(2), b"1", 1j]
NOT_A_PAIR = [0, -1, 1.5, True, "3", None, np.nan, (1,), (1, 2, 3), (1, 0), (1, 1.5), (True, 1)]
NOT_A_BOOL = [0, 1, "yes", None, 1.0, np.nan, [], (True,), np.array([True]), b"", 2, -1]
NOT_A_NUMBER = [True, "1", None, np.nan, np.inf, -np.inf, [1.0], (), 1j, np.array([1.0, 2.0]), b"1", {}]
NOT_POSITIVE = [0, -1, -0.5, 0.0, *NOT_A_NUMBER[:9]]
NOT_A_FRACTION = [-0.1, 1, 1.5, *NOT_A_NUMBER[:9]]
NOT_A_DTYPE = [
    int,
    "float16",
    np.complex64,
    None,
    "single!",
    object,
    bool,
    np.int8,
    3.0,
    "",
    [np.float32],
    np.longdouble,
]
NOT_A_GENERATOR = [0, 1.5, "rng", np.random, np.random.RandomState(0), True, [], (), {}, b"", 1j, np.random.default_rng]
NOT_A_PADDING = ["full", -1, (1, -1), (1,), (1, 2, 3), True, 1.0, (1, 1.5), None, "", (), np.nan]


@dataclass
class Case:
    """A layer: its constructor, by keyword the defaults that the rows change, and the shape of an input."""

    build: Callable[..., ac.Layer]
    shape: tuple[int, ...]
    bad: dict[str, list[Any]] = field(default_factory=dict)
    variants: list[dict[str, Any]] = field(default_factory=lambda: [{}])
    bad_shapes: list[tuple[int, ...]] = field(default_factory=list)
    kinks: bool = False  # inputs are kept away from where the layer has no derivative


def rng():
    return np.random.default_rng(7)


def conv(**options):
    return ac.Conv2D(
        **{"in_channels": 4, "out_channels": 6, "kernel_size": 3, "dtype": np.float64, "rng": rng()} | options
    )


def linear(**options):
    return ac.Linear(**{"in_features": 5, "out_features": 3, "dtype": np.float64, "rng": rng()} | options)


IMAGES = (3, 7, 6, 4)
LAYERS: dict[str, Case] = {
    "Conv2D": Case(
        conv,
        IMAGES,
        {
            "in_channels": NOT_AN_INT,
            "out_channels": NOT_AN_INT,
            "kernel_size": NOT_A_PAIR,
            "stride": NOT_A_PAIR,
            "padding": NOT_A_PADDING,
            "dilation": NOT_A_PAIR,
            "groups": [*NOT_AN_INT, 3, 4, 5, 8],
            "bias": NOT_A_BOOL,
            "dtype": NOT_A_DTYPE,
            "rng": NOT_A_GENERATOR[:-1],
        },
        [
            {},
            {"kernel_size": 1, "bias": False},
            {"stride": 2},
            {"stride": (3, 2), "padding": "valid", "kernel_size": (2, 5)},
            {"dilation": 2, "padding": (1, 2)},
            {"groups": 2, "padding": (0, 1, 2, 3)},
            {"groups": 4, "out_channels": 8, "padding": "same_lower", "stride": 2},
            {"in_channels": 4, "out_channels": 32, "kernel_size": 3},
        ],
        [(3, 7, 6, 5), (3, 7, 6), (3, 4, 7, 6), (4,), (), (3, 7, 6, 4, 1), (0, 7, 6, 4), (3, 0, 6, 4)],
    ),
    "Linear": Case(
        linear,
        (4, 5),
        {
            "in_features": NOT_AN_INT,
            "out_features": NOT_AN_INT,
            "bias": NOT_A_BOOL,
            "dtype": NOT_A_DTYPE,
            "rng": NOT_A_GENERATOR[:-1],
        },
        [{}, {"bias": False}],
        [(4, 6), (4, 5, 1), (5,), (), (0, 5)],
    ),
    "MeanPool2D": Case(
        lambda kernel_size=2, **options: ac.MeanPool2D(kernel_size, **options),
        IMAGES,
        {
            "kernel_size": NOT_A_PAIR,
            "stride": [v for v in NOT_A_PAIR if v is not None],
            "padding": NOT_A_PADDING,
            "count_padding": NOT_A_BOOL,
            "ceil_mode": NOT_A_BOOL,
        },
        [
            {},
            {"kernel_size": 3, "stride": 2},
            {"kernel_size": (3, 2), "stride": (1, 3), "padding": 1},
            {"kernel_size": 3, "stride": 2, "padding": "same", "count_padding": True},
            {"kernel_size": 3, "stride": 2, "padding": (0, 1, 1, 0), "ceil_mode": True},
        ],
        [(3, 7, 6), (3,), (), (0, 7, 6, 4)],
    ),
    "MaxPool2D": Case(
        lambda kernel_size=2, **options: ac.MaxPool2D(kernel_size, **options),
        IMAGES,
        {
            "kernel_size": NOT_A_PAIR,
            "stride": [v for v in NOT_A_PAIR if v is not None],
            "padding": NOT_A_PADDING,
            "dilation": NOT_A_PAIR,
            "ceil_mode": NOT_A_BOOL,
        },
        [
            {},
            {"kernel_size": 3, "stride": 2, "padding": "same"},
            {"kernel_size": (3, 2), "stride": (1, 3), "padding": 1, "ceil_mode": True},
            {"kernel_size": 2, "stride": 1, "dilation": 2},
        ],
        [(3, 7, 6), (3,), (), (0, 7, 6, 4)],
        kinks=True,
    ),
    "GlobalAveragePool2D": Case(
        lambda **options: ac.GlobalAveragePool2D(**options),
        IMAGES,
        {"keepdims": NOT_A_BOOL},
        [{}, {"keepdims": True}],
        [(3, 7, 6), (3,), (), (0, 7, 6, 4)],
    ),
    "Flatten": Case(ac.Flatten, IMAGES, bad_shapes=[(), (0, 3)]),
    "Dropout": Case(
        lambda rate=0.4, **options: ac.Dropout(rate, **{"rng": rng()} | options),
        IMAGES,
        {"rate": NOT_A_FRACTION, "rng": NOT_A_GENERATOR},
        [{}, {"rate": 0.0}],
        [(), (0, 3)],
    ),
    "BatchNorm": Case(
        lambda channels=4, **options: ac.BatchNorm(channels, **{"dtype": np.float64} | options),
        IMAGES,
        {
            "channels": NOT_AN_INT,
            "eps": NOT_POSITIVE,
            "momentum": [-0.1, 1.1, *NOT_A_NUMBER],
            "frozen": NOT_A_BOOL,
            "dtype": NOT_A_DTYPE,
        },
        [{}, {"eps": 0.1, "momentum": 0.5}, {"frozen": True}],
        [(3, 7, 6, 5), (3, 5), (3, 7, 4), (), (0, 4)],
    ),
    "ReLU": Case(ac.ReLU, IMAGES, bad_shapes=[(), (0, 3)], kinks=True),
    "LeakyReLU": Case(
        ac.LeakyReLU, IMAGES, {"negative_slope": NOT_A_NUMBER}, [{}, {"negative_slope": 0.3}], [(), (0, 3)], True
    ),
    "ELU": Case(ac.ELU, IMAGES, {"alpha": NOT_POSITIVE}, [{}, {"alpha": 0.5}], [(), (0, 3)], True),
    "GELU": Case(
        ac.GELU,
        IMAGES,
        {"approximate": ["erf", "", None, True, 0, 1.5, b"tanh", "TANH", [], (), np.nan, ["none"]]},
        [{}, {"approximate": "tanh"}],
        [(), (0, 3)],
    ),
    "SiLU": Case(ac.SiLU, IMAGES, bad_shapes=[(), (0, 3)]),
    "Sigmoid": Case(ac.Sigmoid, IMAGES, bad_shapes=[(), (0, 3)]),
    "Tanh": Case(ac.Tanh, IMAGES, bad_shapes=[(), (0, 3)]),
    "Softmax": Case(
        lambda **options: ac.Softmax(**options),
        (4, 5),
        {"axis": [1.5, True, "1", None, np.nan, [1], (1,), b"1", 1j, np.float64(1), {}, np.array([1])]},
        [{}, {"axis": 1}],
        [(), (0, 3)],
    ),
    "LogSoftmax": Case(
        lambda **options: ac.LogSoftmax(**options),
        (4, 5),
        {"axis": [1.5, True, "1", None, np.nan, [1], (1,), b"1", 1j, np.float64(1), {}, np.array([1])]},
        [{}, {"axis": 1}],
        [(), (0, 3)],
    ),
    "Sequential": Case(
        lambda: ac.Sequential(conv(), ac.ELU(), ac.GlobalAveragePool2D(), linear(in_features=6)),
        IMAGES,
        bad_shapes=[(3, 7, 6, 5), (3,), (), (0, 7, 6, 4)],
        kinks=True,
    ),
    "Skip": Case(
        lambda **options: ac.Skip(ac.Sequential(conv(out_channels=4), ac.ELU()), **options),
        IMAGES,
        {"scale": NOT_A_NUMBER, "in_forward": NOT_A_BOOL, "in_backward": NOT_A_BOOL},
        [{}, {"scale": 0.3}, {"in_forward": False, "in_backward": False}],
        [(3, 7, 6, 5), (3,), (), (0, 7, 6, 4)],
        kinks=True,
    ),
}
