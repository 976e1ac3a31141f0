"""The report on the experiment follows from its logs, whatever part of the runs there is, and is the committed one."""

import csv
import re
import runpy

import pytest
from helpers.programs import ROOT

FOLDER = ROOT / "experiments" / "article"


@pytest.fixture
def curves():
    return runpy.run_path(str(FOLDER / "curves.py"))


@pytest.fixture
def report(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return runpy.run_path(str(FOLDER / "report.py"))


def published(case):
    with (ROOT / "examples" / "published_curves.csv").open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["case"] == case]


def rows_of(case, backward, epochs, seed=678, order="published", shift=0.0):
    """Return rows of a run that lies `shift` above the published test accuracies."""
    return [
        {
            **row, "order": order, "backward": backward, "seed": seed, "learning_rate": 0.0003, "dilated_rate": "",
            "seconds": 1.0, "test_accuracy": f"{float(row['test_accuracy']) + shift:.4f}",
        }
        for row in published(case)[:epochs]
    ]  # fmt: skip


@pytest.fixture
def logged(curves, tmp_path):
    """Return a function that writes rows to a file as `epochs.csv` is written, and reads the runs in it."""

    def read(*rows, columns=None):
        path = tmp_path / "epochs.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns or curves["COLUMNS"], lineterminator="\n", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        return curves["runs"](path)

    return read


def cells(table):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_the_committed_report_follows_from_the_committed_logs(report, logged, monkeypatch, capsys):
    assert report["main"](["--check"]) == 0, capsys.readouterr().out
    found = logged(*rows_of("f", "gradient", 2))
    monkeypatch.setitem(report["main"].__globals__, "runs", lambda: found)
    assert report["main"](["--check"]) == 1
    assert "out of date: answer.md, cases.md, " in capsys.readouterr().out


def test_a_whole_run_has_the_difference_of_its_last_ten_epochs(report, logged):
    """The first eleven epochs lie 0.03 above the published ones, the last ten 0.006 below."""
    whole = rows_of("h", "published", 21, shift=0.03)[:11] + rows_of("h", "published", 21, shift=-0.006)[11:]
    found = logged(*whole, *rows_of("a", "gradient", 21, shift=0.001), *rows_of("b", "gradient", 1))
    rows = {row[0][0]: row[1:] for row in cells(report["case_table"](found))[2:]}
    assert rows["h"][:2] == ["21", "0.8426 / 0.8486"]
    assert rows["h"][-2:] == [f"{(11 * 0.03 + 10 * 0.006) / 21:.4f}", "0.0060"]
    assert rows["b"][-2:] == ["0.0000", ""]
    assert "-0.0060 (h) to +0.0010 (a)" in report["answer"](found)
    assert "0.0010 (a) to 0.0060 (h)" in report["answer"](found)


def test_a_burst_of_the_loss_has_the_training_accuracies_around_it(report, logged):
    rows = rows_of("g", "published", 5)
    rows[2]["train_cost"] = f"{float(rows[2]['train_cost']) + 1.5:.3f}"
    for epoch, shift in {1: 0.01, 2: -0.2, 3: 0.02, 4: -0.03}.items():
        rows[epoch]["train_accuracy"] = f"{float(rows[epoch]['train_accuracy']) + shift:.5f}"
    table = cells(report["burst_table"](logged(*rows)))
    assert len(table) == 3
    assert table[2][:2] == ["g", "2"]
    assert table[2][3:] == ["+0.0100", "+0.0200", "-0.0300"]
    assert "No main run" in report["burst_table"](logged(*rows_of("g", "published", 5)))


def test_the_main_run_goes_back_as_the_published_code_did(report, logged):
    found = logged(
        *(row for case in "abcdefgh" for row in rows_of(case, "gradient", 1)),
        *(row for case in "cdgh" for row in rows_of(case, "published", 2)),
    )
    epochs = {row[0][0]: row[1] for row in cells(report["case_table"](found))[2:]}
    assert epochs == dict(zip("abcdefgh", "11211122", strict=True))


def test_the_backward_passes_are_compared_over_the_epochs_of_both(report, logged):
    gradient, by_hand = rows_of("g", "gradient", 3, shift=-0.02), rows_of("g", "published", 2, shift=0.01)
    by_hand[0]["train_cost"], gradient[0]["train_cost"] = "1.2", "1.75"
    row = next(row for row in cells(report["backward_table"](logged(*gradient, *by_hand))) if row[0] == "g")
    theirs = published("g")[:2]
    assert row[1] == "2"
    assert row[2] == f"1.750 / 1.200 / {float(theirs[0]['train_cost']):.3f}"
    last = float(theirs[1]["test_accuracy"])
    assert row[4] == f"{last - 0.02:.4f} / {last + 0.01:.4f} / {last:.4f}"
    assert row[5:] == ["+0.0300", "0.0200 / 0.0100"]


def test_seeds_are_compared_over_the_epochs_of_all(report, logged):
    found = logged(
        *rows_of("f", "gradient", 3, shift=0.001), *rows_of("f", "gradient", 2, seed=1, shift=0.02),
        *rows_of("f", "gradient", 1, seed=2, shift=-0.01), *rows_of("f", "gradient", 2, seed=2, shift=0.01)[1:],
        *rows_of("e", "gradient", 1, seed=1),
    )  # fmt: skip
    assert cells(report["seed_table"](found))[2:] == [
        ["f", "gradient", "1, 2, 678", "2", "0.0245", "0.0300", "1 of 2"],
    ]
    assert cells(report["case_table"](found))[6][1] == "0"  # e has no run with seed 678


def all_cases(*left_out, **shifts):
    """Return whole main runs of the cases, each by its entry of `shifts` above the published one."""
    passes = {case: "published" if case in "cgh" else "gradient" for case in "abcdefgh" if case not in left_out}
    return [row for case, name in passes.items() for row in rows_of(case, name, 21, shift=shifts.get(case, 0.0))]


@pytest.mark.parametrize(
    ("shifts", "expected"),
    [
        ({}, ["yes", "yes", "yes", "yes"]),
        ({"b": 0.01}, ["no", "yes", "yes", "yes"]),  # 0.8959
        ({"d": 0.01}, ["yes", "no", "yes", "yes"]),  # 0.0161 above the mean of a to c
        ({"h": 0.005}, ["yes", "yes", "yes", "no"]),  # 0.8536; e has 0.8526
        ({"e": -0.03, "f": -0.03}, ["yes", "yes", "no", "no"]),
    ],
)
def test_a_conclusion_is_confirmed_within_its_bounds(report, logged, shifts, expected):
    found = logged(*all_cases(**shifts))
    assert [row[-1] for row in cells(report["conclusion_table"](found))[2:]] == expected
    text = report["answer"](found)
    assert text.startswith(
        "On the original images all eight cases have run 21 epochs, and their last test accuracy differs"
    )
    assert f"Of the article's 4 conclusions the runs confirm {expected.count('yes')}." in text
    assert len(text.splitlines()) == 3


def test_a_conclusion_is_open_as_long_as_a_run_that_it_needs_has_not_ended(report, logged):
    rows = cells(report["conclusion_table"](logged(*all_cases("d", "e"), *rows_of("e", "gradient", 20))))[2:]
    assert [row[-1] for row in rows] == ["yes", "open until d end", *["open until d, e end"] * 2]
    assert [row[-2] != "" for row in rows] == [True, False, False, False]


def test_the_answer_names_how_many_runs_are_near_and_what_the_backward_pass_changes(report, logged):
    found = logged(*all_cases(b=0.02, g=-0.011, h=-0.01), *rows_of("g", "gradient", 3, shift=0.019))
    text = report["answer"](found)
    assert "is 0.0000 (a) to 0.0200 (b), and 6 of 8 whole runs keep to the expected 0.01." in text
    assert len(text.splitlines()) == 4
    assert "changes the mean test accuracy by -0.0300 (g)." in text


def test_each_cause_that_was_measured_has_its_size(report, logged):
    burst = rows_of("h", "published", 6, shift=0.003)[:4] + rows_of("h", "published", 6, shift=-0.012)[4:]
    burst[4]["train_cost"] = "1.9"
    found = logged(
        *rows_of("f", "gradient", 3), *rows_of("f", "gradient", 2, seed=1, shift=0.02),
        *rows_of("f", "gradient", 2, seed=2, shift=-0.01), *rows_of("c", "gradient", 2),
        *rows_of("c", "published", 3, shift=-0.04), *burst,
    )  # fmt: skip
    assert [[row[0], *row[2:]] for row in cells(report["causes_table"](found))[2:]] == [
        ["chance", "f", "0 to 1", "0.0200"],  # The mean of 0.02, 0.01 and 0.03.
        ["backward pass", "c", "0 to 1", "0.0400"],
        ["epochs before a burst of the loss", "h", "0 to 3", "0.0030"],
        ["epochs from the burst on", "h", "4 to 5", "0.0120"],
    ]
    assert "No cause" in report["causes_table"](logged(*rows_of("f", "gradient", 3)))


def changed(**values):
    rows = rows_of("h", "gradient", 2)
    rows[1] |= values
    return rows


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (changed(case="i"), "must hold epochs 0 to 20 of cases a to h, each by its pass, got"),
        (changed(epoch="21"), "must hold epochs 0 to 20"),
        (changed(backward="guided"), "must hold epochs 0 to 20"),
        (rows_of("f", "published", 1), "must hold epochs 0 to 20"),
        (changed(epoch="0"), "must have each epoch of a run once, got a second row"),
        (changed(epoch="3"), r"must have a run's epochs from 0 on, got \[0, 3\] of \('h', 'gradient', 678\)"),
        (changed(test_accuracy="61.2"), "accuracies must lie between 0 and 1, got"),
        (changed(test_accuracy="nan"), "accuracies must lie between 0 and 1, got"),
        (changed(test_cost=""), "could not convert string to float"),
    ],
)
def test_a_log_of_another_experiment_is_refused(logged, rows, message):
    with pytest.raises(ValueError, match=message):
        logged(*rows)


def test_the_figure_draws_ours_over_the_published_curve(report, logged, tmp_path):
    pytest.importorskip("matplotlib")
    colours = []
    for name, rows in (("none", []), ("some", rows_of("f", "gradient", 5, shift=0.05))):
        found, path = logged(*rows), tmp_path / f"{name}.svg"
        report["draw"](found, path)
        text = path.read_text(encoding="utf-8")
        assert report["digest"](found) in text
        assert all(f"{case}: " in text for case in "abcdefgh")
        colours.append({colour: len(re.findall(rf"stroke: {colour}", text)) for colour in ("#999999", "#d62728")})
        report["draw"](found, again := tmp_path / "again.svg")
        assert again.read_bytes() == path.read_bytes()
    assert colours[0]["#999999"] == colours[1]["#999999"] >= 8
    assert colours[1]["#d62728"] > colours[0]["#d62728"]


@pytest.mark.parametrize("page", ["README.md", "docs/index.md", "docs/experiment/results.md"])
def test_a_page_calls_the_runs_under_way_as_long_as_one_is_not_whole(page, curves):
    """When the last of the eight runs has its 21 epochs, the pages must say so."""
    unfinished = any(len(curve) < curves["EPOCHS"] for curve in curves["main_runs"](curves["runs"]()).values())
    assert ("under way" in (ROOT / page).read_text(encoding="utf-8")) == unfinished
