"""The experiment's two backward passes: the gradient, and the published code's hand-written one."""

import json

import numpy as np
import pytest
from helpers.programs import load, log_of

import allconv as ac

SMALL = ["--quick", "--limit", "50", "--data", "shapes", "--augment", "none", "--epochs", "1"]


def train(out, case, backward, *options):
    return load("cifar10_allcnn").main([*SMALL, "--case", case, "--backward", backward, "--out", str(out), *options])


def kept(out):
    """Return the configured pass, that of each row of the log, and the weights after the last step."""
    config = json.loads((out / "config.json").read_text())
    return (
        config["backward"],
        [row["backward"] for row in log_of(out)],
        ac.checkpoint.load(out / "checkpoints")["model"],
    )


def same(weights, others):
    return all(np.array_equal(weights[name], others[name]) for name in weights)


@pytest.mark.scripts
@pytest.mark.parametrize(("case", "published"), [("h", "published"), ("f", "gradient")])
def test_a_case_trains_by_either_pass_and_one_of_adam_by_the_gradient(case, published, tmp_path):
    weights = []
    for option, trained in (("gradient", "gradient"), ("published", published)):
        assert train(tmp_path / option, case, option) == 0
        configured, rows, found = kept(tmp_path / option)
        assert (configured, rows) == (trained, [trained])
        weights.append(found)
    assert same(*weights) == (published == "gradient")


def test_the_published_pass_is_that_of_the_faults():
    published_faults = load("published_faults")
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


@pytest.mark.scripts
def test_a_run_keeps_its_pass_and_one_from_before_there_were_two_goes_on(tmp_path, capsys):
    out = tmp_path / "before"
    assert train(out, "h", "gradient") == 0
    saved = ac.checkpoint.load(out / "checkpoints")
    for name in ("order", "backward"):
        del saved["config"][name]
    for name in ("order", "backward", "seed"):
        del saved["rows"][0][name]
    with ac.checkpoint.lock(out / "checkpoints"):
        ac.checkpoint.save(out / "checkpoints", saved)
    assert train(out, "h", "published", "--resume") == 1
    assert "backward was 'gradient', is 'published'" in capsys.readouterr().err
    assert train(out, "h", "gradient", "--resume", "--order", "published") == 1
    assert "order was 'library', is 'published'" in capsys.readouterr().err
    assert train(out, "h", "gradient", "--resume", "--epochs", "2") == 0
    assert [(row["order"], row["backward"], row["seed"]) for row in log_of(out)] == [("library", "gradient", "678")] * 2
