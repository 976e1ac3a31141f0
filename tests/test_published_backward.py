"""The experiment's two backward passes: the gradient, and the published code's hand-written one."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import allconv as ac

ROOT = Path(__file__).resolve().parents[1]
SMALL = ["--quick", "--limit", "50", "--data", "shapes", "--augment", "none", "--epochs", "1"]


@pytest.fixture
def experiment(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import cifar10_allcnn

    return cifar10_allcnn


def run(experiment, out, case, backward, *options):
    return experiment.main([*SMALL, "--case", case, "--backward", backward, "--out", str(out), *options])


def kept(out):
    """Return the configuration, the rows of the log, and the weights after the last step."""
    with (out / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return json.loads((out / "config.json").read_text()), rows, ac.checkpoint.load(out / "checkpoints")["model"]


def same(weights, others):
    return all(np.array_equal(weights[name], others[name]) for name in weights)


@pytest.mark.parametrize("case", ["c", "h"])
def test_a_hand_written_case_trains_by_either_pass(experiment, case, tmp_path):
    found = {}
    for backward in ("gradient", "published"):
        assert run(experiment, tmp_path / backward, case, backward) == 0
        config, rows, found[backward] = kept(tmp_path / backward)
        assert config["backward"] == backward
        assert [row["backward"] for row in rows] == [backward]
    assert not same(found["gradient"], found["published"])


def test_the_published_pass_of_an_adam_case_is_the_gradient(experiment, tmp_path):
    for backward in ("gradient", "published"):
        assert run(experiment, tmp_path / backward, "f", backward) == 0
    (config, rows, weights), (_, _, others) = (kept(tmp_path / name) for name in ("published", "gradient"))
    assert config["backward"] == rows[0]["backward"] == "gradient"
    assert same(weights, others)


def test_the_published_pass_is_that_of_the_faults(experiment):
    import published_faults  # found beside the experiment

    images, labels = np.zeros((2, 8, 8, 3), np.float32), np.array([0, 1])
    images[0, 2:5, 1:7] = 1.0
    model = ac.article.build_case("d", np.random.default_rng(0)).model
    scores, cache = model.forward(images, training=True)
    rules = ac.article.FAULTS["all"]
    expected = published_faults.gradients(model, scores, cache, labels, rules, summed=False)
    with ac.article.published_backward(model):
        found = published_faults.gradients(model, scores, cache, labels, {}, summed=False)
    after = published_faults.gradients(model, scores, cache, labels, {}, summed=False)
    for path, value in expected.items():
        np.testing.assert_array_equal(found[path], value)
        assert not np.array_equal(after[path], value), "the rules end with the context"


def test_a_run_keeps_its_pass_and_one_from_before_there_were_two_goes_on(experiment, tmp_path, capsys):
    assert run(experiment, tmp_path / "published", "h", "published") == 0
    log = (tmp_path / "published" / "log.csv").read_bytes()
    assert run(experiment, tmp_path / "published", "h", "gradient", "--resume") == 1
    assert "backward was 'published', is 'gradient'" in capsys.readouterr().err
    assert (tmp_path / "published" / "log.csv").read_bytes() == log

    assert run(experiment, tmp_path / "before", "h", "gradient") == 0
    checkpoints = tmp_path / "before" / "checkpoints"
    saved = ac.checkpoint.load(checkpoints)
    del saved["config"]["backward"]
    for row in saved["rows"]:
        for name in ("order", "backward", "seed"):
            del row[name]
    with ac.checkpoint.lock(checkpoints):
        ac.checkpoint.save(checkpoints, saved)
    assert run(experiment, tmp_path / "before", "h", "published", "--resume") == 1
    assert run(experiment, tmp_path / "before", "h", "gradient", "--resume", "--epochs", "2") == 0
    _, rows, _ = kept(tmp_path / "before")
    assert [(row["order"], row["backward"], row["seed"]) for row in rows] == [("library", "gradient", "678")] * 2
