"""What the documentation states about the published experiment is what the published curves hold."""

import csv
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def curves():
    with (ROOT / "examples" / "published_curves.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {case: [row for row in rows if row["case"] == case] for case in "abcdefgh"}


def test_the_table_of_published_results(curves):
    text = (ROOT / "docs" / "experiment.md").read_text(encoding="utf-8")
    table = text.partition("compares this table with the published curves -->\n")[2].partition("\n\n")[0]
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
    assert head[1:] == list(curves)

    def best(curve):
        return max(curve, key=lambda row: float(row["test_accuracy"]))

    expected = {
        "test accuracy, last epoch": lambda curve: curve[-1]["test_accuracy"],
        "test accuracy, best epoch": lambda curve: best(curve)["test_accuracy"],
        "the best epoch": lambda curve: best(curve)["epoch"],
        "train cost, last epoch": lambda curve: curve[-1]["train_cost"],
        "test cost, last epoch": lambda curve: curve[-1]["test_cost"],
    }
    assert [row[0] for row in rows] == list(expected)
    for name, *cells in rows:
        assert cells == [expected[name](curve) for curve in curves.values()], name


def test_the_report_on_the_experiment_is_the_one_that_its_script_makes():
    """The pictures are left aside: they need matplotlib, and differ between its versions."""
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    script = runpy.run_path(str(ROOT / "benchmarks" / "experiment_report.py"))
    pictures = [line for line in text.partition("## Curves\n\n")[2].splitlines() if line]
    assert text == script["page"]([line for picture in pictures for line in (picture, "")])
    for picture in pictures:
        assert (ROOT / "docs" / picture.partition("](")[2].rstrip(")")).is_file()
    assert len(pictures) == len({config["case"] for config, _ in script["runs"]()})
