"""The list of planted mistakes fits the code, and a few of them are caught; `planted_mistakes.py` tries all."""

import ast
import tempfile
from collections import Counter
from pathlib import Path

import planted_mistakes
import pytest
from planted_mistakes import ROOT, copy_to, mistakes, run

PACKAGE = ROOT / "allconv"
QUICK = [
    "a weight gradient that is a mean over the batch",
    "the odd row of 'same' at the top",
    "a bias correction that is one step ahead",
]


def test_at_least_forty_in_layers_losses_and_optimizers_each_with_a_name_of_its_own():
    known = mistakes()
    assert len({m.what for m in known}) == len(known)
    count = Counter(Path(m.file).parts[0] for m in known)
    assert count["layers"] + count["losses"] + count["optimizers"] >= 40
    assert count["functional"] >= 20


@pytest.mark.parametrize("mistake", mistakes(), ids=lambda m: f"{m.file}: {m.what}")
def test_a_mistake_can_be_planted(mistake, tmp_path):
    """The old text is there once, the new one is another program, and the tests that must fail exist."""
    (tmp_path / mistake.file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / mistake.file).write_bytes((PACKAGE / mistake.file).read_bytes())
    before = mistake.plant(tmp_path)
    after = (tmp_path / mistake.file).read_text(encoding="utf-8")
    assert ast.dump(ast.parse(after)) != ast.dump(ast.parse(before))
    assert mistake.tests
    assert all((ROOT / "tests" / test).is_file() for test in mistake.tests)


def test_every_layer_and_optimizer_has_one():
    # These do no arithmetic of their own, or their mistakes stand under another file's name.
    without = {"__init__.py", "base.py", "pool.py", "short.py", "summary.py"}
    for folder in ("layers", "optimizers"):
        files = {path.name for path in (PACKAGE / folder).glob("*.py")} - without
        assert files <= {Path(m.file).name for m in mistakes() if m.file.startswith(folder)}


def test_a_text_that_is_gone_is_refused(tmp_path):
    mistake = mistakes()[0]
    (tmp_path / mistake.file).parent.mkdir()
    for text in ("", 2 * mistake.old):
        (tmp_path / mistake.file).write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=rf"{mistake.file} must have this text once, got {2 if text else 0} times"):
            mistake.plant(tmp_path)
        assert (tmp_path / mistake.file).read_text(encoding="utf-8") == text


@pytest.fixture(scope="module")
def copy():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        copy_to(folder)
        yield folder


@pytest.mark.parametrize("what", QUICK)
def test_caught(what, copy):
    (mistake,) = (m for m in mistakes() if m.what == what)
    before = mistake.plant(copy / "allconv")
    try:
        assert run(copy, mistake.selection()) == "failed"
    finally:
        (copy / "allconv" / mistake.file).write_text(before, encoding="utf-8")


def test_what_no_test_notices_survives(copy, monkeypatch, capsys):
    """The tests pass without a mistake, so they fail for the mistakes above; a changed docstring is none."""
    harmless = planted_mistakes.Mistake(
        "none", "functional/padding.py", '"""From a padding', '"""from a padding', ("functional/test_padding.py",)
    )
    gone = harmless._replace(old="a text that never was")
    empty = harmless._replace(only="no_such_test")
    monkeypatch.setattr(planted_mistakes, "mistakes", lambda: [harmless, gone, empty])
    assert planted_mistakes.main([]) == 1
    printed = capsys.readouterr().out
    for expected in ("SURVIVED", "NOT PLANTED: ", "NO VERDICT, ", "0 of 3 mistakes caught"):
        assert expected in printed
