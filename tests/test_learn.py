"""The chapters of docs/learn keep their form; `test_readme.py` runs their code, solutions of exercises included."""

import re
import runpy

import pytest
from helpers.programs import ROOT

CHAPTERS = sorted((ROOT / "docs" / "learn").glob("[01]*.md"))
FIGURES = ROOT / "docs" / "_static" / "figures"
every_chapter = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)


def test_there_are_ten_chapters_in_a_row():
    titles = [chapter.read_text(encoding="utf-8").splitlines()[0] for chapter in CHAPTERS]
    assert [re.match(r"# (\d+)\. \w", title)[1] for title in titles] == [str(number + 1) for number in range(10)]
    assert [chapter.name[:2] for chapter in CHAPTERS] == [f"{number + 1:02}" for number in range(10)]


@every_chapter
def test_each_exercise_has_a_hidden_solution_that_is_checked(chapter):
    text = chapter.read_text(encoding="utf-8")
    exercises = re.split(r"^\*\*\d\.\*\* ", text.partition("## Exercises")[2], flags=re.MULTILINE)[1:]
    assert len(exercises) in (2, 3)
    for exercise in exercises:
        solution = re.search(r"<details>\n<summary>Solution</summary>\n\n(.*?)\n\n</details>", exercise, re.DOTALL)
        assert re.search(r"^```python\n.*^assert .*^```$", solution[1], re.DOTALL | re.MULTILINE)


@every_chapter
def test_a_chapter_shows_a_picture_and_is_short(chapter):
    text = chapter.read_text(encoding="utf-8")
    (name,) = re.findall(r"```\{picture\} (learn_\w+)\n:alt: \w", text)
    assert (FIGURES / f"{name}.light.svg").is_file()
    assert len(text.splitlines()) < 320


@pytest.fixture
def script(monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(ROOT / "docs" / "figures")
    return runpy.run_path(str(ROOT / "docs" / "figures" / "learn.py"))


def test_each_picture_of_the_chapters_is_one_that_the_script_draws(script):
    shown = re.findall(r"\{picture\} learn_(\w+)", "".join(path.read_text(encoding="utf-8") for path in CHAPTERS))
    assert shown == list(script["FIGURES"])


@pytest.mark.scripts
def test_the_pictures_are_what_the_script_draws(script, tmp_path):
    script["main"](tmp_path)
    creator = re.compile(r"Matplotlib v[\d.]+")
    measured = {"optimizers", "dilated", "winograd", "trust"}  # their last digits depend on the machine
    for name in script["FIGURES"]:
        for theme in ("light", "dark"):
            file = f"learn_{name}.{theme}.svg"
            drawn, kept = ((folder / file).read_text(encoding="utf-8") for folder in (tmp_path, FIGURES))
            if name not in measured and creator.search(drawn)[0] == creator.search(kept)[0]:
                assert drawn == kept
