"""README and documentation keep their word: their code runs, their names exist, CI runs the README's command."""

import re
import subprocess
import sys
from importlib.util import find_spec
from operator import attrgetter

import pytest
from helpers.programs import ROOT, pages

import allconv as ac

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *pages()]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def program(block: str) -> str:
    """Return a block as code; one with prompts as a doctest in the names of the code before it."""
    if ">>>" not in block:
        return block
    return (
        "import doctest\n"
        f"test = doctest.DocTestParser().get_doctest({block!r}, globals(), 'block', None, 0)\n"
        "assert doctest.DocTestRunner().run(test, clear_globs=False).failed == 0\n"
    )


PAGES_WITH_CODE = [page for page in PAGES if blocks(page.read_text(encoding="utf-8"), "python")]


@pytest.mark.scripts
@pytest.mark.parametrize("page", PAGES_WITH_CODE, ids=lambda page: f"{page.parent.name}/{page.name}")
def test_the_code_of_a_page_runs(page, tmp_path):
    """All blocks of a page, in order, as one program in a fresh process and an empty folder; a warning is an error."""
    code = "\n".join(program(block) for block in blocks(page.read_text(encoding="utf-8"), "python"))
    for package in re.findall("^(?:import|from) (torch|onnxruntime|keras|sklearn)", code, re.MULTILINE):
        if not find_spec(package):
            pytest.skip(f"the page needs {package}")
    strict = [] if "import keras" in code else ["-W", "error"]  # Keras warns of its own backends
    result = subprocess.run(
        [sys.executable, *strict, "-c", code], capture_output=True, text=True, timeout=240, cwd=tmp_path
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_names_in_the_table_exist():
    table = (ROOT / "docs" / "experiment" / "names.md").read_text(encoding="utf-8")
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 15
    for row in rows:
        names = re.findall(r"`([\w.]+)", row)
        assert names, row
        for name in names:
            attrgetter(name)(ac)


def test_the_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")):
        assert target.startswith("https://") or (ROOT / target).exists(), target
