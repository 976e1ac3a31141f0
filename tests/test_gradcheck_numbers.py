"""The numbers of the gradient check against those computed by hand, losses, and two backward passes compared."""

import copy
import math

import numpy as np
import pytest
from helpers.gradient_faults import Affine, wrong
from hypothesis import given, settings
from hypothesis import strategies as st

from allconv import ELU, Conv2D, Layer, MeanSquaredError, ReLU, Sequential, Skip, SoftmaxCrossEntropy, gradcheck
from allconv.gradcheck.point import INPUT, Point
from allconv.layers.snapshot import Snapshot
from allconv.rules import guided, override_backward

F8 = np.float64


def conv(**keywords):
    return Conv2D(3, 3, 3, rng=np.random.default_rng(2), dtype=F8, **keywords)


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

    @pytest.mark.parametrize("fault", [False, True])
    @pytest.mark.parametrize(
        ("target", "array_of"),
        [
            (np.array([[1.0, np.nan, 2.0]]), lambda target: target),
            ((np.zeros((1, 3)), np.full((1, 3), np.nan)), lambda target: target[0]),
            ({"rows": [np.zeros((1, 3))], "nothing": np.nan, "name": "a"}, lambda target: target["rows"][0]),
            ([[0.0, 1.0, math.nan]], lambda target: target[0]),
        ],
    )
    def test_a_target_is_any_object(self, target, array_of, fault):
        target = copy.deepcopy(target)

        def loss(scores, target):
            if fault:
                array_of(target)[0] += 1
            return float(np.sum(scores**2)), 2 * scores

        report = gradcheck.check_loss(loss, self.scores, target)
        assert [row.note for row in report.failures] == ["it writes to target"] * fault

    @pytest.mark.parametrize("value", [np.ones(4), np.ones(1), "0.5", None, 1j])
    def test_a_value_that_is_no_number_is_refused(self, value):
        with pytest.raises(TypeError, match="loss must return a number as its value, got "):
            gradcheck.check_loss(lambda scores, target: (value, scores), self.scores, None)

    def test_a_loss_for_each_example_is_refused(self):
        with pytest.raises(TypeError, match=r"number as its value, got an array of shape \(4,\).*reduction='none'"):
            gradcheck.check_loss(SoftmaxCrossEntropy(reduction="none"), self.scores, np.array([0, 4, 2, 2]))


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
