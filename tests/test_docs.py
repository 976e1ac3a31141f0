"""What the documentation states about the published experiment is what the published curves hold."""

import csv
import re
import runpy
import tomllib

import pytest
from helpers.programs import ROOT, pages

STATIC = ROOT / "docs" / "_static" / "results"
FIGURES = ROOT / "docs" / "_static" / "figures"


@pytest.fixture
def curves():
    with (ROOT / "examples" / "published_curves.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {case: [row for row in rows if row["case"] == case] for case in "abcdefgh"}


def test_the_table_of_published_results(curves):
    text = (ROOT / "docs" / "experiment" / "protocol.md").read_text(encoding="utf-8")
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


@pytest.fixture
def dilated_study(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "experiments" / "dilated")
    return runpy.run_path(str(ROOT / "experiments" / "dilated" / "study.py"))


def test_the_dilated_page_includes_the_tables_that_its_script_makes(dilated_study):
    page = (ROOT / "docs" / "experiment" / "dilated.md").read_text(encoding="utf-8")
    for name, text in dilated_study["tables"]().items():
        assert (STATIC / name).read_text(encoding="utf-8") == text
        assert f"{{include}} ../_static/results/{name}" in page


def test_the_dilated_page_says_what_the_short_trainings_gave(dilated_study):
    """The later form is never above the plain gradient in the test; the first form is not in training either."""
    accuracies = {(row["net"], row["form"], row["seed"]): row for row in dilated_study["read"]("accuracy")}
    for net in dilated_study["NETS"]:
        above = {}
        for form in (dilated_study["BOTH"], dilated_study["BACKWARD"]):
            for name in ("train_accuracy", "test_accuracy"):
                pairs = [(accuracies[net, form, seed], accuracies[net, "plain", seed]) for seed in "012"]
                above[form, name] = sum(float(ours[name]) > float(plain[name]) for ours, plain in pairs)
        assert list(above.values()) == [1, 0, 0, 0]


def test_the_paper_s_page_includes_the_table_that_its_script_makes():
    script = runpy.run_path(str(ROOT / "experiments" / "paper" / "table.py"))
    assert (STATIC / "paper.md").read_text(encoding="utf-8") == script["table"]()
    page = (ROOT / "docs" / "experiment" / "paper.md").read_text(encoding="utf-8")
    assert "{include} ../_static/results/paper.md" in page


def test_every_included_file_and_picture_exists_and_every_generated_file_is_shown():
    texts = [page.read_text(encoding="utf-8") for page in pages()]
    shown = {name for text in texts for name in re.findall(r"_static/results/([\w.]+)", text)}
    assert shown == {path.name for path in STATIC.iterdir()}
    pictures = {name for text in texts for name in re.findall(r"\{picture\} (\w+)", text)}
    files = {f"{name}.{theme}.svg" for name in pictures for theme in ("light", "dark")}
    assert files == {path.name for path in FIGURES.iterdir()}


@pytest.fixture
def figures(monkeypatch):
    """Return a function that runs a script of `docs/figures` as a module."""
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(ROOT / "docs" / "figures")
    return lambda name: runpy.run_path(str(ROOT / "docs" / "figures" / f"{name}.py"))


def test_the_performance_page_shows_what_the_benchmarks_have_written(figures):
    script = figures("performance")
    for name, text in script["tables"]().items():
        assert (STATIC / name).read_text(encoding="utf-8") == text
    for theme in ("light", "dark"):
        assert script["note"]() in (FIGURES / f"speed.{theme}.svg").read_text(encoding="utf-8")


def test_the_ratios_of_the_benchmarks_follow_from_their_times(figures):
    script = figures("performance")
    for file in ("train_step.json", "rested/train_step.json", "one_thread/train_step.json"):
        for name, row in script["steps"](file).items():
            ours = row["times"]["allconv"]
            # The times are rounded to two digits or more.
            assert row["ratio"] == pytest.approx(script["fastest"](row) / ours, rel=0.04), name


def test_the_readme_has_the_numbers_of_the_benchmarks_and_of_the_runs(figures):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert figures("readme")["with_tables"](text) == text, "python docs/figures/readme.py writes the tables"


def test_the_page_of_the_results_has_at_most_1200_words():
    page = (ROOT / "docs" / "experiment" / "results.md").read_text(encoding="utf-8")
    text = re.sub(r"\{include\} \S*/(\S+)", lambda found: (STATIC / found[1]).read_text(encoding="utf-8"), page)
    assert "All-CNN, AMSGrad, dilated" in text
    assert 500 < sum(bool(re.search(r"\w", word)) for word in text.split()) <= 1200


def test_the_page_of_the_leaps_has_what_was_measured(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "experiments" / "article")
    leaps = runpy.run_path(str(ROOT / "experiments" / "article" / "leaps.py"))
    kept = leaps["kept"]()
    assert leaps["TABLE"].read_text(encoding="utf-8") == leaps["table"](kept)
    rows = {(row["case"], row["backward"], row["maximum"]): row for row in kept}
    assert list(rows) == leaps["TRAININGS"]
    for case in "dh":
        tensor, elementwise = rows[case, "published", "tensor"], rows[case, "published", "elementwise"]
        assert int(tensor["leaping"]) > 0.99 * leaps["STEPS"]
        assert float(elementwise["move"]) < 1
    late, soon = (float(rows["d", "published", kind]["last_loss"]) for kind in ("tensor", "elementwise"))
    assert soon < late - 0.3


@pytest.mark.parametrize("script", ["article/leaps.py", "dilated/study.py"])
def test_measurements_of_minutes_are_not_lost_with_the_next(tmp_path, monkeypatch, script):
    monkeypatch.syspath_prepend((ROOT / "experiments" / script).parent)
    write = runpy.run_path(str(ROOT / "experiments" / script))["write"]
    path, arguments = (tmp_path / "a.csv", ()) if "leaps" in script else (tmp_path, ("a",))
    monkeypatch.setitem(write.__globals__, "RESULTS", path)
    write(*arguments, [{"a": 1}])
    before = (tmp_path / "a.csv").read_bytes()
    with pytest.raises(ValueError, match="fields not in fieldnames"):
        write(*arguments, [{"b": 2}, {"a": 1}, {"b": 3}])
    assert (tmp_path / "a.csv").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.scripts
def test_the_dilated_gradients_are_those_in_the_results(dilated_study):
    checks = [row for net, kind in dilated_study["NETS"].items() for row in dilated_study["check_rows"](kind, net)]
    assert [{name: str(value) for name, value in row.items()} for row in checks] == dilated_study["read"]("check")
    measured = dilated_study["angle_rows"]("allcnn", "All-CNN", epochs=(1,))
    kept = [row for row in dilated_study["read"]("angles") if (row["net"], row["epoch"]) == ("All-CNN", "1")]
    assert [(row["form"], str(row["convolution"])) for row in measured] == [(r["form"], r["convolution"]) for r in kept]
    for name in ("cosine", "ratio"):
        ours, theirs = ([float(row[name]) for row in rows] for rows in (measured, kept))
        assert ours == pytest.approx(theirs, rel=1e-3)


def test_the_quickstart_has_a_row_for_each_extra():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    quickstart = (ROOT / "docs" / "learn" / "quickstart.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", quickstart, re.MULTILINE)) == set(project["optional-dependencies"])
