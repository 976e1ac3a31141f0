"""The gradient check: what it must catch, and what it must not flag."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.gradient_faults import AFFINE_FAULTS, Affine, fault, wrong
from helpers.unchanged import unchanged

from allconv import (
    ELU,
    Conv2D,
    GlobalAveragePool2D,
    Layer,
    LayerNorm,
    Linear,
    MaxPool2D,
    MeanPool2D,
    Parameter,
    ReLU,
    Sequential,
    SiLU,
    Skip,
    Tanh,
    gradcheck,
)
from allconv.rules import guided, override_backward

F8 = np.float64


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

    def test_a_derivative_outside_the_slopes_on_the_two_sides_fails(self):
        class FourAtZero(ReLU):
            def forward(self, x, *, training=False):
                return np.maximum(x, 0), x

            def backward(self, dy, x):
                return dy * np.where(x == 0, 4.0, x > 0)

        for seed in range(20):
            x = np.random.default_rng(seed).integers(-1, 3, (6, 8)).astype(F8)
            report = gradcheck.check(FourAtZero(), x, seed=seed)
            assert "elements" in [row.check for row in report.failures]
            assert gradcheck.check(ReLU(), x, seed=seed).passed

    def test_a_gradient_for_both_of_two_equal_maxima_fails(self):
        class Twice(Layer):
            def forward(self, x, *, training=False):
                y = np.maximum(x[:, ::2], x[:, 1::2])
                return y, (x, y)

            def backward(self, dy, cache):
                x, y = cache
                dx = np.zeros_like(x)
                for k in range(2):
                    dx[:, k::2] = dy * (x[:, k::2] == y)
                return dx

        class First(Twice):
            def backward(self, dy, cache):
                dx = super().backward(dy, cache)
                dx[:, 1::2] *= dx[:, ::2] == 0
                return dx

        notes = []
        for seed in range(20):
            x = np.random.default_rng(seed).integers(0, 3, (6, 8)).astype(F8)
            for elements in (0, 200):
                report = gradcheck.check(Twice(), x, seed=seed, elements=elements)
                assert [row.check for row in report.failures] == ["direction"]
                notes.append(report.failures[0].note)
                assert gradcheck.check(First(), x, seed=seed, elements=elements).passed
        assert sum(note.startswith("all elements moved alike, beside a kink: Twice output [") for note in notes) > 20

    def test_kinks_that_cancel_in_the_output_of_a_network_are_no_failure(self):
        rng = np.random.default_rng(0)
        for seed in range(20):
            net = Sequential(Linear(4, 8, rng=rng, dtype=F8), ReLU(), Linear(8, 2, rng=rng, dtype=F8))
            assert gradcheck.check(net, np.zeros((3, 4)), seed=seed).kinks

    def test_a_second_derivative_that_jumps_is_no_failure(self):
        for seed in range(20):
            report = gradcheck.check(ELU(), np.random.default_rng(seed).integers(-1, 2, (4, 5)).astype(F8), seed=seed)
            assert report.passed
            assert not report.kinks

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


class TestOutliers:
    """An element that is far larger than the others does not set the step of the others."""

    @pytest.mark.parametrize("outlier", [1e3, 1e5, 1e6, 1e8])
    @pytest.mark.parametrize("layer", [Tanh(), SiLU(), LayerNorm(8, dtype=F8)])
    def test_smooth_layers_are_smooth_beside_one(self, layer, outlier):
        points = (np.random.default_rng(0).standard_normal((6, 8)), np.zeros((6, 8)), np.arange(48.0).reshape(6, 8) % 3)
        for x in points:
            x[2, 3] = outlier
            report = gradcheck.check(layer, x)
            assert report.passed
            assert not report.kinks

    def test_kinks_and_mistakes_are_found_beside_one(self):
        x = np.random.default_rng(0).standard_normal((6, 8))
        x[2, 3], x[4, 5] = 1e6, 0
        report = gradcheck.check(ReLU(), x)
        assert report.passed
        assert report.kinks
        assert all("ReLU output [4, 5]" in row.note for row in report.kinks)
        faulty = wrong(Tanh, lambda self, dy, cache: 1.001 * Tanh.backward(self, dy, cache))()
        assert [row.check for row in gradcheck.check(faulty, x).failures] == ["direction", "elements"]

    def test_mistakes_in_elements_near_zero_are_found(self):
        x = np.random.default_rng(0).standard_normal((6, 8))
        x[:4] = 1e-12
        faulty = wrong(ReLU, lambda self, dy, cache: ReLU.backward(self, dy, cache) * np.where(x == 1e-12, 1.001, 1))()
        assert [row.check for row in gradcheck.check(faulty, x).failures] == ["direction", "elements"]
        assert gradcheck.check(Tanh(), x).passed


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


def test_a_backward_pass_that_returns_nothing_is_reported():
    class Silent(Layer):
        def forward(self, x, *, training=False):
            return 2 * x, None

        def backward(self, dy, cache):
            2 * dy

    report = gradcheck.check(Silent(), np.ones((2, 3)))
    assert not report.passed
    assert "dx must be an array of shape (2, 3) and dtype float64, got None" in str(report)


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
