"""What experiments/kills.py counts as other bits, and as a loss."""

import runpy
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import allconv as ac

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def kills():
    return runpy.run_path(str(ROOT / "experiments" / "kills.py"))


def state(**changed):
    return {"step": 3, "weights": [np.ones(2, np.float32)], "loss": float("nan"), "seconds": 1.0} | changed


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (state(), True),
        (state(seconds=2.0), True),
        (state(step=4), False),
        (state(step=3.0), False),
        (state(weights=[np.nextafter(np.ones(2, np.float32), 2)]), False),
        (state(weights=[np.ones(2)]), False),
        (state(weights=[]), False),
        (state(loss=0.0), False),
        (state(more=1), False),
    ],
)
def test_two_states_are_the_same_but_for_the_clock(kills, other, same):
    assert kills["same_bits"](state(), other) is same


def test_a_checkpoint_behind_the_last_seen_one_is_lost_and_a_damaged_one_is_counted(kills, tmp_path):
    counts = Counter()
    assert kills["look_after_a_kill"](tmp_path, 0, counts) == 0
    assert counts["checkpoints lost"] == 0
    for step in (2, 4):
        ac.checkpoint.save(tmp_path / "checkpoints", {"step": step})
    assert kills["look_after_a_kill"](tmp_path, 2, counts) == 4
    assert counts["checkpoints lost"] == counts["newest file damaged"] == 0
    newest = max((tmp_path / "checkpoints").glob("checkpoint-*.npz"))
    newest.write_bytes(newest.read_bytes()[:-40])
    assert kills["look_after_a_kill"](tmp_path, 4, counts) == 2
    assert counts["checkpoints lost"] == counts["newest file damaged"] == 1
