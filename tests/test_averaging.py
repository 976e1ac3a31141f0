"""Averages of weights: their values, look-ahead and moving average in training, and a resume."""

import numpy as np
import pytest

import allconv as ac


def model(seed=0):
    rng = np.random.default_rng(seed)
    return ac.Sequential(
        ac.Flatten(), ac.Linear(3072, 8, rng=rng), ac.BatchNorm(8), ac.ReLU(), ac.Linear(8, 10, rng=rng)
    )


def set_all(net, number):
    for p in net.parameters():
        p.value = np.full(p.value.shape, number)


def test_the_averages_have_the_running_statistics_too():
    net = model()
    set_all(net, 1.0)
    averages = ac.AveragedWeights(net)
    set_all(net, 3.0)
    averages.update(0.75)
    assert averages.values.keys() == {name for name, _ in net.named_parameters()} >= {"2.running_mean", "2.running_var"}
    assert all((value == 1.5).all() for value in averages.values.values())
    with averages.in_model():
        assert all((p.value == 1.5).all() for p in net.parameters())
    assert all((p.value == 3.0).all() for p in net.parameters())
    averages.copy_to_model()
    set_all(net, 2.0)
    assert all((value == 1.5).all() for value in averages.values.values())  # the model has a copy


def test_an_error_within_the_block_gives_the_weights_back():
    net = model()
    averages = ac.AveragedWeights(net)
    set_all(net, 3.0)
    with pytest.raises(KeyError), averages.in_model():
        raise KeyError
    assert all((p.value == 3.0).all() for p in net.parameters())


@pytest.mark.parametrize("decay", [-0.1, 1.1, np.nan, "x", True])
def test_a_decay_out_of_range_is_refused(decay):
    with pytest.raises((TypeError, ValueError), match=r"decay must be a number in \[0, 1\]"):
        ac.AveragedWeights(model()).update(decay)


def test_look_ahead_resumes_with_the_same_bits(tmp_path):
    def train(folder, *, resume=False, until_step=None):
        net = model()
        loader = ac.data.Loader(ac.data.shapes(60, seed=0), 10)
        with ac.open_run(folder, {}, columns=["epoch"], resume=resume, until_step=until_step, progress=False) as run:
            averages = ac.AveragedWeights(net, run.keep("averages", {}))
            optimizer = ac.SGD(net.parameters(), 0.1)
            training = ac.train(
                net, ac.SoftmaxCrossEntropy(), optimizer, loader, epochs=2, report_every=1, resume=run.saved
            )
            for record in run.steps(training):
                if record.step % 2 == 0:
                    averages.update(0.5)
                    averages.copy_to_model()
                if record.epoch_ended:
                    run.log({"epoch": record.epoch})
        return [p.value for p in net.parameters()]

    whole = train(tmp_path / "whole")
    with pytest.raises(ac.Stopped):
        train(tmp_path / "parts", until_step=7)
    resumed = train(tmp_path / "parts", resume=True)
    for a, b in zip(whole, resumed, strict=True):
        np.testing.assert_array_equal(a, b)


def test_values_that_are_refused_stay_as_they_were():
    net = ac.Linear(2, 3)
    values = {"weight": np.zeros((2, 3), np.float64), "bias": np.zeros(4)}
    before = dict(values)
    with pytest.raises(ValueError, match=r"values\['bias'\] must have shape \(3,\), got"):
        ac.AveragedWeights(net, values)
    assert all(values[name] is before[name] for name in before)
