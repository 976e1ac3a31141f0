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


@pytest.fixture
def dilated_study(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return runpy.run_path(str(ROOT / "benchmarks" / "dilated_study.py"))


def test_the_dilated_page_has_the_tables_that_its_script_makes(dilated_study):
    text = (ROOT / "docs" / "dilated.md").read_text(encoding="utf-8")
    begin, end = f"{dilated_study['BEGIN']}\n", f"\n{dilated_study['END']}"
    assert text.partition(begin)[2].partition(end)[0] == dilated_study["tables"]()


def test_the_dilated_gradients_are_those_in_the_results(dilated_study):
    checks = [
        row for net, (kind, *_) in dilated_study["NETS"].items() for row in dilated_study["check_rows"](kind, net)
    ]
    assert [{name: str(value) for name, value in row.items()} for row in checks] == dilated_study["read"]("check")
    measured = dilated_study["angle_rows"]("allcnn", "All-CNN", epochs=(1,))
    kept = [row for row in dilated_study["read"]("angles") if (row["net"], row["epoch"]) == ("All-CNN", "1")]
    assert [(row["form"], str(row["convolution"])) for row in measured] == [(r["form"], r["convolution"]) for r in kept]
    for name in ("cosine", "ratio"):
        ours, theirs = ([float(row[name]) for row in rows] for rows in (measured, kept))
        assert ours == pytest.approx(theirs, rel=1e-3)
