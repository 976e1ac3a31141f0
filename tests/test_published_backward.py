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
