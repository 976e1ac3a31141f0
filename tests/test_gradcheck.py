"""The gradient check: what it must catch, what it must not flag, and its own numbers against hand-computed ones."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.unchanged import unchanged
from hypothesis import given, settings
from hypothesis import strategies as st

from allconv import (
    ELU,
    Conv2D,
    GlobalAveragePool2D,
    Layer,
    Linear,
    MaxPool2D,
    MeanPool2D,
    MeanSquaredError,
    Parameter,
    ReLU,
    Sequential,
    Skip,
    SoftmaxCrossEntropy,
    gradcheck,
)
from allconv.gradcheck.point import INPUT, Point
from allconv.layers.snapshot import Snapshot
from allconv.rules import guided, override_backward

F8 = np.float64


class Affine(Layer):
    """y = x W + b, square, so that a transposed W goes unnoticed by shapes; faults are planted by overriding."""

    def __init__(self, n=5, seed=1):
        rng = np.random.default_rng(seed)
        self.weight = Parameter(rng.standard_normal((n, n)))
        self.bias = Parameter(rng.standard_normal(n))

    def forward(self, x, *, training=False):
        return x @ self.weight.value + self.bias.value, x

    def backward(self, dy, cache):
        self.add(self.weight, cache.T @ dy)
        self.add(self.bias, dy.sum(axis=0))
        return dy @ self.weight.value.T

    def add(self, parameter, gradient):
        if parameter.trainable:
            parameter.add_grad(gradient)


class WritesToInput(Affine):
    def forward(self, x, *, training=False):
        y, cache = super().forward(x.copy(), training=training)
        x += 1
        return y, cache


class WritesToWeight(Affine):
    def forward(self, x, *, training=False):
        result = super().forward(x, training=training)
        self.weight.value *= 1.0001
        return result


class HidesItsCache(Affine):
    def forward(self, x, *, training=False):
        self.hidden = x
        return super().forward(x, training=training)

    def backward(self, dy, cache):
        return super().backward(dy, self.hidden)


class ConsumesItsCache(Affine):
    def forward(self, x, *, training=False):
        y, cache = super().forward(x, training=training)
        return y, [cache]

    def backward(self, dy, cache):
        return super().backward(dy, cache.pop())


class SecondBackwardDiffers(Affine):
    calls = 0

    def backward(self, dy, cache):
        self.calls += 1
        return super().backward(dy, cache) * (1 if self.calls % 2 else -1)


class RandomForward(Affine):
    rng = np.random.default_rng(0)

    def forward(self, x, *, training=False):
        return super().forward(x + 1e-9 * self.rng.standard_normal(x.shape), training=training)


class OtherParameterPass(Affine):
    def backward_parameters(self, dy, cache):
        self.weight.add_grad(2 * cache.T @ dy)
        self.bias.add_grad(dy.sum(axis=0))


def fault(**methods):
    """Return an Affine with other methods."""
    return type("Faulty", (Affine,), methods)


def adds(change):
    """Return an Affine that adds ``change(self, parameter, gradient)`` in the place of gradient."""
    return fault(add=lambda self, parameter, gradient: Affine.add(self, parameter, change(self, parameter, gradient)))


def returns(change):
    """Return an Affine whose backward returns ``change(self, dx, dy, x)`` in the place of dx."""
    return fault(backward=lambda self, dy, x: change(self, Affine.backward(self, dy, x), dy, x))


AFFINE_FAULTS = {
    "missing": fault(add=lambda self, parameter, g: parameter is self.weight and Affine.add(self, parameter, g)),
    "overwritten": fault(add=lambda self, parameter, g: setattr(parameter, "grad", g)),
    "dropped bias": adds(lambda self, parameter, g: g * (parameter is self.weight)),
    "transposed gradient": adds(lambda self, parameter, g: g.T),
    "transposed weight": returns(lambda self, dx, dy, x: dy @ self.weight.value),
    "off by a millionth": returns(lambda self, dx, dy, x: dx * (1 + 1e-6)),
    "writes to cache": returns(lambda self, dx, dy, x: dx + 0 * np.multiply(x, 0.5, out=x)),
    "writes to dy": returns(lambda self, dx, dy, x: dx + 0 * np.multiply(dy, 2, out=dy)),
    "float32": returns(lambda self, dx, dy, x: dx.astype(np.float32)),
    "wrong shape": returns(lambda self, dx, dy, x: dx.sum(axis=0)),
    "not finite": returns(lambda self, dx, dy, x: np.where(np.arange(dx.size).reshape(dx.shape), dx, np.nan)),
    "wrong axis": adds(lambda self, parameter, g: g[::-1]),
    "one of many": adds(lambda self, parameter, g: np.where(np.arange(g.size).reshape(g.shape) == 3, 1.001 * g, g)),
    "writes to x": WritesToInput,
    "writes to weight": WritesToWeight,
    "hides its cache": HidesItsCache,
    "consumes its cache": ConsumesItsCache,
    "second backward differs": SecondBackwardDiffers,
    "random forward": RandomForward,
    "other parameter pass": OtherParameterPass,
}


@pytest.mark.parametrize("elements", [0, 200])
@pytest.mark.parametrize("fault", AFFINE_FAULTS.values(), ids=AFFINE_FAULTS)
def test_planted_fault_in_an_affine_layer_is_caught(fault, elements):
    for seed in range(3):
        layer = fault()
        x = np.random.default_rng(seed).standard_normal((5, len(layer.bias.value)))
        report = gradcheck.check(layer, x, seed=seed, elements=elements)
        assert not report.passed, f"seed {seed}:\n{report}"
        assert not report
        assert report.starts == ("",)
        with pytest.raises(AssertionError, match="FAILED"):
            report.raise_if_failed()


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        ("missing", "bias got none"),
        *((f"writes to {name}", f"it writes to {name}") for name in ("cache", "dy", "x", "weight")),
        ("second backward differs", "a second call with the same cache differs"),
        ("random forward", "a second call with the same input differs"),
        ("other parameter pass", "it differs for weight"),
        ("overwritten", "two calls do not add up for weight, bias"),
        ("float32", r"dx must be an array of shape \(5, 5\) and dtype float64, got .* float32"),
        ("wrong shape", r"dx must be an array of shape \(5, 5\) .*, got an array of shape \(5,\)"),
    ],
)
def test_broken_side_condition_is_named(fault, what):
    report = gradcheck.check(AFFINE_FAULTS[fault](), np.random.default_rng(0).standard_normal((5, 5)))
    assert any(row.error is None for row in report.failures)
    with pytest.raises(AssertionError, match=what):
        report.raise_if_failed()


@pytest.mark.parametrize("wrap", [lambda a: (1, [a]), lambda a: {"x": a}, lambda a: SimpleNamespace(x=a)])
def test_writing_to_a_cache_is_seen_whatever_it_lies_in(wrap):
    class Writes(Affine):
        def forward(self, x, *, training=False):
            return super().forward(x)[0], (wrap(x.copy()), x)

        def backward(self, dy, cache):
            wrapped, x = cache
            held = (
                wrapped.x if isinstance(wrapped, SimpleNamespace) else wrapped["x"] if "x" in wrapped else wrapped[1][0]
            )
            held += 1  # which changes no result
            return super().backward(dy, x)

    report = gradcheck.check(Writes(), np.random.default_rng(0).standard_normal((5, 5)))
    assert [row.note for row in report.failures] == ["it writes to cache"]


def test_gradient_of_a_frozen_parameter_is_named():
    layer, good = fault(add=lambda self, parameter, gradient: parameter.add_grad(gradient))(), Affine()
    layer.bias.trainable = good.bias.trainable = False
    x = np.random.default_rng(0).standard_normal((5, 5))
    assert "bias got one, though not trained" in str(gradcheck.check(layer, x))
    report = gradcheck.check(good, x)
    assert report.passed
    assert not any(row.what == "bias" for row in report.rows)


def wrong(layer_class, backward):
    """Return a subclass of `layer_class` with another backward(self, dy, cache)."""
    return type(f"Wrong{layer_class.__name__}", (layer_class,), {"backward": backward})


def conv(**keywords):
    return Conv2D(3, 3, 3, rng=np.random.default_rng(2), dtype=F8, **keywords)


@pytest.mark.parametrize("seed", range(50))
def test_correct_layers_are_never_flagged(seed):
    rng = np.random.default_rng(seed)
    images = rng.standard_normal((2, 5, 5, 3))
    rows = rng.standard_normal((4, 5))
    pictures = rng.integers(0, 3, (2, 4, 4, 3)).astype(F8)  # zeros and ties everywhere
    net = Sequential(
        Conv2D(3, 4, 3, rng=rng, dtype=F8),
        ReLU(),
        Skip(Sequential(Conv2D(4, 4, 3, rng=rng, dtype=F8), ReLU()), scale=0.5),
    )
    for layer, x in [
        (Affine(), rows),
        (Linear(5, 3, rng=rng, dtype=F8), rows),
        (Conv2D(3, 2, 3, stride=2, rng=rng, dtype=F8), images),
        (ELU(alpha=0.5), images),
        (ReLU(), images),
        (ReLU(), pictures),
        (MeanPool2D(2), images),
        (MaxPool2D(2), images),
        (MaxPool2D(3, stride=1), pictures),
        (GlobalAveragePool2D(), images),
        (net, images),
        (net, pictures),
    ]:
        gradcheck.check(layer, x, seed=seed, elements=60).raise_if_failed()


class TestKinks:
    def test_relu_at_zero_is_named_with_its_place_and_one_sided_slopes(self):
        x = np.array([[1.0, 0.0, -2.0]])
        report = gradcheck.check(ReLU(), x)
        assert report.passed
        assert {row.check for row in report.kinks} == {"direction", "elements"}
        note = next(row.note for row in report.kinks if row.check == "elements")
        assert note.startswith("1 of 3 at a kink: [0, 1] left 0, right ")
        assert "ReLU output [0, 1]" in note
        assert "1 with kinks" not in str(gradcheck.check(ReLU(), x + 0.5))
        assert "2 with kinks" in str(report)

    def test_tie_in_max_pooling_is_named(self):
        x = np.arange(16.0).reshape(1, 4, 4, 1)
        x[0, 0, 0, 0] = x[0, 1, 1, 0] = 9.0
        report = gradcheck.check(MaxPool2D(2), x)
        assert report.passed
        note = next(row.note for row in report.kinks if row.check == "elements")
        assert note.startswith("2 of 16 at a kink: [0, 0, 0, 0] left")
        assert "[0, 1, 1, 0] left" in note
        assert "MaxPool2D output [0, 0, 0, 0]" in note

    def test_kink_inside_a_network_is_named_by_the_layers_path(self):
        net = Sequential(Linear(3, 3, rng=np.random.default_rng(0), dtype=F8), Sequential(ELU(), ReLU()))
        x = np.random.default_rng(1).standard_normal((2, 3))
        x[1] = 0.0  # with the biases at 0, this row is at the kink
        report = gradcheck.check(net, x)
        assert report.passed
        assert report.kinks
        assert all("1.1 ReLU output [1, " in row.note for row in report.kinks)

    def test_kinks_do_not_hide_an_error_elsewhere(self):
        layer = wrong(ReLU, lambda self, dy, cache: ReLU.backward(self, dy, cache) * (1 + 1e-6))()
        for seed in range(20):
            x = np.random.default_rng(seed).integers(-2, 3, (4, 5)).astype(F8)
            report = gradcheck.check(layer, x, seed=seed, elements=0)
            assert not report.passed
            assert not any(row.note for row in report.failures)
            assert not gradcheck.check(layer, x, seed=seed).passed

    def test_kinks_do_not_hide_an_error_at_the_kink(self):
        class Remembers(ReLU):
            def forward(self, x, *, training=False):
                return np.maximum(x, 0), {"x": x}

            def backward(self, dy, cache):
                return dy * ((cache["x"] > 0) + 17.0 * (cache["x"] == 0))

        for seed in range(20):
            report = gradcheck.check(Remembers(), np.array([[0.0, 1.0, -1.0]]), seed=seed)
            assert [row.check for row in report.failures] == ["direction", "elements"]

    def test_error_at_a_smooth_point_is_no_kink(self):
        class WrongAtZero(ELU):
            def backward(self, dy, cache):
                return ELU.backward(self, dy, cache) * (cache != 0)

        for seed in range(20):
            report = gradcheck.check(WrongAtZero(), np.array([[0.0, 1.0, -1.0, 2.0]]), seed=seed)
            assert not report.passed
            assert not report.kinks

    def test_a_jump_is_no_kink(self):
        class Step(Layer):
            def forward(self, x, *, training=False):
                return (x > 0).astype(x.dtype), x

            def backward(self, dy, cache):
                return np.zeros_like(dy)

        assert gradcheck.check(Step(), np.array([[0.5, -0.5]])).passed
        assert any(row.status == "kink" for row in gradcheck.check(Step(), np.array([[0.0, -0.5]])).rows)


class TestNetworks:
    @pytest.fixture
    def net(self):
        rng = np.random.default_rng(0)
        return Sequential(
            Conv2D(2, 3, 3, rng=rng, dtype=F8),
            ELU(),
            Skip(Sequential(Conv2D(3, 3, 3, rng=rng, dtype=F8), ELU()), scale=0.8),
            Conv2D(3, 2, 1, rng=rng, dtype=F8),
            GlobalAveragePool2D(),
        )

    x = np.random.default_rng(1).standard_normal((1, 4, 4, 2))

    def test_correct_network_passes_without_a_row_for_nested_layers(self, net):
        report = gradcheck.check(net, self.x, elements=20)
        assert report.passed
        assert {row.path for row in report.rows} == {""}
        assert "2.body.0.weight" in [row.what for row in report.rows]
        assert max(row.error for row in report.rows if row.error is not None) < 1e-7

    def test_departure_starts_at_the_dilated_gradient(self, net):
        net[2].in_forward = False
        report = gradcheck.check(net, self.x, elements=50)
        assert report.starts == ("2",)
        assert [row.path for row in report.rows if row.path and row.check == "elements"] == ["2"]
        assert str(report).endswith("The departure starts in 2 Skip.")

    def test_departure_starts_in_nested_layers_and_in_those_whose_paths_begin_alike(self, net):
        wrong_elu = wrong(ELU, lambda self, dy, cache: 2 * ELU.backward(self, dy, cache))
        net[2].body.layers[1] = wrong_elu()
        assert gradcheck.check(net, self.x, elements=20).starts == ("2.body.1",)
        row = Sequential(ELU(), wrong_elu(), *(ELU() for _ in range(8)), wrong_elu())
        assert gradcheck.check(row, np.array([[0.5, -1.0]])).starts == ("1", "10")

    def test_departure_starts_at_a_rule(self, net):
        with override_backward(net, {"1": guided}):
            assert gradcheck.check(net, self.x, elements=20).starts == ("1",)
        assert gradcheck.check(net, self.x, elements=20).passed

    def test_departure_starts_at_the_container_that_is_wrong_itself(self, net):
        net.layers[2] = wrong(Skip, lambda self, dy, cache: dy + self.body.backward(dy, cache[0]))(
            net[2].body, scale=0.8
        )
        assert gradcheck.check(net, self.x, elements=20).starts == ("2",)

    def test_parameters_get_rows_where_the_joint_direction_fails(self, net):
        whole = gradcheck.check(net, self.x, separate=False, elements=0)
        assert [row.what for row in whole.rows if row.error is not None] == ["all parameters", "x"]
        net.layers[3] = wrong(Conv2D, lambda self, dy, cache: 1.1 * Conv2D.backward(self, dy, cache))(3, 2, 1, dtype=F8)
        names = [row.what for row in gradcheck.check(net, self.x, separate=False, elements=0).rows if not row.path]
        assert {"0.weight", "3.bias"} <= set(names)

    def test_everything_is_put_back(self, net):
        for p in net.parameters():
            p.grad = np.full(p.value.shape, 3.0)
        before = self.x.copy()
        with unchanged(net):
            gradcheck.compare(net, self.x, {ELU: guided})
            gradcheck.check(net[2], np.ones((1, 4, 4, 3)))
            gradcheck.check(net, self.x, elements=20)
        net[2].in_forward = False
        with unchanged(net):
            gradcheck.check(net, self.x, elements=20)
        np.testing.assert_array_equal(self.x, before)

    def test_everything_is_put_back_after_an_error(self, net):
        net.layers[1] = wrong(ELU, lambda self, dy, cache: 1 / 0)()
        with unchanged(net), pytest.raises(ZeroDivisionError):
            gradcheck.check(net, self.x, elements=20)


class Noise(Layer):
    """Adds a running count to a parameter and random factors to the input, as BatchNorm and Dropout do in training."""

    def __init__(self):
        self.rng = np.random.default_rng(0)
        self.passes = []
        self.count = Parameter(np.zeros(1), trainable=False)

    def forward(self, x, *, training=False):
        if not training:
            return x * (1 + self.count.value), np.full_like(x, 1 + self.count.value[0])
        self.count.value += 1
        self.passes.append("once")
        mask = self.rng.random(x.shape) + len(self.passes)
        return x * mask, mask

    def backward(self, dy, cache):
        return dy * cache

    def state(self):
        return {"rng": self.rng.bit_generator.state, "passes": self.passes}  # a live list, which forward appends to

    def load_state(self, state):
        self.rng.bit_generator.state, self.passes = state["rng"], state["passes"]


@pytest.mark.parametrize("training", [False, True])
def test_random_layers_and_running_statistics_start_afresh_for_every_pass(training):
    net = Sequential(Affine(), Noise())
    state = copy.deepcopy(net[1].state())
    report = gradcheck.check(net, np.random.default_rng(0).standard_normal((3, 5)), training=training)
    report.raise_if_failed()
    assert net[1].count.value == 0
    assert net[1].state() == state


class TestNumbers:
    """The checker's own numbers, computed by hand."""

    class Cube(Layer):
        def forward(self, x, *, training=False):
            return x**3, x

        def backward(self, dy, cache):
            return 3 * cache**2 * dy

    def point(self, layer, x, g):
        x, g = np.array(x, F8), np.array(g, F8)
        arrays = {INPUT: x} | {name: p.value.copy() for name, p in layer.named_parameters()}
        return Point(layer, arrays, Snapshot(layer), np.random.default_rng(0), training=False, upstream=g)

    def test_the_best_step_is_the_one_reported(self):
        found = self.point(self.Cube(), [1], [2]).difference({INPUT: np.array([1.0])}, (0.1, 0.01, 0.02))
        assert found.step == 0.01
        assert found.error == pytest.approx(2e-4 / 6.0002)

    def test_a_direction_whose_terms_cancel_is_measured_by_their_norm(self):
        # grad F = (3, 3), d = (1, -1 + 1e-3): <grad F, d> = 0.003, while |grad F| |d| / sqrt 2 is about 4.24.
        d = np.array([1.0, -1 + 1e-3])
        point = self.point(self.Cube(), [1, 1], [1, 1])
        point.gradients[INPUT] = point.gradients[INPUT] * np.array([1, 1.001])
        found = point.difference({INPUT: d})
        typical = np.hypot(3, 3.003) * np.hypot(*d) / np.sqrt(2)
        assert found.error == pytest.approx(0.003 * (1 - 1e-3) / typical, rel=1e-5)

    def test_directions_whose_terms_cancel_are_not_drawn(self):
        point = self.point(self.Cube(), [1, 1, 2], [1, -1, 1])
        for _ in range(100):
            d = point.direction(INPUT)
            assert abs(point.slope(d)) >= point.typical_slope(d) / 2
            assert d[INPUT].shape == (3,)

    @given(st.floats(0.1, 10.0))
    @settings(max_examples=50, deadline=None)
    def test_factor_shows_as_the_relative_error(self, factor):
        layer = wrong(ELU, lambda self, dy, cache: factor * ELU.backward(self, dy, cache))()
        report = gradcheck.check(layer, np.array([[-0.7]]))
        expected = abs(factor - 1) / max(factor, 1)
        if expected > 1e-6:
            row = next(row for row in report.failures if row.check == "elements")
            assert row.error == pytest.approx(expected, rel=1e-4, abs=1e-9)
            assert f"backward / numeric {factor:.4f}" in row.note

    def test_adjoint_identity_is_exact_where_the_layer_is_affine(self):
        rng = np.random.default_rng(0)
        rows = gradcheck.check(conv(stride=2), rng.standard_normal((2, 5, 5, 3))).rows
        adjoint = {row.what: row.error for row in rows if row.check == "adjoint"}
        assert set(adjoint) == {"x", "weight", "bias"}
        assert max(adjoint.values()) < 1e-12
        assert not any(row.check == "adjoint" for row in gradcheck.check(ELU(), rng.standard_normal((9, 9))).rows)

    def test_odd_function_is_not_taken_for_an_affine_one(self):
        class Odd(Layer):
            def forward(self, x, *, training=False):
                return x + x**3, x

            def backward(self, dy, cache):
                return (1 + 3 * cache**2) * dy

        report = gradcheck.check(Odd(), np.zeros((2, 3)))
        assert report.passed
        assert not any(row.check == "adjoint" for row in report.rows)

    def test_adjoint_identity_catches_what_differences_cannot_see(self):
        layer = wrong(Affine, lambda self, dy, cache: Affine.backward(self, dy, cache) * (1 + 1e-8))()
        report = gradcheck.check(layer, np.random.default_rng(0).standard_normal((5, 5)))
        assert [(row.what, row.check) for row in report.failures] == [("x", "adjoint")]

    def test_a_gradient_of_zero_is_not_measured_against_rounding(self):
        class Centre(Layer):  # subtracts the mean of the batch: a bias before it has no effect
            def forward(self, x, *, training=False):
                return x - x.mean(axis=0), None

            def backward(self, dy, cache):
                return dy - dy.mean(axis=0)

        for seed in range(20):
            x = 10 + np.random.default_rng(seed).standard_normal((7, 5))
            gradcheck.check(Sequential(Affine(), Centre()), x, seed=seed).raise_if_failed()

    def test_the_same_seed_gives_the_same_report(self):
        x = np.random.default_rng(0).standard_normal((3, 5))
        assert str(gradcheck.check(Affine(), x, seed=3)) == str(gradcheck.check(Affine(), x, seed=3))
        assert gradcheck.check(Affine(), x, seed=3).rows != gradcheck.check(Affine(), x, seed=4).rows


class TestLosses:
    scores = np.random.default_rng(0).standard_normal((4, 5))

    @pytest.mark.parametrize("seed", range(5))
    def test_correct_losses_pass(self, seed):
        gradcheck.check_loss(SoftmaxCrossEntropy(), self.scores, np.array([0, 4, 2, 2]), seed=seed).raise_if_failed()
        gradcheck.check_loss(MeanSquaredError(), self.scores, np.zeros((4, 5)), seed=seed).raise_if_failed()

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda gradient: gradient * 4,  # the mean forgotten
            lambda gradient: -gradient,
            lambda gradient: gradient + 1e-6,
            lambda gradient: gradient - gradient.mean(axis=0),
            lambda gradient: gradient[:, ::-1],
        ],
    )
    def test_wrong_gradient_is_caught(self, spoil):
        def loss(scores, target):
            value, gradient = SoftmaxCrossEntropy()(scores, target)
            return value, spoil(gradient)

        assert not gradcheck.check_loss(loss, self.scores, np.array([0, 4, 2, 2])).passed

    def test_squared_gradient_as_value_is_caught(self):
        def loss(scores, target):
            gradient = MeanSquaredError()(scores, target)[1]
            return float(np.sum(gradient**2)), gradient

        assert not gradcheck.check_loss(loss, self.scores, np.zeros((4, 5))).passed

    def test_writing_to_scores_or_target_is_caught(self):
        def spoils(which):
            def loss(scores, target):
                value, gradient = MeanSquaredError()(scores, target)
                (scores if which else target)[0, 0] += 1
                return value, gradient

            return loss

        assert "it writes to x" in str(gradcheck.check_loss(spoils(True), self.scores, np.zeros((4, 5))))
        assert "it writes to target" in str(gradcheck.check_loss(spoils(False), self.scores, np.zeros((4, 5))))


class TestCompare:
    def test_numbers_of_a_guided_relu_by_hand(self):
        x = np.array([[1.0, -1.0, 2.0, 3.0]])
        (row,) = gradcheck.compare(ReLU(), x, {ReLU: guided}, seed=5).rows
        dy = np.random.default_rng(5).standard_normal((1, 4))
        true, ruled = dy * [[1, 0, 1, 1]], np.maximum(dy, 0) * [[1, 0, 1, 1]]
        assert row.cosine == pytest.approx(np.sum(true * ruled) / np.linalg.norm(true) / np.linalg.norm(ruled))
        assert row.ratio == pytest.approx(np.linalg.norm(ruled) / np.linalg.norm(true))
        assert (row.path, row.layer, row.rule, row.what, row.same) == ("", "ReLU", "guided", "input", False)

    def test_departure_starts_where_the_rule_is(self):
        net = Sequential(Affine(seed=1), ELU(), Affine(seed=2), Skip(ELU()), Affine(seed=3))
        x = np.random.default_rng(0).standard_normal((6, 5))
        comparison = gradcheck.compare(net, x, {"1": lambda layer, dy, cache: 0.5 * layer.backward(dy, cache)})
        assert comparison.start == "1"
        rows = {(row.path, row.what): row for row in comparison.rows}
        for path in ("4", "3", "3.body", "2"):
            assert rows[path, "input"].same
            assert rows[path, "input"].cosine == pytest.approx(1.0)
        assert rows["2", "weight"].same
        for key in (("1", "input"), ("0", "weight"), ("0", "bias"), ("0", "input"), ("", "input")):
            assert not rows[key].same
            assert rows[key].cosine == pytest.approx(1.0)
            assert rows[key].ratio == pytest.approx(0.5)
        text = str(comparison)
        assert "the departure starts at 1 ELU" in text
        assert text.count("<- departs here") == 1
        assert [row.path for row in comparison.rows if row.what == "input"] == ["4", "3.body", "3", "2", "1", "0", ""]

    def test_rule_that_changes_nothing_departs_nowhere(self):
        net = Sequential(Affine(), ELU())
        comparison = gradcheck.compare(
            net, np.ones((2, 5)), {ELU: lambda layer, dy, cache: layer.backward(dy, cache)}, seed=1
        )
        assert comparison.start is None
        assert "no gradient departs" in str(comparison)

    def test_layers_that_the_rule_cuts_off_are_there_as_nan(self):
        net = Sequential(Affine(), Skip(ELU()))
        rows = gradcheck.compare(net, np.ones((2, 5)), {Skip: lambda layer, dy, cache: np.zeros_like(dy)}).rows
        cut = {(row.path, row.what): row for row in rows}
        assert np.isnan(cut["1.body", "input"].cosine)
        assert cut["1", "input"].ratio == 0
        assert np.isnan(cut["1", "input"].cosine)
        assert not cut["1", "input"].same

    def test_layer_used_twice_has_two_rows(self):
        shared = ELU()
        net = Sequential(shared, Affine(), shared)
        rows = gradcheck.compare(net, np.ones((2, 5)), {"1": guided}).rows
        assert [row.path for row in rows if row.what == "input"] == ["0", "1", "0", ""]
        assert [row.same for row in rows if row.path == "0"] == [True, False]

    def test_works_in_float32_and_inside_an_open_override(self):
        net = Sequential(Conv2D(3, 4, 3), ReLU())
        x = np.random.default_rng(0).standard_normal((2, 5, 5, 3)).astype(np.float32)
        alone = gradcheck.compare(net, x, {ReLU: guided})
        with override_backward(net, {ReLU: lambda layer, dy, cache: np.zeros_like(dy)}):
            assert gradcheck.compare(net, x, {ReLU: guided}) == alone
        assert alone.start == "1"

    def test_rules_that_match_nothing_are_refused(self):
        with pytest.raises(ValueError, match="rules must name layers of the model, got .*ELU.*, which matches none of"):
            gradcheck.compare(Sequential(Affine()), np.ones((2, 5)), {ELU: guided})


def test_report_prints_as_an_aligned_table():
    text = str(gradcheck.check(Affine(), np.random.default_rng(0).standard_normal((3, 5)), seed=2))
    title, head, line, *rows, note = text.splitlines()
    assert title == "gradient check of Affine at x (3, 5), seed 2: passed"
    assert head.split() == ["layer", "of", "check", "error", "h", "status"]
    assert set(line) == {"-"}
    assert len({row.rindex("ok") for row in rows}) == 1
    assert head.index("status") == rows[0].rindex("ok")
    assert note == "9 side conditions hold, such as arguments and caches left alone."
