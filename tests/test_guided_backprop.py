"""The pictures of what a trained network sees: the shipped weights, both figures, and how the weights are renewed."""

import re

import numpy as np
import pytest
from helpers.programs import ROOT, load

import allconv as ac
from allconv.checkpoint import format as storage
from allconv.checkpoint.weights import model_state

WEIGHTS = ROOT / "docs" / "weights" / "allcnn_h.npz"


@pytest.fixture
def example():
    return load("guided_backprop")


def facts(path):
    return dict(re.findall(r"^\| (.+?) \| (.+?) \|$", path.read_text(encoding="utf-8"), re.MULTILINE))


def test_the_shipped_weights_are_small_and_their_facts_fit(example):
    assert WEIGHTS.stat().st_size < 4e6
    assert {array.dtype.name for array in storage.read(WEIGHTS)["model"].values()} == {"float16"}
    ac.load_weights(example.network(), WEIGHTS)
    stated = facts(WEIGHTS.with_suffix(".txt"))
    assert int(stated["bytes"]) == WEIGHTS.stat().st_size
    before, after = stated["accuracy on 10000 test images, float32"], stated["the same, float16"]
    assert float(before) > 0.8
    other = int(stated["images with another answer"])
    assert round(10000 * abs(float(before) - float(after))) <= other < 50


@pytest.mark.scripts
def test_both_figures_are_drawn(example, tmp_path, monkeypatch, capsys):
    image = pytest.importorskip("matplotlib.image")
    monkeypatch.setattr(example, "UNITS_FROM", 40)
    assert example.main(["--data", "shapes", "--out", str(tmp_path / "new" / "out")]) == 0
    assert "drawn images" in capsys.readouterr().out
    for name in ("classes.png", "units.png"):
        picture = image.imread(tmp_path / "new" / "out" / name)[..., :3]
        assert min(picture.shape[:2]) > 400
        assert picture[:, picture.shape[1] // 2 :].std() > 0.1, "panels are drawn"


def test_the_choices(example):
    labels, predicted = np.array([2, 0, 0, 2, 1, 2]), np.array([0, 1, 0, 2, 0, 2])
    np.testing.assert_array_equal(example.choose(labels, predicted, 3), [2, 4, 3])
    np.testing.assert_array_equal(example.choose(labels, predicted, 1), [2])
    y = np.random.default_rng(0).standard_normal((5, 2, 2, 4))
    y[3, 1, 0, 2] = 50
    y[..., 1] *= 1000  # large, but nothing stands out
    assert example.standing_out(y, 2)[0] == 2


def test_pictures_are_scaled_to_what_can_be_shown(example):
    gradient = np.random.default_rng(0).standard_normal((8, 8, 3))
    grey, colours = example.grey(gradient), example.colours(gradient)
    assert (grey.min() >= 0, grey.max(), colours.min() >= 0, colours.max() <= 1) == (True, 1, True, True)
    assert np.ptp(colours) > 0.9
    np.testing.assert_array_equal(np.sign(colours - 0.5), np.sign(gradient))
    assert ((example.colours(0 * gradient) == 0.5) & (example.grey(0 * gradient) == 0)[..., None]).all()


def checkpoint(folder, model, case):
    state = {**model_state(model), "step": 3000, "config": {"case": case, "seed": 7}}
    ac.checkpoint.save(folder / "checkpoints", state)


def test_weights_are_made_from_a_run(example, tmp_path, monkeypatch):
    monkeypatch.setattr(example, "UNITS_FROM", 20)  # how many drawn images there are
    model = ac.models.article_net("allcnn", dilated=True, rng=np.random.default_rng(0))
    model[2].scale = 0.4
    checkpoint(tmp_path, model, "h")
    out = tmp_path / "weights" / "w.npz"
    assert example.main(["--data", "shapes", "--make-weights", str(tmp_path), "--weights", str(out)]) == 0
    loaded = example.network()
    ac.load_weights(loaded, out)
    assert loaded[2].scale == 0.4
    for parameter, rounded in zip(model.parameters(), loaded.parameters(), strict=True):
        np.testing.assert_array_equal(rounded.value, parameter.value.astype(np.float16).astype(np.float32))
    stated = facts(out.with_suffix(".txt"))
    assert (stated["epochs of training"], stated["seed"], int(stated["bytes"])) == ("1.5", "7", out.stat().st_size)
    shapes = ac.data.shapes(20, seed=0)
    x, labels = ac.data.Standardize.fit(shapes.images, per="pixel")(shapes.images), shapes.labels
    assert float(stated["accuracy on 20 test images, float32"]) == np.mean(model(x).argmax(axis=1) == labels)


def test_what_is_missing_is_said_and_nothing_is_written(example, tmp_path, monkeypatch, capsys):
    model = ac.models.article_net("allcnn", dilated=True, rng=np.random.default_rng(0))
    checkpoint(tmp_path / "g", model, "g")
    out = tmp_path / "new.npz"
    for run, message in ((tmp_path / "g", "must name a run of case h, got one of 'g'"), (tmp_path, "is missing")):
        assert example.main(["--make-weights", str(run), "--weights", str(out)]) == 1
        assert message in capsys.readouterr().err
    assert not out.exists()
    assert example.main(["--weights", str(out), "--out", str(tmp_path / "out")]) == 1
    assert "new.npz" in capsys.readouterr().err
    monkeypatch.setattr(example, "find_spec", lambda name: None)
    assert example.main(["--out", str(tmp_path / "none")]) == 1
    assert "pip install 'allconv[plot]'" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
