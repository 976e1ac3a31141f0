"""Layers made of layers: an author's own, what they hold and how they are listed."""

import numpy as np
import pytest

import allconv as ac

X = np.random.default_rng(0).standard_normal((4, 3))


def linear(out=3):
    return ac.Linear(3, out, dtype=np.float64, rng=np.random.default_rng(1))


class Doubled(ac.Layer):
    """One layer inside, written without `release`."""

    def __init__(self):
        self.inner = linear()

    def forward(self, x, *, training=False):
        y, cache = self.inner.forward(x, training=training)
        return 2 * y, cache

    def backward(self, dy, cache):
        return self.inner.backward(2 * dy, cache)


class Branches(ac.Layer):
    """Two layers side by side, which no row of layers is."""

    def __init__(self):
        self.left, self.right = linear(2), linear(4)

    def forward(self, x, *, training=False):
        (a, left), (b, right) = (branch.forward(x, training=training) for branch in (self.left, self.right))
        return np.concatenate([a, b], axis=1), (left, right)

    def backward(self, dy, cache):
        left, right = cache
        return self.left.backward(dy[:, :2].copy(), left) + self.right.backward(dy[:, 2:].copy(), right)

    def output_shape(self, in_shape):
        return (6,)

    def __repr__(self):
        return "Branches()"


class Gained(Doubled):
    """One layer inside, and a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.gain = ac.Parameter(np.ones(3))


class TestRelease:
    def test_a_backward_without_it_takes_it(self):
        layer = Doubled()
        y, cache = layer.forward(X)
        dx = layer.backward(y, cache)
        assert layer.backward(y, cache, release=True).tobytes() == dx.tobytes()
        layer.backward_parameters(y, cache, release=True)

    def test_a_backward_with_it_stays_itself(self):
        def backward(self, dy, cache, *, release=False):
            return dy

        def takes_all(self, dy, cache, **options):
            return dy

        for method in (backward, takes_all):
            assert vars(type("Mine", (ac.Layer,), {"backward": method}))["backward"] is method

    def test_a_mixins_backward_takes_it_too(self):
        class Mixin:
            def backward(self, dy, cache):
                return -dy

        class Mine(Mixin, ac.ReLU):
            pass

        np.testing.assert_array_equal(Mine().backward(X, X, release=True), -X)

    def test_what_is_no_function_is_left_alone(self):
        class Mine(ac.Layer):
            @staticmethod
            def backward(dy, cache, release=False):
                return dy

        assert Mine().backward(X, None, release=True) is X

    def test_a_skip_frees_its_caches_and_may_not_where_it_was_not_told(self):
        skip = ac.Skip(ac.Sequential(linear(), ac.Tanh()), shortcut=ac.Sequential(linear()))
        y, cache = skip.forward(X, training=True)
        body, beside, _ = cache
        skip.backward_parameters(y, cache)
        kept = [p.grad.copy() for p in skip.parameters()]
        assert (len(cache), len(body), len(beside)) == (3, 2, 1)
        for p in skip.parameters():
            p.grad = None
        skip.backward_parameters(y, cache, release=True)
        assert (cache, body, beside) == ([], [], [])
        assert [p.grad.tobytes() for p in skip.parameters()] == [grad.tobytes() for grad in kept]


class TestListing:
    def test_leaves_are_what_computes_in_each_of_its_places(self):
        shared = ac.ReLU()
        model = ac.Sequential(shared, ac.Skip(ac.Sequential(linear(), shared)), Doubled(), Gained())
        assert [path for path, _ in model.leaves()] == ["0", "1.body.0", "1.body.1", "2.inner", "3"]
        assert [path for path, _ in ac.ReLU().leaves()] == [""]

    def test_the_summary_lists_what_stands_in_a_row(self):
        summary = ac.Sequential(Doubled(), ac.ReLU()).summary((3,))
        assert [row.path for row in summary.rows] == ["0.inner", "1"]

    def test_the_summary_has_one_row_for_what_stands_side_by_side(self):
        (row, last) = ac.Sequential(Branches(), ac.Linear(6, 1)).summary((3,)).rows
        assert (row.path, row.layer, row.output_shape, row.parameters) == ("0", "Branches()", (6,), 8 + 16)
        assert last.output_shape == (1,)

    def test_the_summary_counts_parameters_of_a_layers_own(self):
        summary = Gained().summary((3,))
        assert [(row.path, row.parameters) for row in summary.rows] == [("", 15)]
        assert summary.parameters == 15

    def test_a_layer_of_ones_own_has_the_multiply_adds_of_what_it_holds(self):
        for layer, products in ((Doubled(), [9]), (Gained(), [9]), (ac.Skip(Doubled()), [9]), (Branches(), [0])):
            summary = ac.Sequential(linear(), layer).summary((3,))
            assert [row.multiply_adds for row in summary.rows] == [9, *products]
            assert summary.multiply_adds == 9 + sum(products)
            assert layer.multiply_adds((3,)) == sum(products)

    def test_a_layers_own_multiply_adds_count(self):
        class Twice(Doubled):
            def multiply_adds(self, in_shape):
                return 2 * super().multiply_adds(in_shape)

        assert ac.Sequential(Twice()).summary((3,)).multiply_adds == 18

    def test_a_shape_that_does_not_fit_is_refused(self):
        with pytest.raises(ValueError, match=r"in_shape must be \(3,\), got \(4,\)"):
            ac.Skip(linear()).summary((4,))


class TestHidden:
    def hide(self, value, **attributes):
        layer = ac.ReLU()
        vars(layer).update({"things": value} | attributes)
        return layer

    @pytest.mark.parametrize(
        "wrap", [lambda p: [p], lambda p: (1, p), lambda p: {"a": p}, lambda p: [[p]], lambda p: {"a": (0, p)}]
    )
    def test_what_a_container_holds_is_not_silently_left_out(self, wrap):
        for thing, right in (
            (ac.Tanh(), "a Layer, or children must yield what it holds"),
            (ac.Parameter(np.ones(2)), "a Parameter"),
        ):
            model = ac.Sequential(linear(), self.hide(wrap(thing)))
            with pytest.raises(TypeError, match=f"things must be {right}, to be trained and saved, got a .* in a ReLU"):
                model.parameters()

    def test_nothing_can_be_trained_or_saved_before_it_is_mended(self, tmp_path):
        model = self.hide([linear()])
        for use in (
            lambda: ac.SGD(model.parameters(), 0.1),
            lambda: ac.save_weights(model, tmp_path / "weights.npz"),
            lambda: list(model.walk()),
        ):
            with pytest.raises(TypeError, match="things must be a Layer, or children must yield what it holds"):
                use()

    def test_a_layer_that_children_yields_is_found(self):
        class Own(ac.Layer):
            def __init__(self):
                self.blocks = {"a": linear(), "b": linear()}

            def children(self):
                yield from self.blocks.items()

        assert [path for path, _ in Own().named_parameters()] == ["a.weight", "a.bias", "b.weight", "b.bias"]

    def test_a_second_mention_of_what_is_registered_is_no_fault(self):
        inner = linear()
        layer = self.hide([inner, inner.weight], inner=inner)
        assert [path for path, _ in layer.named_parameters()] == ["inner.weight", "inner.bias"]


class TestForgottenCache:
    class Forgets(ac.Layer):
        def forward(self, x, *, training=False):
            return x

    @pytest.mark.parametrize("rows", [1, 2, 3])  # two rows unpack like a pair
    def test_it_is_named_wherever_forward_is_called(self, rows):
        x, forgets = np.ones((rows, 3)), self.Forgets()
        nested = ac.Sequential(forgets), ac.Skip(forgets)
        observed = ac.observe(forgets, forward=lambda call, x: call(x))(lambda x: forgets(x))
        checked = lambda x: ac.gradcheck.check(forgets, x)  # noqa: E731
        for call in (observed, checked, forgets, *nested, *(layer.forward for layer in nested)):
            with pytest.raises(TypeError, match=r"forward must return \(y, cache\), got an array of .* from Forgets"):
                call(x)


def test_what_looks_at_a_part_leaves_the_names_that_the_whole_model_gave():
    model = ac.Sequential(ac.Linear(3, 3, dtype=np.float64), ac.Skip(ac.Linear(3, 3, dtype=np.float64)))
    names, x = [p.name for p in model.parameters()], np.ones((2, 3))
    assert names == ["0.weight", "0.bias", "1.body.weight", "1.body.bias"]

    def train():
        y, cache = model.forward(x, training=True)
        model.backward_parameters(np.ones_like(y), cache)

    def follow_a_rule():
        y, cache = model[0].forward(x)
        ac.rules.straight_through(model[0], np.ones_like(y), cache)

    part = model[1]
    calls = train, follow_a_rule, lambda: model.summary((3,)), lambda: ac.profile(model, x, runs=1)
    for call in (*calls, lambda: ac.profile(part, x, runs=1), part.is_trainable):
        call()
        values = [p for layer in model.walk() for p in vars(layer).values() if isinstance(p, ac.Parameter)]
        assert [p.name for p in values] == names
