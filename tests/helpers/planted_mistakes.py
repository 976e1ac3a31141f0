"""Plants known mistakes in the library, one at a time, and tells which of them the tests catch.

    python tests/helpers/planted_mistakes.py            all of them; some minutes
    python tests/helpers/planted_mistakes.py momentum   those with this word in their description or file

It needs the extra ``test``. Each mistake of planted_mistakes.toml goes into a copy of the package in a temporary
folder, where the tests that should notice run without those that compare with PyTorch, so that the library's own must
do. The exit status is 1 if a mistake survives, if a text no longer occurs exactly once, or if a run ends otherwise than
by failing tests. Before that, the same tests run without a mistake, and must pass. After a change of the code, adapt
the texts; a mistake that survives shows a test that is missing.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
LIST = Path(__file__).with_suffix(".toml")
SECONDS = 300  # of one run, at most

# Without the search for a smaller example, a failing test of hypothesis ends at once.
PROFILE = """
from hypothesis import Phase, settings
settings.register_profile("planted", phases=[Phase.explicit, Phase.generate], database=None, derandomize=True)
settings.load_profile("planted")
"""


class Mistake(NamedTuple):
    """A text in a file of the package, what stands there by mistake, and the tests that must fail then."""

    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    only: str = ""

    def plant(self, package: Path) -> str:
        """Write the mistake into `package`, and return what stood in the file before."""
        path = package / self.file
        text = path.read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise ValueError(f"{self.file} must have this text once, got {text.count(self.old)} times: {self.old!r}")
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")
        return text

    def selection(self) -> tuple[tuple[str, ...], str]:
        """Return the tests, and pytest's expression that chooses among them."""
        return self.tests, f"({self.only}) and not torch" if self.only else "not torch"


def mistakes() -> list[Mistake]:
    """Return all of the list."""
    with LIST.open("rb") as file:
        return [Mistake(**(entry | {"tests": tuple(entry["tests"])})) for entry in tomllib.load(file)["mistake"]]


def copy_to(folder: Path) -> None:
    """Copy what the tests need."""
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("allconv", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "conftest.py").write_text((ROOT / "conftest.py").read_text(encoding="utf-8") + PROFILE, encoding="utf-8")


def run(folder: Path, selection: tuple[tuple[str, ...], str]) -> str:
    """Return "passed" or "failed" for the tests of the copy in `folder`, or how else the run ended."""
    tests, only = selection
    check = f"import allconv, sys; sys.exit(allconv.__file__ != {str(folder / 'allconv' / '__init__.py')!r})"
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    options: dict[str, Any] = {
        "cwd": folder,
        "env": environment,
        "capture_output": True,
        "text": True,
        "timeout": SECONDS,
    }
    try:
        if subprocess.run([sys.executable, "-c", check], **options).returncode:
            return "no run of the copy"
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", only]
        done = subprocess.run([*command, *(f"tests/{test}" for test in tests)], **options)
    except subprocess.TimeoutExpired:
        return "out of time"
    # 2 and above: interrupted, as by an error at import, or no test chosen. That is no test that fails.
    return {0: "passed", 1: "failed"}.get(done.returncode, f"pytest ended with {done.returncode}: {done.stdout[-800:]}")


def verdict(mistake: Mistake, folder: Path) -> str:
    """Plant a mistake in the copy in `folder`, run its tests, and put the file back."""
    before = mistake.plant(folder / "allconv")
    try:
        ended = run(folder, mistake.selection())
    finally:
        (folder / "allconv" / mistake.file).write_text(before, encoding="utf-8")
    return {"failed": "caught", "passed": "SURVIVED"}.get(ended, ended)


def main(words: list[str]) -> int:
    """Plant the mistakes, print a table, and return the exit status."""
    chosen = [m for m in mistakes() if all(word in f"{m.file} {m.what}" for word in words)]
    bad = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        copy_to(folder)
        sound = {selection: run(folder, selection) for selection in dict.fromkeys(m.selection() for m in chosen)}
        for mistake in chosen:
            started = time.perf_counter()
            if (without := sound[mistake.selection()]) == "passed":
                try:
                    result = verdict(mistake, folder)
                except ValueError as error:
                    result = f"NOT PLANTED: {error}"
            else:
                result = f"NO VERDICT, without a mistake: {without}"
            bad += result != "caught"
            print(f"{result:10} {time.perf_counter() - started:5.1f} s  {mistake.file}: {mistake.what}", flush=True)
    print(f"{len(chosen) - bad} of {len(chosen)} mistakes caught")
    return 1 if bad or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
