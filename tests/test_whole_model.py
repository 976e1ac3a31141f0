"""Any layer may be the whole model, a public one or an author's own made of others, wherever a model is taken."""

import copy

import numpy as np
import pytest
from helpers.argument_rules import LayerRow
from helpers.registry import IMAGES, LAYERS, linear

import allconv as ac


class Block(ac.Layer):
    """An author's own layer made of others, in the shortest form."""

    def __init__(self):
        self.first, self.second = ac.Sequential(ac.Flatten(), linear(in_features=7 * 6 * 4)), ac.Skip(ac.ELU())

    def forward(self, x, *, training=False):
        h, first = self.first.forward(x, training=training)
        y, second = self.second.forward(h, training=training)
        return y, (first, second)

    def backward(self, dy, cache):
        first, second = cache
        return self.first.backward(self.second.backward(dy, second), first)

    def output_shape(self, in_shape):
        return self.first.output_shape(in_shape)


MODELS = LAYERS | {"Block": LayerRow(Block), "Skip of a Skip": LayerRow(lambda: ac.Skip(ac.Skip(ac.ELU())))}
every_model = pytest.mark.parametrize("case", MODELS.values(), ids=MODELS)


def batch(case):
    return np.random.default_rng(0).standard_normal(case.shape)


class Batches(ac.data.Loader):
    """The same batch in each of two steps, of any shape."""

    def __init__(self, x):
        self.x = x
        super().__init__(ac.data.Dataset(np.zeros((2 * len(x), 1, 1, 1), np.uint8), np.arange(2 * len(x)) % 2), len(x))

    def epoch(self, epoch, *, start=0):
        return iter([(self.x, np.arange(len(self.x)) % 2)] * (2 - start))


def loss(scores, labels):
    return float(scores.mean()), np.cos(np.arange(scores.size)).reshape(scores.shape).astype(scores.dtype)


def bits(model):
    return {path: p.value.tobytes() for path, p in model.named_parameters()} | {
        f"state of {path}": layer.state() for path, layer in model.named_layers() if layer.state()
    }


@every_model
@pytest.mark.parametrize("check_finite", [False, True])
def test_train(case, check_finite):
    model, x, spare = case.build(), batch(case), ac.Parameter(np.zeros(1))
    by_hand = copy.deepcopy(model)

    def with_spare(scores, labels):
        spare.grad = np.zeros(1)  # so that a model without parameters has something to train
        return loss(scores, labels)

    optimizer = ac.SGD([*model.parameters(), spare], 0.1)
    (record,) = ac.train(model, with_spare, optimizer, Batches(x), epochs=1, check_finite=check_finite)
    assert record.steps == 2
    for _ in range(2):
        y, cache = by_hand.forward(x, training=True)
        by_hand.backward(loss(y, None)[1], cache)
        for p in by_hand.parameters():
            if p.grad is not None:
                p.value = p.value - np.asarray(0.1, p.value.dtype) * p.grad
                p.grad = None
    for (path, p), q in zip(model.named_parameters(), by_hand.parameters(), strict=True):
        np.testing.assert_allclose(p.value, q.value, rtol=1e-12, atol=1e-14, err_msg=path)


@every_model
def test_evaluate_and_predict(case):
    model, x = case.build(), batch(case)
    y = model(x)
    np.testing.assert_allclose(ac.predict(model, x, batch_size=2), y, rtol=1e-12, atol=1e-14)
    assert ac.evaluate(model, loss, Batches(x)).loss == pytest.approx(float(y.mean()), rel=1e-12, abs=1e-14)


@every_model
def test_profile_and_statistics(case):
    model, x = case.build(), batch(case)
    before = bits(model)
    paths = [path for path, _ in model.leaves()]
    y = model(x)
    profile = ac.profile(model, x, runs=1)
    assert [row.path for row in profile.rows] == paths
    assert [row.path for row in ac.profile(model, x, runs=1, backward=False).rows] == paths
    rows = ac.layer_statistics(model, loss, x, np.zeros(len(x)))
    assert [row.path for row in rows] == paths
    assert model.side_by_side or rows[-1].channels == y.shape[-1]
    assert not any(np.isnan(row.gradient_rms) for row in rows)
    assert bits(model) == before
    assert all(p.grad is None for p in model.parameters())


@every_model
def test_summary(case):
    model = case.build()
    summary = model.summary(case.shape[1:])
    assert summary.rows[-1].output_shape == model.output_shape(case.shape[1:])
    assert sum(row.parameters for row in summary.rows) == summary.parameters
    assert any(line.split()[0] == "total" for line in str(summary).splitlines())


@every_model
def test_gradcheck(case):
    model, x = case.build(), batch(case)
    ac.gradcheck.check(model, x + np.copysign(0.05, x) if case.kinks else x).raise_if_failed()
    comparison = ac.gradcheck.compare(model, x, {"": ac.rules.scaled(0.5)})
    whole = [row for row in comparison.rows if (row.path, row.what) == ("", "input")]
    assert [row.ratio for row in whole] == [pytest.approx(0.5)]


@pytest.mark.parametrize("name", [name for name, case in MODELS.items() if case.shape == IMAGES])
def test_explain(name):
    model, x = MODELS[name].build(), batch(MODELS[name])
    found = ac.explain.saliency(model, x, 1)
    y, cache = model.forward(x)
    scores = y.reshape(len(y), -1, y.shape[-1])[:, :, 1]
    dy = np.zeros_like(y).reshape(len(y), -1, y.shape[-1])
    dy[np.arange(len(y)), scores.argmax(axis=1), 1] = 1
    assert found.tobytes() == model.backward(dy.reshape(y.shape), cache).tobytes()
    if any(isinstance(layer, ac.explain.RECTIFIERS) for layer in model.walk()):
        assert ac.explain.guided_backprop(model, x, 1).shape == x.shape
        assert ac.explain.deconvnet(model, x, 1).shape == x.shape


@every_model
def test_fuse(case):
    model, x = case.build(), batch(case)
    fused = ac.models.fuse(model)
    np.testing.assert_allclose(fused(x), model(x), rtol=1e-9, atol=1e-12)
    assert fused.summary(case.shape[1:]).rows[-1].output_shape == model.output_shape(case.shape[1:])


@every_model
def test_rules(case):
    model, x = case.build(), batch(case)
    with ac.rules.override_backward(model, {"": ac.rules.scaled(0.0)}):
        y, cache = model.forward(x)
        assert not model.backward(np.ones_like(y), cache, release=True).any()


def test_a_nan_that_a_layer_makes_of_its_layers_outputs_is_its_own():
    class Overflows(ac.Skip):
        def forward(self, x, *, training=False):
            y, cache = super().forward(x, training=training)
            return y / 0, cache

    model = ac.Sequential(ac.Linear(3, 3), Overflows(ac.ReLU()), ac.ELU())
    optimizer = ac.SGD(model.parameters(), 0.1)
    with np.errstate(all="ignore"):
        run = ac.train(model, loss, optimizer, Batches(np.ones((2, 3), np.float32)), epochs=1, check_finite=True)
        with pytest.raises(FloatingPointError, match=r"layer 1: Skip\(ReLU.*forward pass, epoch 0, step 0: the output"):
            next(run)
