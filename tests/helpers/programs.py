"""Programs, as modules of this process and as processes of their own."""

import csv
import importlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
# The start of a program that has no more than a browser's Python: neither threads, nor ctypes, nor fsync.
BROWSER = """
import os, sys, threading
sys.modules.update(dict.fromkeys(["ctypes", "_ctypes"]))
del os.fsync
def refuse(*arguments): raise RuntimeError("can't start new thread")
threading._start_new_thread = threading._start_joinable_thread = refuse
"""


def pages():
    """Return the Markdown pages of the documentation that are written by hand."""
    docs = ROOT / "docs"
    return [page for page in sorted(docs.rglob("*.md")) if not page.relative_to(docs).parts[0].startswith("_")]


def load(name):
    """Import an example; like the program itself, it finds the others beside it."""
    if str(EXAMPLES) not in sys.path:
        sys.path.append(str(EXAMPLES))
    return importlib.import_module(name)


def run(name, *options, cwd, status=0):
    """Run an example as a reader does, a warning being an error, and return what it printed, or its errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / name, *map(str, options)],
        capture_output=True, encoding="utf-8", timeout=280, cwd=cwd, env=os.environ | {"PYTHONUTF8": "1"},
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    return done.stderr if status else done.stdout


def python(code, *arguments, **environment):
    """Run code in a process of its own, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True, text=True, timeout=120, cwd=ROOT, env=os.environ | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def log_of(folder):
    """Return the rows of a run's log without what the clock says."""
    with (folder / "log.csv").open(newline="", encoding="utf-8") as file:
        return [{name: text for name, text in row.items() if name != "seconds"} for row in csv.DictReader(file)]
