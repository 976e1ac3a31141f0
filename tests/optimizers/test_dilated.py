"""The article's optimizer: AMSGrad and the scales of the shortcuts."""

import numpy as np
import pytest

from allconv import ELU, AMSGrad, DilatedAMSGrad, Linear, Sequential, Skip


def _model():
    rng = np.random.default_rng(3)
    inner = Sequential(Linear(4, 4, rng=rng), Skip(ELU(), scale=0.3))
    return Sequential(Linear(6, 4, rng=rng), Skip(inner, scale=0.8), Skip(ELU()), Linear(4, 2, rng=rng))


def _skips(model):
    return [layer for layer in model.walk() if isinstance(layer, Skip)]


def test_the_scales_fade_with_the_epochs_nested_ones_too():
    model = _model()
    optimizer = DilatedAMSGrad(model)
    assert [skip.scale for skip in _skips(model)] == [0.8, 0.3, 1.0]  # as they were, before the first epoch
    for epoch in range(21):
        optimizer.start_epoch(epoch)
        assert [skip.scale for skip in _skips(model)] == 3 * [0.8 / (1 + epoch)]
    assert type(_skips(model)[0].scale) is float


def test_the_initial_scale():
    model = _model()
    optimizer = DilatedAMSGrad(model, initial_scale=0.5)
    optimizer.start_epoch(1)
    assert _skips(model)[0].scale == 0.25
    optimizer.initial_scale = 0.25
    optimizer.start_epoch(1)
    assert _skips(model)[0].scale == 0.125


def test_the_steps_are_amsgrads():
    options = {"betas": (0.9, 0.9), "bias_correction": "none", "maximum": "tensor", "weight_decay": 0.01, "eps": 1e-6}
    results = []
    for make in (
        lambda model: DilatedAMSGrad(model, 0.01, **options),
        lambda m: AMSGrad(m.parameters(), 0.01, **options),
    ):
        model = _model()
        optimizer = make(model)
        for t in range(3):
            optimizer.start_epoch(t)
            for p in model.parameters():
                p.add_grad(np.sin(p.value + t))
            optimizer.step()
        results.append([p.value for p in model.parameters()] + list(optimizer.state().values()))
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("epoch", [-1, 0.5, None, "1", True, float("nan")])
def test_a_bad_epoch_changes_no_scale(epoch):
    model = _model()
    optimizer = DilatedAMSGrad(model)
    with pytest.raises((TypeError, ValueError), match="epoch must be a non-negative int, got "):
        optimizer.start_epoch(epoch)
    assert [skip.scale for skip in _skips(model)] == [0.8, 0.3, 1.0]


@pytest.mark.parametrize("bad", [{"learning_rate": -1}, {"maximum": "Tensor"}, {"initial_scale": float("nan")}])
def test_a_bad_argument_changes_no_scale(bad):
    model = _model()
    with pytest.raises(ValueError, match="must be"):
        DilatedAMSGrad(model, **bad)
    assert [skip.scale for skip in _skips(model)] == [0.8, 0.3, 1.0]
