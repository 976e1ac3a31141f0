"""The examples run as a reader runs them, in processes of their own, and leave behind what they promise."""

import json
import runpy
import shutil
import subprocess
import sys

import pytest
from helpers.programs import EXAMPLES, ROOT, log_of, run

pytestmark = pytest.mark.scripts


def test_quickstart_learns(tmp_path):
    printed = run("quickstart.py", cwd=tmp_path)
    accuracy = float(printed.splitlines()[-1].rpartition("test accuracy ")[2])
    assert accuracy > 0.6  # ten classes; a linear classifier stays under 0.6
    assert not list(tmp_path.iterdir())


def test_a_case_writes_all_its_outputs(tmp_path):
    image = pytest.importorskip("matplotlib.image")
    options = ["--case", "h", "--quick", "--data", "shapes", "--seed", 3, "--statistics"]
    printed = run("cifar10_allcnn.py", *options, "--out", "run", cwd=tmp_path)

    out = tmp_path / "run"
    assert {path.name for path in out.iterdir()} == {"checkpoints", "config.json", "log.csv", "log.txt", "plots"}
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    assert (config["case"], config["seed"], config["data"]) == ("h", 3, "shapes")

    rows = log_of(out)
    assert ",".join(rows[0]) == (
        "case,order,backward,seed,epoch,learning_rate,dilated_rate,train_accuracy,test_accuracy,train_cost,test_cost"
    )
    first = ("case", "order", "backward", "seed", "epoch", "dilated_rate")
    assert [[row[name] for name in first] for row in rows] == [
        ["h", "library", "gradient", "3", "0", "0.8"],
        ["h", "library", "gradient", "3", "1", "0.4"],
    ]
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx([0.0003, 0.0003 / 1.001])
    for row in rows:
        assert all(0 <= float(row[f"{part}_accuracy"]) <= 1 for part in ("train", "test"))
        assert all(0 < float(row[f"{part}_cost"]) < 10 for part in ("train", "test"))

    log = (out / "log.txt").read_text(encoding="utf-8")
    assert log in printed
    times = {"Learning Rate: 0.00030000": 1, "Dilated Rate: ": 2, "Train: ": 2, "Test: ": 2}
    assert {words: log.count(words) for words in times} == times

    names = ["filters.png", "published.png", "statistics.png", "test.png", "train.png"]
    assert sorted(path.name for path in (out / "plots").iterdir()) == names
    assert all(image.imread(out / "plots" / name).std() > 0.05 for name in names)


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


def test_the_notebooks_are_those_that_the_script_writes():
    written = runpy.run_path(str(ROOT / "experiments" / "notebooks" / "make.py"))["notebooks"]()
    assert {path.name: path.read_text(encoding="utf-8") for path in NOTEBOOKS} == written


def execute(notebook, folder):
    """Run a notebook in a folder without the examples; return the number of its pictures, and what it printed."""
    for package in ("nbclient", "ipykernel", "matplotlib"):
        pytest.importorskip(package)
    assert "QUICK = True" in notebook.read_text(encoding="utf-8")
    command = [sys.executable, "-c", EXECUTE, notebook, folder / "done.ipynb", folder]
    subprocess.run(command, check=True, timeout=280, cwd=folder)

    cells = json.loads((folder / "done.ipynb").read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells if cell["cell_type"] == "code" for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]
    pictures = sum("image/png" in output.get("data", {}) for output in outputs)
    return pictures, "".join("".join(output["text"]) for output in outputs if output["output_type"] == "stream")


@pytest.mark.parametrize("case", "abcdefgh")
def test_the_notebook_of_a_case_runs_and_draws(case, tmp_path):
    if case == "h":  # one of them as in a checkout, with the published curves beside it
        shutil.copy(EXAMPLES / "published_curves.csv", tmp_path)
    pictures, printed = execute(EXAMPLES / f"case_{case}.ipynb", tmp_path)
    assert pictures == 6
    assert ("MeanPool2D" in printed) == (case in "abcd")
    assert "1,617,312" in printed  # the summary
    assert "seed 0: passed" in printed  # the network's gradient check
    assert printed.count("  Train: cost ") == 2
    dilated = case in "dh"
    assert ("The departure starts in Skip." in printed) == dilated  # the check that must fail
    assert ("the difference is r dy: True" in printed) == dilated
    assert printed.count("Dilated Rate: ") == 2 * dilated


def test_the_notebook_of_the_global_average_runs_and_draws(tmp_path):
    pictures, printed = execute(EXAMPLES / "global_average_pool.ipynb", tmp_path)
    assert pictures == 4
    assert "Right: both functions do what the layer does" in printed
    assert "the factor 1 / 42 is missing" in printed
    assert "the mean of a map is the score: True" in printed
