"""The list of planted mistakes fits the code, and a few of them are caught; `planted_mistakes.py` tries all."""

import ast
import shutil
from pathlib import Path

import pytest
from helpers import planted_mistakes
from helpers.planted_mistakes import ROOT, copy_to, mistakes, verdict

PACKAGE = ROOT / "allconv"
QUICK = [
    "a weight gradient that is a mean over the batch",
    "the odd row of 'same' at the top",
    "a bias correction that is one step ahead",
]


def test_each_mistake_can_be_planted_and_its_tests_exist(tmp_path):
    """The old text is there once, the new one is another program, and no two mistakes have one name."""
    shutil.copytree(PACKAGE, tmp_path / "allconv")
    wrong = []
    for mistake in mistakes():
        path = tmp_path / "allconv" / mistake.file
        try:
            before = mistake.plant(tmp_path / "allconv")
        except ValueError as error:
            wrong.append(str(error))
            continue
        if ast.dump(ast.parse(path.read_text(encoding="utf-8"))) == ast.dump(ast.parse(before)):
            wrong.append(f"{mistake.what}: the same program")
        path.write_text(before, encoding="utf-8")
        wrong += [test for test in mistake.tests if not (ROOT / "tests" / test).is_file()]
    assert wrong == []
    assert len({m.what for m in mistakes()}) == len(mistakes()) > 100


def test_every_layer_and_optimizer_has_one():
    # These do no arithmetic of their own, or their mistakes stand under another file's name.
    without = {"__init__.py", "base.py", "pool.py", "short.py", "summary.py", "weight.py"}
    for folder in ("layers", "optimizers"):
        files = {path.name for path in (PACKAGE / folder).glob("*.py")} - without
        assert files <= {Path(m.file).name for m in mistakes() if m.file.startswith(folder)}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    copy_to(folder := tmp_path_factory.mktemp("copy").resolve())
    return folder


@pytest.mark.planted
@pytest.mark.parametrize("what", QUICK)
def test_caught(what, copy):
    (mistake,) = (m for m in mistakes() if m.what == what)
    assert verdict(mistake, copy) == "caught"


@pytest.mark.planted
def test_what_no_test_notices_survives(copy, monkeypatch, capsys):
    """The tests pass without a mistake, so they fail for the mistakes above; a changed docstring is none."""
    harmless = planted_mistakes.Mistake(
        "none", "functional/padding.py", '"""From a padding', '"""from a padding', ("functional/test_padding.py",)
    )
    gone, twice = (harmless._replace(old=old) for old in ("a text that never was", "return"))
    empty = harmless._replace(only="no_such_test")
    monkeypatch.setattr(planted_mistakes, "mistakes", lambda: [harmless, gone, twice, empty])
    assert planted_mistakes.main([]) == 1
    printed = capsys.readouterr().out
    for expected in ("SURVIVED", "NO VERDICT, ", "0 of 4 mistakes caught"):
        assert expected in printed
    assert printed.count("NOT PLANTED: ") == 2
