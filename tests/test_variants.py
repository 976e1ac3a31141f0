"""The changes that benchmarks/variants.py makes to a case are what it says, and end with it."""

import csv
import json
import runpy
from pathlib import Path

import numpy as np
import pytest

import allconv as ac
from allconv.rules import override_backward

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def variants(monkeypatch):
    pytest.importorskip("PIL")
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return runpy.run_path(str(ROOT / "benchmarks" / "variants.py"))


def test_encoding_again_changes_every_image_a_little(variants):
    images = ac.data.shapes(8, seed=0).images
    kept = images.copy()
    again = variants["encode_again"](images)
    assert (again.shape, again.dtype) == (images.shape, np.uint8)
    np.testing.assert_array_equal(images, kept)
    change = np.abs(again.astype(float) - images).mean(axis=(1, 2, 3))
    assert (change > 0.5).all()
    assert (change < 15).all()


def test_encoding_again_keeps_an_image_of_one_colour_in_its_place(variants):
    images = np.full((1, 32, 32, 3), 128, np.uint8)
    images[:, 8:24, 8:24] = 200
    again = variants["encode_again"](images).astype(float).mean(axis=3)[0]
    np.testing.assert_allclose(again[12:20, 12:20].mean(), 200, atol=3)
    np.testing.assert_allclose(again[:4].mean(), 128, atol=3)


def gradient(model, x, dy):
    _, cache = model.forward(x)
    model.backward(dy, cache)
    grad, model.parameters()[0].grad = model.parameters()[0].grad, None
    for parameter in model.parameters():
        parameter.grad = None
    return grad


def test_the_published_backward_pass_holds_inside_the_context_alone(variants):
    rng = np.random.default_rng(0)
    model = ac.models.article_net("allcnn", dtype=np.float64, rng=rng)
    x, dy = rng.standard_normal((2, 8, 8, 3)), rng.standard_normal((2, 10))
    true = gradient(model, x, dy)
    with variants["changed_backward"](model, "published-backward"):
        changed = gradient(model, x, dy)
    with override_backward(model, variants["rules_for"](model, "all")):
        np.testing.assert_array_equal(gradient(model, x, dy), changed)
    assert not np.allclose(changed, true)
    np.testing.assert_array_equal(gradient(model, x, dy), true)
    with variants["changed_backward"](model, "encoded-again"):
        np.testing.assert_array_equal(gradient(model, x, dy), true)


@pytest.mark.parametrize("change", ["encoded-again", "published-backward"])
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
