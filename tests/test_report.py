"""What the report on the experiment computes from curves: the noise of one, and the swing that several share."""

import runpy
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]


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
    monkeypatch.setitem(script["shared"].__globals__, "published", curves.__getitem__)
    words = script["shared"]().split("correlate from case to case by ")[1].split()
    early, late = float(words[0]), float(words[words.index("deviation);") + 1])
    assert abs(early - together) < 0.3
    assert abs(late) < 0.3
