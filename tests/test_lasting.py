"""Campaigns of random trouble: a short one of each kind here, and a longer one with the marker `scripts`.

`python tests/lasting.py` runs them as long as one likes; docs/understand/lasting.md has its results.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

if sys.platform != "linux":
    pytest.skip("the campaigns need resource limits, forks and /proc", allow_module_level=True)

import lasting
from campaigns import crowds, run
from campaigns.parts import Parts, check_same, trained
from helpers.programs import ROOT

import allconv as ac
from allconv.checkpoint.atomic import atomic_write
from allconv.models.fusion import fuse

SHORT = {
    "forged": 150, "disk-weights": 30, "memory-arrays": 4, "interrupt-save": 30, "interrupt-infer": 10, "threads": 1,
    "forks": 2,
}  # fmt: skip
LONG = {
    **dict.fromkeys(("weights", "checkpoints", "forged", "pickles", "archives"), 1000),
    "disk-weights": 200, "disk-runs": 60, "memory-limits": 12, "memory-arrays": 30, "interrupt-train": 40,
    "interrupt-infer": 60, "interrupt-save": 200, "interrupt-runs": 12, "threads": 8, "forks": 20, "steps": 2000,
    "sizes": 400,
}  # fmt: skip


def _check(name, cases):
    found_in = [Path(ac.__file__).parents[1], ROOT / "tests"]  # the latter where Python keeps scripts' folders out
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, found_in))}
    command = [sys.executable, ROOT / "tests" / "lasting.py", name, "--cases", str(cases)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, env=environment)
    print(done.stdout)
    assert f"{name}: {cases} cases, 0 escapes" in done.stdout, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.returncode == 0


@pytest.mark.parametrize("name", SHORT)
def test_a_short_campaign(name):
    _check(name, SHORT[name])


@pytest.mark.scripts
@pytest.mark.parametrize("name", lasting.CAMPAIGNS)
def test_a_campaign(name):
    _check(name, LONG[name])


def test_an_escape_is_counted_told_and_an_error(monkeypatch, capsys):
    def campaign():
        def case(rng):
            if rng.integers(2**63) == np.random.default_rng(7).integers(2**63):
                raise ValueError("too bad")
            return "right"

        yield case

    outcome = run(campaign, 6, 3)
    assert dict(outcome.ends) == {"right": 5}
    assert outcome.escapes == ["case 7: ValueError: too bad"]
    monkeypatch.setitem(lasting.CAMPAIGNS, "odd", ("odd things", campaign))
    assert lasting.main(["odd", "--cases", "8"]) == 1
    assert capsys.readouterr().out.endswith("odd: 8 cases, 1 escapes (7 right; 0 s)\n")
    assert lasting.main(["odd", "--cases", "7"]) == 0


def test_the_page_has_the_table_of_the_recorded_results():
    page = (ROOT / "docs" / "understand" / "lasting.md").read_text(encoding="utf-8")
    assert "{include} ../_static/results/lasting.md" in page
    assert lasting.TABLE.read_text(encoding="utf-8") == lasting.table()
    rows = lasting.recorded()
    assert rows.keys() == lasting.CAMPAIGNS.keys()
    assert all(row["escapes"] == "0" for row in rows.values())
    assert all(
        sum(int(number.replace(",", "")) for number in re.findall(r"[\d,]*\d", row["ends"])) == int(row["cases"])
        for row in rows.values()
    )


def test_an_error_of_the_disk_is_told_and_no_other_that_the_lock_has_in_the_end(tmp_path, monkeypatch):
    """A disk that stays broken also breaks the closing of the lock's file."""
    opened = Path.open

    class Broken:
        def __init__(self, file):
            self.fileno, self._close = file.fileno, file.close

        def close(self):
            self._close()
            raise OSError(5, "Input/output error")

    def broken(path, *arguments):
        file = opened(path, *arguments)
        return Broken(file) if path.name == "lock" else file

    monkeypatch.setattr(Path, "open", broken)
    with (
        pytest.raises(OSError, match="No space left") as caught,
        ac.checkpoint.lock(tmp_path),
        atomic_write(tmp_path / "log.csv"),
    ):
        raise OSError(28, "No space left on device")
    assert caught.value.filename == str(tmp_path / "log.csv")
    with ac.checkpoint.lock(tmp_path):
        pass


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    def refuse(folder):
        raise MemoryError

    monkeypatch.setattr(Path, "iterdir", refuse)
    for call in (ac.checkpoint.exists, ac.checkpoint.load):
        with pytest.raises(OSError, match="memory") as caught:
            call(tmp_path)
        assert caught.value.filename == str(tmp_path)


@pytest.fixture
def loky():
    joblib = pytest.importorskip("joblib")
    with joblib.parallel_config("loky", n_jobs=2, max_nbytes=1 << 16):  # larger arrays come as read-only memory maps
        yield lambda function, *arguments: joblib.Parallel()(joblib.delayed(function)(*each) for each in arguments)


def test_joblibs_workers_predict_the_same_bits(loky):
    images = np.random.default_rng(0).standard_normal((40, 32, 32, 3)).astype(np.float32)
    model = crowds.network()
    for each in (model, fuse(model)):
        for result in loky(ac.predict, *[(each, images)] * 4):
            np.testing.assert_array_equal(result, ac.predict(each, images))


def test_joblibs_workers_train_to_the_same_bits(loky):
    parts = Parts(step=16)
    parts.model = ac.Sequential(ac.Flatten(), ac.Linear(1200, 2500, rng=np.random.default_rng(0)))  # 12 MB
    parts.optimizer = ac.Adam(parts.model.parameters(), 0.001)
    states = loky(trained, *[(parts,)] * 3)
    wanted = trained(parts)
    for state in states:
        check_same(wanted, state, "a worker")
