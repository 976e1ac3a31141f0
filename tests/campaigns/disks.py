"""Disks that are full, broken or read-only, at any I/O call: one error that names the file, and nothing is lost."""

import csv
import itertools
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from helpers import faults
from helpers.states import differing

import allconv as ac
from allconv.checkpoint.weights import model_state
from campaigns import Case
from campaigns.files import small_model


def _strike(folder: Path, calls: int, rng: np.random.Generator, do: Callable[[], object]) -> OSError | None:
    """Do something while one of so many I/O calls on `folder` fails, once or from then on; return what it raises."""
    errors = faults.errors()
    at, error, for_good = int(rng.integers(calls)), errors[rng.integers(len(errors))], bool(rng.integers(2))
    act = faults.short_write(at, error) if rng.random() < 0.2 else faults.fault(at, error, for_good=for_good)
    with faults.io_calls(folder, act), warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*could not be removed", RuntimeWarning)
        try:
            do()
        except OSError as caught:
            raised = caught
        else:
            return None
    assert str(raised.filename or "").startswith(str(folder)), f"names {raised.filename}: {raised}"
    assert isinstance(error, MemoryError) or raised.errno == error.errno, f"{raised} for {error}"
    return raised


def _count(folder: Path, do: Callable[[], object]) -> int:
    calls: list[str] = []
    with faults.io_calls(folder, faults.record(calls)):
        do()
    return len(calls)


def weights() -> Iterator[Case]:
    """`save_weights` over an older file: the older or the newer one is there, whole."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        path, old, new = folder / "weights.npz", small_model(), small_model()
        new[0].weight.value += 1
        calls = _count(folder, lambda: ac.save_weights(old, path))

        def case(rng: np.random.Generator) -> str:
            ac.save_weights(old, path)
            raised = _strike(folder, calls, rng, lambda: ac.save_weights(new, path))
            loaded = small_model()
            ac.load_weights(loaded, path)
            found = [not differing(model_state(loaded), model_state(each)) for each in (old, new)]
            assert found[1] if raised is None else any(found), "another model"
            ac.save_weights(new, path)
            assert list(folder.iterdir()) == [path], "another file"
            return "saved" if raised is None else "refused"

        yield case


def _train(folder: Path, *, resume: bool) -> None:
    model = ac.Sequential(ac.Flatten(), ac.Linear(3072, 10, rng=np.random.default_rng(0)))
    optimizer = ac.SGD(model.parameters(), 0.01, momentum=0.9)
    loader = ac.data.Loader(ac.data.shapes(8, seed=0), 4)
    options = {"columns": ["epoch", "loss"], "resume": resume, "checkpoint_every": 1, "progress": False}
    with ac.open_run(folder, {"rate": 0.01}, **options) as run:
        training = ac.train(
            model, ac.SoftmaxCrossEntropy(), optimizer, loader, epochs=2, report_every=1, resume=run.saved
        )
        for record in run.steps(training):
            if record.epoch_ended:
                run.log({"epoch": record.epoch, "loss": record.loss}, text=f"epoch {record.epoch}\n")


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def runs() -> Iterator[Case]:
    """A run in its folder (settings, log, checkpoints): it is resumed, and ends with the same bits and the same log."""
    with tempfile.TemporaryDirectory() as name:
        root, numbers = Path(name).resolve(), itertools.count()
        calls = _count(root, lambda: _train(root / "whole", resume=False))
        wanted = ac.checkpoint.load(root / "whole" / "checkpoints")

        def case(rng: np.random.Generator) -> str:
            folder = root / str(next(numbers))
            raised = _strike(root, calls, rng, lambda: _train(folder, resume=False))
            _train(folder, resume=True)
            if paths := differing(wanted, ac.checkpoint.load(folder / "checkpoints")):
                raise AssertionError(f"other bits in {', '.join(paths)}")
            assert _rows(folder) == _rows(root / "whole"), "another log"
            left = [path.name for path in folder.rglob("*.tmp")]
            assert not left, f"left behind: {left}"
            shutil.rmtree(folder)
            return "done" if raised is None else "refused"

        yield case


CAMPAIGNS = {
    "disk-weights": ("disk faults in save_weights", weights),
    "disk-runs": ("disk faults in a training run (settings, log, checkpoints)", runs),
}
