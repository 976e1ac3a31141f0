"""Numbers at the ends of float32: squares that overflow, squares that underflow, and settings that do not fit."""

import math
from functools import partial

import numpy as np
import pytest
from helpers import optimizer_reference as scalar_reference
from helpers.bits import same_with_any_threads

from allconv.optimizers import SGD, AdaGrad, Adam, AdamW, AMSGrad, RMSprop
from allconv.parameter import Parameter

ARTICLE = {"betas": (0.9, 0.9), "bias_correction": "none", "maximum": "tensor"}
SQUARES = {
    "Adam": lambda p, **k: Adam(p, 0.01, **k),
    "AdamW": lambda p, **k: AdamW(p, 0.01, weight_decay=0.0, **k),
    "AMSGrad": lambda p, **k: AMSGrad(p, 0.01, **k),
    "AMSGrad, before_max": lambda p, **k: AMSGrad(p, 0.01, bias_correction="before_max", **k),
    "AMSGrad, the article's": lambda p, **k: AMSGrad(p, 0.01, **ARTICLE, **k),
    "RMSprop": lambda p, **k: RMSprop(p, 0.01, **k),
    "RMSprop, centered": lambda p, **k: RMSprop(p, 0.01, centered=True, **k),
    "AdaGrad": lambda p, **k: AdaGrad(p, 0.01, **k),
}
each = pytest.mark.parametrize("make", SQUARES.values(), ids=SQUARES)


def path(make, gradients, dtype=np.float32):
    """Return the values of a weight, from 1 on, after a step for each gradient."""
    p = Parameter(np.ones(1, dtype))
    optimizer = make([p])
    values = []
    for g in gradients:
        p.add_grad(np.array([g], dtype))
        optimizer.step()
        values.append(float(p.value[0]))
    return values


# Squares that overflow


@each
@pytest.mark.parametrize(("dtype", "huge"), [(np.float32, 1e20), (np.float32, 3e38), (np.float64, 1e200)])
def test_the_first_step_has_its_size_whatever_the_gradient(make, dtype, huge):
    large, small = path(make, [huge], dtype), path(make, [1.0], dtype)
    assert 0 < 1 - large[0] == pytest.approx(1 - small[0], rel=1e-4)


@each
def test_weights_go_on_after_many_huge_gradients(make):
    values = path(make, 20 * [3e38, -3e38] + 5 * [3e38])
    assert all(math.isfinite(value) for value in values)
    steps = np.diff(values)
    assert (steps != 0).all()


@each
def test_huge_gradients_in_the_slices_of_several_threads(make):
    """Each thread sees the overflow of its own slices; every other weight goes the same way without one."""
    g = np.ones(300_000, np.float32)
    g[[5, 100_000, 299_999]] = 1e20

    def values():
        p = Parameter(np.ones(g.size, np.float32))
        optimizer = make([p])
        for _ in range(2):
            p.add_grad(g)
            with np.errstate(over="raise"):
                optimizer.step()
        return p.value

    found = same_with_any_threads(values)
    assert found.max() < 1


@each
def test_a_step_enters_one_context_for_overflow(make, monkeypatch):
    contexts = []
    errstate = np.errstate
    monkeypatch.setattr(np, "errstate", lambda **kinds: contexts.append(kinds) or errstate(**kinds))
    parameters = [Parameter(np.ones(3, np.float32)) for _ in range(5)]
    optimizer = make(parameters)
    for parameter in parameters:
        parameter.add_grad(np.ones(3, np.float32))
    optimizer.step()
    assert len(contexts) == 1


def test_a_huge_gradient_leaves_its_neighbours_alone():
    p, q = Parameter(np.ones(4, np.float32)), Parameter(np.ones(4, np.float32))
    first, second = Adam([p]), Adam([q])
    for t in range(5):
        g = np.array([1.0, -2.0, 1e-3, 0.0], np.float32) * (t + 1)
        p.add_grad(g)
        q.add_grad(np.where([False, False, False, t == 1], np.float32(1e30), g))
        first.step()
        second.step()
    np.testing.assert_array_equal(p.value[:3], q.value[:3])
    assert q.value[3] < 1


@each
def test_an_infinite_gradient_still_shows(make):
    with np.errstate(invalid="ignore"):
        assert not math.isfinite(path(make, [math.inf])[0])


# Squares that underflow, and eps


@pytest.mark.parametrize(
    ("make", "reference"),
    [
        (lambda p: Adam(p, 5e-4, eps=1e-15), partial(scalar_reference.adam, rate=5e-4, eps=1e-15)),
        (lambda p: AdamW(p, 5e-4, eps=1e-15), partial(scalar_reference.adamw, rate=5e-4, eps=1e-15, weight_decay=0.01)),
        (lambda p: AMSGrad(p, 5e-4, eps=1e-15), partial(scalar_reference.amsgrad, rate=5e-4, eps=1e-15)),
        (lambda p: RMSprop(p, 5e-4, eps=1e-15), partial(scalar_reference.rmsprop, rate=5e-4, eps=1e-15)),
        (lambda p: AdaGrad(p, 5e-3, eps=1e-15), partial(scalar_reference.adagrad, rate=5e-3, eps=1e-15)),
    ],
    ids=["Adam", "AdamW", "AMSGrad", "RMSprop", "AdaGrad"],
)
@pytest.mark.parametrize(
    "gradients", [200 * [1e-15], 200 * [1e-14], 200 * [1e-16], [1e19] + 30 * [1.0]], ids=lambda g: f"{g[0]:g}"
)
def test_tiny_and_huge_gradients_give_the_steps_of_the_equations(make, reference, gradients):
    assert path(make, gradients)[-1] == pytest.approx(reference(1.0, gradients), rel=1e-4)


@pytest.mark.parametrize("options", [{"eps": 1e-18}, {"eps": 1e-18, "betas": (0.9, 1 - 2**-53)}, {"eps": 1.1e-19}])
def test_the_smallest_eps_makes_no_nan_of_gradients_of_zero(options):
    assert path(lambda p: Adam(p, **options), 3 * [0.0]) == [1, 1, 1]


@pytest.mark.parametrize("cls", [Adam, AdamW, AMSGrad, RMSprop, AdaGrad])
@pytest.mark.parametrize("eps", [1e-44, 1e-20, 5e-324])
def test_an_eps_that_float32_loses_is_refused(cls, eps):
    with pytest.raises(ValueError, match=f"eps must be at least 1.08e-19 for float32 parameters, .* got {eps}"):
        cls([Parameter(np.ones(1, np.float32))], 0.1, eps=eps)
    optimizer = cls([Parameter(np.ones(1, np.float32))], 0.1)
    with pytest.raises(ValueError, match="eps must be at least"):
        optimizer.eps = eps
    if eps == 1e-44:
        assert cls([Parameter(np.ones(1))], 0.1, eps=eps).eps == eps


@pytest.mark.parametrize("name", ["learning_rate", "weight_decay", "eps", "initial_accumulator"])
def test_a_setting_that_the_parameters_cannot_hold_is_refused(name):
    single, double = Parameter(np.ones(1, np.float32)), Parameter(np.ones(1))
    with pytest.raises(
        ValueError, match=rf"{name} must be at most 3\.4e\+38, the largest number of float32, .* 1e\+39"
    ):
        AdaGrad([double, single], **{"learning_rate": 0.1} | {name: 1e39})
    AdaGrad([double], **{"learning_rate": 0.1} | {name: 1e39})
    optimizer = SGD([single], 0.1)
    with pytest.raises(ValueError, match="learning_rate must be at most"):
        optimizer.learning_rate = 1e39
    assert optimizer.learning_rate == 0.1


def test_a_gradient_that_the_parameter_cannot_hold_is_refused_and_nothing_changes():
    p = Parameter(np.ones(2, np.float32))
    p.add_grad(np.array([1.0, 1e39]))
    with pytest.raises(ValueError, match=r"the gradient of 0 must hold numbers that fit into float32, .* 1e\+39"):
        SGD([p], 0.1).step()
    np.testing.assert_array_equal(p.value, 1)


def test_a_gradient_may_be_a_list():
    p = Parameter(np.ones(2))
    p.grad = [1.0, 2.0]
    SGD([p], 0.5).step()
    np.testing.assert_array_equal(p.value, [0.5, 0])


def test_the_articles_maximum_of_a_large_tensor_is_summed_with_all_digits():
    """The mean square grows in one element of a million and falls in the others: by float32 sums it would not grow."""
    p = Parameter(np.zeros(1 << 16, np.float32))
    optimizer = AMSGrad([p], betas=(0.0, 0.0), bias_correction="none", maximum="tensor")
    p.add_grad(np.full(p.value.size, 1.0, np.float32))
    optimizer.step()
    second = np.full(p.value.size, 1.0, np.float32)
    second[7] = 1 + 2**-9
    p.add_grad(second)
    optimizer.step()
    assert optimizer.state()["vmax/0"][7] > 1
