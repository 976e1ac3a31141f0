"""A checkpoint that an earlier version wrote goes on, with the bits that the earlier version got.

Version 0.1.0 (commit e5487a7) trained `parts` with the arguments below: `former_checkpoint.npz` is the state after 6 of
8 steps, and `former_result.npz` has the parameters, the optimizer's state and the layers' after the last.
"""

import warnings
from pathlib import Path

import numpy as np
from helpers.states import flat

import allconv as ac
from allconv.checkpoint import format as storage
from allconv.training.fingerprint import environment

FOLDER = Path(__file__).parent / "data"


def parts():
    """Return a model, loss, optimizer and loader; a generator and an augmentation are among them."""
    rng = np.random.default_rng(3)
    model = ac.Sequential(
        ac.Flatten(),
        ac.Linear(48, 5, bias=False, rng=rng),
        ac.ReLU(),
        ac.Dropout(0.25, rng=rng),
        ac.Linear(5, 3, bias=False, rng=rng),
    )
    optimizer = ac.AMSGrad(model.parameters(), 0.01)
    draw = np.random.default_rng(7)
    data = ac.data.Dataset(draw.integers(0, 256, (20, 4, 4, 3), np.uint8), draw.integers(0, 3, 20))
    loader = ac.data.Loader(data, 5, augment=ac.data.Fliplr(0.5), normalize=ac.data.per_step, seed=11)
    return model, ac.SoftmaxCrossEntropy(), optimizer, loader


def test_a_checkpoint_of_an_earlier_version_goes_on_with_its_bits():
    former = storage.read(FOLDER / "former_checkpoint.npz")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # on another processor, or a newer version
        run = ac.train(*parts(), epochs=2, schedule=ac.schedules.inverse_time(0.01, 0.5), report_every=1, resume=former)
    assert [(record.epoch, record.step) for record in run] == [(1, 3), (1, 4)]
    expected, found = flat(storage.read(FOLDER / "former_result.npz")), flat(run.state)
    same_bits = all(former["made_with"][key] == environment()[key] for key in ("numpy", "machine", "blas"))
    for name, value in expected.items():
        if not isinstance(value, np.ndarray):
            assert found[name] == value, name
        elif same_bits:
            assert found[name].tobytes() == value.tobytes(), name
        else:
            np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


def test_the_keys_of_a_checkpoint_are_those_of_the_earlier_version():
    former = storage.read(FOLDER / "former_checkpoint.npz")
    run = ac.train(*parts(), epochs=2, schedule=ac.schedules.inverse_time(0.01, 0.5), report_every=1)
    state = next(record.state for record in run if record.step == 2 and record.epoch == 1)
    assert flat(former).keys() <= flat(state).keys()
