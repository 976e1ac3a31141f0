"""The examples run as a reader runs them, in processes of their own, and leave behind what they promise."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def run(*command: object, cwd: Path, timeout: float) -> str:
    """Run a Python process and return what it printed; another exit status than 0, or no end in time, is a failure."""
    result = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, timeout=timeout, cwd=cwd
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_quickstart_learns(tmp_path):
    printed = run("-W", "error", EXAMPLES / "quickstart.py", cwd=tmp_path, timeout=200)
    accuracy = float(printed.splitlines()[-1].rpartition("test accuracy ")[2])
    assert accuracy > 0.6  # ten classes; a linear classifier stays under 0.6
    assert not list(tmp_path.iterdir())
    assert len((EXAMPLES / "quickstart.py").read_text(encoding="utf-8").splitlines()) <= 30


@pytest.mark.parametrize("case", ["a", "h"])
def test_a_case_writes_all_its_outputs(case, tmp_path):
    pytest.importorskip("matplotlib")
    options = ["--case", case, "--quick", "--data", "shapes", "--seed", 3]
    printed = run("-W", "error", EXAMPLES / "cifar10_allcnn.py", *options, "--out", "run", cwd=tmp_path, timeout=280)

    out = tmp_path / "run"
    assert {path.name for path in out.iterdir()} == {"checkpoints", "config.json", "log.csv", "log.txt", "plots"}
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    assert (config["case"], config["seed"], config["data"]) == (case, 3, "shapes")
    assert {"allconv", "numpy", "python"} <= config["versions"].keys()

    with (out / "log.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert ",".join(rows[0]) == (
        "case,order,backward,seed,epoch,learning_rate,dilated_rate,"
        "train_accuracy,test_accuracy,train_cost,test_cost,seconds"
    )
    assert {(row["order"], row["backward"], row["seed"]) for row in rows} == {("library", "gradient", "3")}
    assert [(row["case"], row["epoch"]) for row in rows] == [(case, "0"), (case, "1")]
    factor = 30 if case == "a" else 1
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx([0.0003 * factor, 0.0003 / 1.001 * factor])
    assert [row["dilated_rate"] for row in rows] == (["", ""] if case == "a" else ["0.8", "0.4"])
    for row in rows:
        assert all(0 <= float(row[f"{part}_accuracy"]) <= 1 for part in ("train", "test"))
        assert all(0 < float(row[f"{part}_cost"]) < 10 for part in ("train", "test"))

    log = (out / "log.txt").read_text(encoding="utf-8")
    assert log in printed
    for words, times in (
        ("Learning Rate: 0.00030000", 1),
        ("Train: ", 2),
        ("Test: ", 2),
        ("Dilated", 2 * (case == "h")),
    ):
        assert log.count(words) == times, words

    from matplotlib.image import imread

    assert {path.name for path in (out / "plots").iterdir()} == {"published.png", "test.png", "train.png"}
    for name in ("train", "test"):
        red, green, blue = imread(out / "plots" / f"{name}.png")[..., :3].transpose(2, 0, 1)
        assert ((red > 0.9) & (green < 0.1) & (blue < 0.1)).any(), "accuracy in red"
        assert ((green > 0.4) & (red < 0.1) & (blue < 0.1)).any(), "cost in green"
    assert imread(out / "plots" / "published.png").std() > 0.05
    assert list((out / "checkpoints").glob("checkpoint-*.npz"))


NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
EXECUTE = """
import sys, nbclient, nbformat
source, target, folder = sys.argv[1:]
notebook = nbformat.read(source, as_version=4)
nbclient.NotebookClient(notebook, timeout=240, resources={"metadata": {"path": folder}}).execute()
nbformat.write(notebook, target)
"""


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_kept_without_outputs(notebook):
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells if cell["cell_type"] == "code")


def test_the_notebook_of_case_h_runs_and_draws(tmp_path):
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    pytest.importorskip("matplotlib")
    assert "QUICK = True" in (EXAMPLES / "case_h.ipynb").read_text(encoding="utf-8")
    run("-c", EXECUTE, EXAMPLES / "case_h.ipynb", tmp_path / "done.ipynb", EXAMPLES, cwd=tmp_path, timeout=280)

    cells = json.loads((tmp_path / "done.ipynb").read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells if cell["cell_type"] == "code" for output in cell["outputs"]]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 6
    printed = "".join("".join(output["text"]) for output in outputs if output["output_type"] == "stream")
    assert "1,617,312" in printed  # the summary
    assert "seed 0: passed" in printed  # the network's gradient check
    assert "The departure starts in Skip." in printed  # and the one that must fail
    assert "the difference is r dy: True" in printed
    assert printed.count("Dilated Rate: ") == 2
    assert not [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]
