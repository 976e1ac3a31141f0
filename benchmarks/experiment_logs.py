"""What the report on the experiment reads: the logs of the runs here, and the published curves."""

import csv
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "examples"))
from article_log import published  # noqa: E402 - found only through the line above

__all__ = ["CASES", "RESULTS", "ROOT", "SEED", "STEPS", "changed_runs", "columns", "published", "read_rows", "runs"]

RESULTS = ROOT / "benchmarks" / "results"
CASES = "abcdefgh"
SEED = 678  # the article's, with which all cases are run
STEPS = 2000  # of an epoch


def runs(order: str = "library") -> list[tuple[dict[str, Any], list[dict[str, float]]]]:
    """Return configuration and log of each run of the experiment, the images in this order."""
    found = _read("*/config.json")
    return [run for run in found if run[0].get("order", "library") == order]


def changed_runs(change: str = "*") -> list[tuple[dict[str, Any], list[dict[str, float]]]]:
    """Return configuration and log of each run with this change of `variants.py`, or with any."""
    return _read(f"variants/*-{change}/config.json")


def _read(pattern: str) -> list[tuple[dict[str, Any], list[dict[str, float]]]]:
    found = []
    for file in sorted(RESULTS.glob(pattern)):
        config = json.loads(file.read_text())
        if "case" in config:
            found.append((config, [_numbers(row) for row in read_rows(file.with_name("log.csv"))]))
    return [run for run in found if run[1]]


def _numbers(row: dict[str, str]) -> dict[str, float]:
    return {name: float(text) for name, text in row.items() if name != "case" and text}


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def columns(names: Sequence[str], rows: Iterable[dict[str, str]]) -> list[str]:
    """Return these columns of the rows as a table in Markdown."""
    lines = [f"| {' | '.join(names).replace('_', ' ')} |", "|" + "---|" * len(names)]
    return lines + [f"| {' | '.join(row[name] for name in names)} |" for row in rows]
