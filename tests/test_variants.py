"""The changes that benchmarks/variants.py makes to a case are what it says, and end with it."""

import csv
import json
import runpy
from pathlib import Path

import numpy as np
import pytest

import allconv as ac

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def variants(monkeypatch):
    pytest.importorskip("PIL")
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return runpy.run_path(str(ROOT / "benchmarks" / "variants.py"))


ENCODINGS = ["encoded-again", "encoded-coarsely"]


@pytest.mark.parametrize(("change", "most"), [("encoded-again", 15), ("encoded-coarsely", 25)])
def test_encoding_changes_every_image_a_little(variants, change, most):
    images = ac.data.shapes(8, seed=0).images
    kept = images.copy()
    again = variants["encode"](images, change)
    assert (again.shape, again.dtype) == (images.shape, np.uint8)
    np.testing.assert_array_equal(images, kept)
    difference = np.abs(again.astype(float) - images).mean(axis=(1, 2, 3))
    assert (difference > 0.5).all()
    assert (difference < most).all()


@pytest.mark.parametrize("change", ENCODINGS)
def test_encoding_leaves_a_square_in_its_place(variants, change):
    """Four pixels aside, the shift of the blocks, the mean change would be about 16."""
    images = np.full((1, 32, 32, 3), 128, np.uint8)
    images[:, 8:24, 8:24] = 200
    assert np.abs(variants["encode"](images, change).astype(float) - images).mean() < 4


def test_the_coarse_encoding_takes_more_of_the_brightness_and_of_the_colour(variants):
    images = ac.data.shapes(32, seed=0).images
    colour_of = np.array([[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]])
    again, coarse = (
        np.square((variants["encode"](images, change) - images.astype(float)) @ colour_of.T).mean(axis=(0, 1, 2))
        for change in ENCODINGS
    )
    assert (coarse > 1.5 * again).all()


def test_what_an_encoding_does_to_the_brightness_is_printed(variants, capsys, monkeypatch):
    """All colours brighter by 3 make 3; the steps of quality 75 are half those of ITU-T T.81, annex K."""
    luminance = """16 11 10 16 24 40 51 61  12 12 14 19 26 58 60 55  14 13 16 24 40 57 69 56  14 17 22 29 51 87 80 62
        18 22 37 56 68 109 103 77  24 35 55 64 81 104 113 92  49 64 78 87 103 121 120 101  72 92 95 98 112 100 103 99"""
    steps = (np.array(luminance.split(), int) + 1) // 2
    monkeypatch.setitem(variants["changed_images"].__globals__, "encode", lambda images, _: images + np.uint8(3))
    dataset = ac.data.Dataset(np.full((2, 32, 32, 3), 100, np.uint8), np.zeros(2, int))
    variants["changed_images"](dataset, "encoded-coarsely")
    rounding = np.sqrt((steps**2).mean() / 12)
    printed = capsys.readouterr().out
    assert "by 3.00 of 255, root mean square" in printed
    assert f"evenly spread, by {rounding:.2f}" in printed


def test_the_images_as_they_are_stay_so(variants):
    dataset = ac.data.shapes(8, seed=0)
    for change in ("none", "published-backward"):
        assert variants["changed_images"](dataset, change) is dataset


def gradients(model, x, dy):
    _, cache = model.forward(x)
    for parameter in model.parameters():
        parameter.grad = None
    model.backward(dy, cache)
    return [parameter.grad for parameter in model.parameters()]


def test_the_published_backward_pass_holds_inside_the_context_alone(variants):
    """The last convolution's gradient is that of the published formulas, written out."""
    rng = np.random.default_rng(0)
    model = ac.models.article_net("allcnn", dtype=np.float64, rng=rng)
    x, dy = rng.standard_normal((2, 8, 8, 3)), rng.standard_normal((2, 10))
    true = gradients(model, x, dy)
    with variants["changed_backward"](model, "published-backward"):
        changed = gradients(model, x, dy)
    a = x
    for layer in model.layers[:-3]:
        a, _ = layer.forward(a)
    z = np.einsum("nhwc,cd->nhwd", a, model.parameters()[-1].value[0, 0])
    dz = dy[:, None, None] * ((z > 0) + np.expm1(np.minimum(z, 0)) + 1)
    np.testing.assert_allclose(changed[-1][0, 0], np.einsum("nhwc,nhwd->cd", a, dz), rtol=1e-10)
    assert not np.allclose(changed[0], true[0])
    np.testing.assert_array_equal(gradients(model, x, dy)[0], true[0])
    with variants["changed_backward"](model, "encoded-again"):
        np.testing.assert_array_equal(gradients(model, x, dy)[0], true[0])


@pytest.mark.parametrize("change", [*ENCODINGS, "published-backward"])
def test_a_run_is_marked_with_its_change_and_takes_it(variants, change, tmp_path, monkeypatch):
    arguments = ["--case", "g", "--epochs", "1", "--limit", "75", "--data", "shapes", "--out"]
    monkeypatch.setattr("sys.argv", ["variants.py", "--change", change, *arguments, str(tmp_path / "changed")])
    assert variants["main"]() == 0
    assert variants["cifar10_allcnn"].main([*arguments, str(tmp_path / "unchanged")]) == 0
    config = json.loads((tmp_path / "changed" / "config.json").read_text())
    assert config["data"] == f"shapes, {change}"
    rows = {}
    for name in ("changed", "unchanged"):
        with (tmp_path / name / "log.csv").open(newline="") as file:
            rows[name] = next(iter(csv.DictReader(file)))["train_cost"]
    assert rows["changed"] != rows["unchanged"]
