"""What the evidence on the published curves rests on: their noise, the swing they share, and images not yet seen."""

import runpy
from pathlib import Path

import numpy as np
import pytest

import allconv as ac

ROOT = Path(__file__).resolve().parents[1]


def curve(*accuracies):
    return [{"epoch": epoch, "train_accuracy": a, "test_accuracy": b} for epoch, (a, b) in enumerate(accuracies)]


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return runpy.run_path(str(ROOT / "benchmarks" / "experiment_swing.py"))


def test_the_noise_of_a_straight_line_is_its_deviation(script):
    curve = 0.5 + 0.01 * np.arange(20_000) + np.random.default_rng(0).normal(0, 0.02, 20_000)
    assert script["noise"](curve.tolist()) == pytest.approx(0.02, rel=0.03)
    assert script["noise"]([0.1, 0.2, 0.3, 0.4]) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("together", [True, False])
def test_a_swing_that_the_cases_share_correlates(script, together, monkeypatch):
    """In the first epochs the shared swing is three times that of a case alone, or none; later there is none."""
    rng = np.random.default_rng(0)
    common = rng.normal(0, 0.01, 21) * (np.arange(21) < 8) * together
    curves = {}
    for case in "abcdefgh":
        train = 1 - 0.5 * np.exp(-np.arange(21) / 4)
        test = train - 0.002 * np.arange(21) + common + rng.normal(0, 0.003, 21)
        curves[case] = [
            {"train_accuracy": a, "test_accuracy": b} for a, b in zip(train.tolist(), test.tolist(), strict=True)
        ]
    swing_together = script["swing_together"]
    monkeypatch.setitem(swing_together.__globals__, "published", curves.__getitem__)
    assert abs(swing_together(0, 8)[0] - together) < 0.3
    assert abs(swing_together(8, 20)[0]) < 0.3


def test_a_test_is_measured_from_the_training_around_it(script):
    rows = [{"train_accuracy": a, "test_accuracy": b} for a, b in [(0.4, 0.6), (0.6, 0.7), (0.7, 0.8)]]
    assert script["above_training"](rows) == pytest.approx([0.1, 0.05])
    assert script["above_training"](rows[:1]) == []


def test_the_published_order_is_compared_with_the_library_order_epoch_by_epoch(script, monkeypatch):
    logs = {"library": curve((0.4, 0.5)), "published": curve((0.41, 0.53), (0.6, 0.7))}
    names = script["in_published_order"].__globals__
    monkeypatch.setitem(names, "runs", lambda order="library": [({"case": "f", "seed": 678}, logs[order])])
    monkeypatch.setitem(names, "published", lambda case: curve((0.4, 0.55), (0.6, 0.7)))
    text = script["in_published_order"]()
    assert "In epoch 0 of f the test accuracy then changes by +0.0300 on average (+0.0300 to +0.0300)" in text
    assert (
        "that of training by +0.0100; here minus published, the test's comes to -0.0200 on average, from -0.0500"
        in text
    )
    assert "epoch 1" not in text


def test_the_backward_passes_are_compared_case_by_case(monkeypatch):
    def run(case, *accuracies, seed=678):
        return {"case": case, "seed": seed, "order": "published"}, curve(*accuracies)

    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    script = runpy.run_path(str(ROOT / "benchmarks" / "experiment_report.py"))
    names = script["in_short"].__globals__
    gradient = [
        run("a", (0.41, 0.52), (0.6, 0.7)),
        run("c", (0.38, 0.46), (0.58, 0.66)),
        run("d", (0.4, 0.5), (0.6, 0.69)),
        run("a", (0.1, 0.1), (0.1, 0.1), seed=1),
    ]
    logs = {"library": [run("a", (0.4, 0.4))], "published": gradient}
    monkeypatch.setitem(names, "runs", lambda order="library": logs[order])
    changed = [run("c", (0.4, 0.51), (0.6, 0.69), (0.7, 0.8)), run("d", (0.39, 0.48))]
    monkeypatch.setitem(names, "changed_runs", lambda change: changed)
    monkeypatch.setitem(names, "published", lambda case: curve((0.4, 0.5), (0.6, 0.7), (0.7, 0.75)))
    assert script["by_backward_pass"]()[2:] == [
        "| gradient | gradient | a | 0 | +0.0100 | +0.0200 |",
        "| gradient | gradient | a | 1 | +0.0000 | +0.0000 |",
        "| not the gradient | gradient | c | 0 | -0.0200 | -0.0400 |",
        "| not the gradient | gradient | c | 1 | -0.0200 | -0.0400 |",
        "| not the gradient | as there | c | 0 | +0.0000 | +0.0100 |",
        "| not the gradient | as there | c | 1 | +0.0000 | -0.0100 |",
        "| not the gradient | as there | c | 2 | +0.0000 | +0.0500 |",
        "| not known | gradient | d | 0 | +0.0000 | +0.0000 |",
        "| not known | gradient | d | 1 | +0.0000 | -0.0100 |",
        "| not known | as in the others | d | 0 | -0.0100 | -0.0200 |",
    ]
    logs["library"].append(run("f", (0.4, 0.4), (0.6, 0.66)))
    text = script["in_short"]()  # of runs with two epochs, over these two
    assert "is 0.0700 to 0.0700 (f) in this library's order, 0.0050 to 0.0400 (a, c, d) in the published one" in text
    assert "and 0.0100 to 0.0100 (a, c) in that" in text


def test_the_images_left_are_those_of_the_steps_to_come(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    script = runpy.run_path(str(ROOT / "benchmarks" / "last_iterate.py"))
    numbers = np.arange(100)
    loader = ac.data.Loader(ac.data.Dataset(np.zeros((100, 1, 1, 1), np.uint8), numbers), 25, seed=3)
    left = script["images_left"]({"epoch": 2, "step": 2 * 4 + 3}, loader)
    np.testing.assert_array_equal(left, np.concatenate([labels for _, labels in loader.epoch(2, 3)]))
