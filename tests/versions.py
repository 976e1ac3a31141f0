"""Runs the tests with the oldest and the newest versions that pyproject.toml claims, and prints a table.

    python tests/versions.py                       both sets of packages with each Python that is here
    python tests/versions.py oldest                one set
    python tests/versions.py -- tests/optimizers   what stands after -- goes to pytest

Each row has a virtual environment in a temporary folder, where a copy of the library is installed. Python 3.11 to 3.13
come from pyenv or PATH. A row also says where a Python is not here, or a package has no wheel for it. The exit status
is 1 if a test failed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13")
TOOLS = ("pytest>=8.3", "pytest-timeout>=2.3", "hypothesis>=6.100", "joblib", "matplotlib>=3.9", "pillow>=10.3")
SHOWN = ("numpy", "scipy", "threadpoolctl")


def requirements(which: str) -> list[str]:
    """Return the dependencies of pyproject.toml: ``oldest`` holds each to the lowest version that is claimed."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        claimed: list[str] = tomllib.load(file)["project"]["dependencies"]
    return claimed if which == "newest" else [requirement.replace(">=", "==") for requirement in claimed]


def find_python(version: str) -> str | None:
    """Return the path of a Python of this version, such as 3.12; None if there is none."""
    pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    return str(pyenv[-1]) if pyenv else shutil.which(f"python{version}")


def run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command, and keep what it prints."""
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **options)


def tested(version: str, which: str, folder: Path, arguments: list[str]) -> tuple[str, str, bool]:
    """Run the tests with a Python and a set of packages: the versions, the result in words, whether a test failed."""
    if (found := find_python(version)) is None:
        return "", "this Python is not here", False
    python = folder / "venv" / "bin" / "python"
    run(found, "-m", "venv", folder / "venv")
    ignored = shutil.ignore_patterns("__pycache__", ".*_cache", ".venv", ".git", "runs")
    copy = shutil.copytree(ROOT, folder / "copy", ignore=ignored)
    # Wheels only: these are what users get, and to build SciPy takes compilers.
    pip = (python, "-m", "pip", "install", "-q", "--only-binary=numpy,scipy,matplotlib,pillow")
    done = run(*pip, *requirements(which), *TOOLS, "-e", copy)
    if done.returncode:
        return "", f"cannot be installed: {done.stderr.strip().splitlines()[-1][:100]}", False
    listed = run(python, "-m", "pip", "list", "--format=freeze").stdout.split()
    versions = ", ".join(entry.replace("==", " ") for entry in listed if entry.partition("==")[0] in SHOWN)
    environment = os.environ | {"PYTHONPATH": str(copy)}
    done = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, cwd=copy, env=environment)
    if done.returncode:
        print(done.stdout[-6000:], file=sys.stderr, flush=True)
    return versions, done.stdout.strip().splitlines()[-1].strip("= "), done.returncode != 0


def main(arguments: list[str]) -> int:
    """Run the sets that are named, or both; print a row for each, and return the exit status."""
    split = arguments.index("--") if "--" in arguments else len(arguments)
    failures = 0
    print("| Python | packages | result |\n|---|---|---|", flush=True)
    for which in arguments[:split] or ("oldest", "newest"):
        for version in PYTHONS:
            with tempfile.TemporaryDirectory() as folder:
                versions, result, failed = tested(version, which, Path(folder), arguments[split + 1 :])
            failures += failed
            print(f"| {version} | {which}: {versions} | {result} |", flush=True)
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
