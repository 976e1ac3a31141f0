"""Backward rules: their values by hand, which layers a pattern reaches, and that everything is put back."""

from functools import partial

import numpy as np
import pytest
from helpers.registry import RULES

from allconv import ELU, Conv2D, Layer, Linear, ReLU, Sequential, Skip
from allconv.rules import active_rules, deconvnet, guided, override_backward, scaled, straight_through

F8 = np.float64
X = np.array([[1.0, -1.0, 2.0, -2.0, 0.0]])
DY = np.array([[3.0, 4.0, -5.0, -6.0, 7.0]])


def zero(layer, dy, cache):
    return np.zeros_like(dy)


def send_back(layer, rule=None, x=X, dy=DY):
    _, cache = layer.forward(x)
    if rule is None:
        return layer.backward(dy, cache)
    with override_backward(layer, {"": rule}):
        return layer.backward(dy, cache)


class TestValues:
    """The four cells of Springenberg et al., figure 1: forward input and incoming gradient, each of either sign."""

    def test_relu(self):
        np.testing.assert_array_equal(send_back(ReLU()), [[3, 0, -5, 0, 0]])
        np.testing.assert_array_equal(send_back(ReLU(), guided), [[3, 0, 0, 0, 0]])
        np.testing.assert_array_equal(send_back(ReLU(), deconvnet), [[3, 4, 0, 0, 7]])
        np.testing.assert_array_equal(send_back(ReLU(), straight_through), DY)
        np.testing.assert_array_equal(send_back(ReLU(), scaled(0.5)), [[1.5, 0, -2.5, 0, 0]])
        np.testing.assert_array_equal(send_back(ReLU(), scaled(-1)), [[-3, 0, 5, 0, 0]])

    def test_guided_elu_is_its_own_backward_where_the_gradient_is_positive(self):
        slope = np.where(X > 0, 1, np.exp(X))
        np.testing.assert_allclose(send_back(ELU(), guided), np.where(DY > 0, slope * DY, 0), rtol=1e-14)

    def test_rules_write_to_neither_argument(self):
        for rule in (guided, deconvnet, straight_through, scaled(2)):
            x, dy = X.copy(), DY.copy()
            _, cache = ReLU().forward(x)
            before = np.array(cache)
            rule(ReLU(), dy, cache)
            np.testing.assert_array_equal(dy, DY)
            np.testing.assert_array_equal(cache, before)

    @pytest.mark.parametrize("rule", [scaled(3.0), straight_through])
    def test_parameters_keep_their_own_gradients(self, rule):
        layer = Conv2D(2, 2, 3, rng=np.random.default_rng(0), dtype=F8)
        x, dy = np.random.default_rng(1).standard_normal((2, 2, 4, 4, 2))
        dx = send_back(layer, None, x, dy)
        weight, bias = layer.weight.grad, layer.bias.grad
        layer.weight.grad = layer.bias.grad = None
        ruled = send_back(layer, rule, x, dy)
        np.testing.assert_array_equal(layer.weight.grad, weight)
        np.testing.assert_array_equal(layer.bias.grad, bias)
        np.testing.assert_array_equal(ruled, dy if rule is straight_through else 3.0 * dx)

    def test_straight_through_needs_no_backward_of_the_layers_own(self):
        class Sign(Layer):
            def forward(self, x, *, training=False):
                return np.sign(x), None

        np.testing.assert_array_equal(send_back(Sign(), straight_through), DY)


class Leaky(ReLU):
    """A subclass, for the patterns."""


@pytest.fixture
def net():
    rng = np.random.default_rng(0)
    return Sequential(
        Linear(5, 5, rng=rng, dtype=F8),
        ReLU(),
        Skip(Sequential(Linear(5, 5, rng=rng, dtype=F8), Leaky()), scale=0.5),
        ELU(),
    )


class TestPatterns:
    def test_a_class_reaches_nested_layers_and_subclasses_and_a_path_one_layer(self, net):
        with override_backward(net, {ReLU: guided}):
            assert active_rules(net) == {"1": "guided", "2.body.1": "guided"}
        with override_backward(net, {"2.body.1": scaled(0.5)}):
            assert active_rules(net) == {"2.body.1": "scaled(0.5)"}

    def test_the_nearest_class_counts_and_a_path_goes_before_a_class(self, net):
        patterns = {Layer: zero, ReLU: guided, Leaky: deconvnet, "1": straight_through}
        for order in (list(patterns), list(patterns)[::-1]):
            with override_backward(net, {key: patterns[key] for key in order}):
                active = active_rules(net)
            assert active["1"] == "straight_through"
            assert active["2.body.1"] == "deconvnet"
            assert active["3"] == active["2"] == active[""] == "zero"

    def test_callables_without_a_name_are_listed_by_their_repr(self, net):
        rule = partial(zero)
        with override_backward(net, {ELU: rule}):
            assert active_rules(net) == {"3": repr(rule)}

    @pytest.mark.parametrize(
        ("patterns", "error", "message"),
        [
            (
                {Conv2D: guided},
                ValueError,
                r"rules must name layers of the model, got .*Conv2D.*, which matches none of",
            ),
            ({"7": guided}, ValueError, r"got '7', which matches none of .*'2\.body\.1' \(Leaky\)"),
            ({"2.body.weight": guided}, ValueError, "got '2.body.weight', which matches none"),
            ({ReLU: guided, "body": guided}, ValueError, "got 'body', which matches none"),
            ({}, ValueError, "rules must be a mapping of Layer classes or paths to rules, and not empty, got {}"),
            ([(ReLU, guided)], TypeError, "rules must be a mapping"),
            (guided, TypeError, "rules must be a mapping"),
            ({ReLU(): guided}, TypeError, r"rules must be keyed by Layer classes or paths, got ReLU\(\)"),
            ({int: guided}, TypeError, "rules must be keyed by Layer classes or paths, got <class 'int'>"),
            ({1: guided}, TypeError, "rules must be keyed by Layer classes or paths, got 1"),
            ({None: guided}, TypeError, "rules must be keyed by Layer classes or paths, got None"),
            ({ReLU: "guided"}, TypeError, r"rules must map to functions rule\(layer, dy, cache\) -> dx, got 'guided'"),
            ({ReLU: None}, TypeError, "rules must map to functions .*, got None"),
        ],
    )
    def test_bad_patterns_are_refused_before_anything_is_changed(self, net, patterns, error, message):
        with pytest.raises(error, match=message):
            override_backward(net, patterns)
        assert active_rules(net) == {}
        assert all("backward" not in vars(layer) for layer in net.walk())


class TestPuttingBack:
    def untouched(self, net):
        return all(not {"backward", "backward_parameters"} & set(vars(layer)) for layer in net.walk())

    def test_after_the_block(self, net):
        x, dy = np.random.default_rng(0).standard_normal((2, 3, 5))
        _, cache = net.forward(x)
        plain = net.backward(dy, cache)
        with override_backward(net, {ReLU: guided, ELU: scaled(2)}):
            assert not np.array_equal(net.backward(dy, cache), plain)
        np.testing.assert_array_equal(net.backward(dy, cache), plain)
        assert self.untouched(net)

    def test_nested_contexts_the_innermost_counts(self, net):
        with override_backward(net, {ReLU: guided}):
            with override_backward(net, {"1": zero, ELU: deconvnet}):
                assert active_rules(net) == {"1": "zero", "2.body.1": "guided", "3": "deconvnet"}
                np.testing.assert_array_equal(send_back(net[1]), np.zeros_like(X))
            assert active_rules(net) == {"1": "guided", "2.body.1": "guided"}
            np.testing.assert_array_equal(send_back(net[1]), [[3, 0, 0, 0, 0]])
        assert self.untouched(net)


class TestRunning:
    def test_the_first_layer_follows_its_rule_where_only_parameters_are_asked_for(self, net):
        def stop(layer, dy, cache):
            return np.zeros_like(dy)

        y, cache = net.forward(np.ones((2, 5)))
        with override_backward(net, {"0": stop}):
            net.backward_parameters(np.ones_like(y), cache)
        assert net[0].weight.grad is None
        assert net[2].body[0].weight.grad is not None

    def test_composites_follow_rules_with_and_without_release(self, net):
        x, dy = np.random.default_rng(0).standard_normal((2, 3, 5))
        _, cache = net.forward(x)
        with override_backward(net, {Skip: scaled(2.0)}):
            kept = net.backward(dy, cache)
            np.testing.assert_array_equal(net.backward(dy, cache, release=True), kept)

    def test_a_rule_that_returns_no_array_is_named(self, net):
        def forgets(layer, dy, cache):
            layer.backward(dy, cache)

        y, cache = net.forward(X)
        with (
            override_backward(net, {ELU: forgets}),
            pytest.raises(TypeError, match="rule forgets must return dL/dx as an array, got None"),
        ):
            net.backward(y, cache)

    @pytest.mark.parametrize("row", RULES.values(), ids=RULES)
    def test_every_public_rule_is_a_rule(self, net, row):
        y, cache = net.forward(X)
        with override_backward(net, {ELU: row.build()}):
            assert net.backward(np.ones_like(y), cache).shape == X.shape
