import re

import numpy as np
import pytest

import allconv as ac
from allconv.functional import conv
from allconv.functional.choice import choose
from allconv.functional.geometry import geometry_of


def geometry(n, size, c, o, kernel=3, stride=1, groups=1, dilation=1):
    shape, weight = (n, size, size, c), (kernel, kernel, c // groups, o)
    return geometry_of(shape, weight, (stride, stride), "same", (dilation, dilation), groups)


# Shapes where one algorithm is so much faster that the choice is plain on any machine.
@pytest.mark.parametrize(
    ("expected", "arguments"),
    [
        ("winograd", {"n": 50, "size": 32, "c": 96, "o": 192}),
        ("winograd", {"n": 8, "size": 56, "c": 64, "o": 64}),
        ("winograd", {"n": 1, "size": 224, "c": 64, "o": 64}),
        ("banded", {"n": 50, "size": 28, "c": 1, "o": 8, "kernel": 5}),
        ("banded", {"n": 128, "size": 32, "c": 8, "o": 8}),
        ("im2col", {"n": 1, "size": 4, "c": 512, "o": 512}),
        ("winograd", {"n": 50, "size": 32, "c": 96, "o": 96, "kernel": 5}),
        ("im2col", {"n": 50, "size": 32, "c": 96, "o": 96, "kernel": 9}),
        ("im2col", {"n": 50, "size": 32, "c": 96, "o": 96, "stride": 3}),
        ("im2col", {"n": 50, "size": 32, "c": 96, "o": 96, "dilation": 2}),
        ("im2col", {"n": 50, "size": 32, "c": 96, "o": 96, "groups": 2}),
        ("im2col", {"n": 50, "size": 32, "c": 96, "o": 192, "groups": 96}),
        ("depthwise", {"n": 50, "size": 32, "c": 96, "o": 96, "groups": 96}),
    ],
)
def test_the_choice_by_cost(expected, arguments):
    assert choose(geometry(**arguments)) == expected
    assert choose(geometry(**arguments), backward=True) == expected


def test_a_named_algorithm_goes_before_the_cost_where_it_exists():
    suitable, nine = geometry(4, 16, 32, 32), geometry(4, 16, 64, 64, kernel=9)
    small, depthwise = geometry(1, 5, 64, 64), geometry(4, 16, 32, 32, groups=32)
    assert [choose(sizes) for sizes in (suitable, small, nine, depthwise)] == [
        "winograd", "im2col", "im2col", "depthwise",
    ]  # fmt: skip
    assert [choose(sizes, "winograd") for sizes in (suitable, small, nine)] == ["winograd", "winograd", "im2col"]
    assert [choose(sizes, "im2col") for sizes in (suitable, small, nine, depthwise)] == ["im2col"] * 4


@pytest.mark.parametrize("algorithm", ["auto", "im2col", "banded", "winograd"])
def test_the_layer_uses_what_it_is_told(monkeypatch, algorithm):
    used = []
    for name in ("conv2d", "conv2d_grads", "conv2d_input_grad", "conv2d_weight_grad"):
        function = getattr(conv, name)

        def spy(*arguments, function=function, **options):
            used.append(options["algorithm"])
            return function(*arguments, **options)

        monkeypatch.setattr(conv, name, spy)
    layer = ac.Conv2D(3, 4, 3, rng=np.random.default_rng(0), algorithm=algorithm)
    assert layer.algorithm == algorithm
    y, cache = layer.forward(np.ones((2, 5, 5, 3), np.float32))
    layer.backward(y, cache)
    layer.backward_parameters(y, cache)
    layer.weight.trainable = False
    layer.backward(y, cache)
    assert used == [algorithm] * 4
    assert ("algorithm" in repr(layer)) == (algorithm != "auto")


@pytest.mark.parametrize("algorithm", ["fft", "Winograd", None, ("auto",)])
def test_an_unknown_algorithm_is_refused(algorithm):
    layer = ac.Conv2D(3, 4, 3)
    rule = "algorithm must be one of 'auto', 'im2col', 'banded', 'winograd', got "
    with pytest.raises((TypeError, ValueError), match=re.escape(f"{rule}{algorithm!r}")):
        layer.algorithm = algorithm
    assert layer.algorithm == "auto"


@pytest.mark.parametrize(
    "options", [{"kernel_size": 9}, {"stride": 3}, {"dilation": 2}, {"groups": 2}, {"kernel_size": (3, 1)}]
)
def test_an_impossible_algorithm_is_refused_at_construction_and_assignment(options):
    with pytest.raises(
        ValueError, match="algorithm must be 'auto' or 'im2col' for all but kernels from 3x3 to 7x7 .*, got 'winograd'"
    ):
        ac.Conv2D(4, 4, **{"kernel_size": 3} | options, algorithm="winograd")
    layer = ac.Conv2D(4, 4, **{"kernel_size": 3} | options, algorithm="im2col")
    with pytest.raises(ValueError, match="got 'winograd' for kernel"):
        layer.algorithm = "winograd"
    assert layer.algorithm == "im2col"
