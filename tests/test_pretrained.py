"""Trained networks come from a checkout, and from nowhere else."""

import numpy as np
import pytest
from helpers.programs import ROOT

import allconv as ac
from allconv.checkpoint import format as storage
from allconv.models import trained

WEIGHTS = ROOT / "docs" / "weights"


def test_a_network_has_the_weights_of_its_file():
    model = ac.models.pretrained("allcnn_h")
    stored = storage.read(WEIGHTS / "allcnn_h.npz")["model"]
    for path, parameter in model.named_parameters():
        assert parameter.value.dtype == np.float32
        np.testing.assert_array_equal(parameter.value, stored[path])


def test_every_file_of_weights_is_small_and_has_a_name():
    files = {path.stem for path in WEIGHTS.glob("*.npz")}
    assert files
    for name in files:
        ac.models.pretrained(name)
        assert (WEIGHTS / f"{name}.npz").stat().st_size <= 4e6
        assert {array.dtype for array in storage.read(WEIGHTS / f"{name}.npz")["model"].values()} == {np.dtype("f2")}


def test_the_fast_recipe_s_network_takes_its_weights_in_four_megabytes(tmp_path, monkeypatch):
    monkeypatch.setattr(trained, "_FOLDER", tmp_path)
    recipe = ac.models.fast_net(np.ones((2, 2, 3, 24), np.float32), (64, 256, 256))
    state = ac.checkpoint.model_state(recipe)
    state["model"] = {path: value.astype(np.float16) for path, value in state["model"].items()}
    storage.write(tmp_path / "fast_net.npz", state)
    assert (tmp_path / "fast_net.npz").stat().st_size <= 4e6
    assert (ac.models.pretrained("fast_net")[0].weight.value == 1).all()


@pytest.mark.parametrize("name", ["allcnn_h", "fast_net"])
def test_outside_a_checkout_it_says_where_the_weights_are(name, tmp_path, monkeypatch):
    monkeypatch.setattr(trained, "_FOLDER", tmp_path / "docs" / "weights")
    with pytest.raises(
        FileNotFoundError, match=rf"got '{name}': .* checkout .* as docs/weights/{name}\.npz, .* not down"
    ):
        ac.models.pretrained(name)
