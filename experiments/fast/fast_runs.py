"""The collected runs of the fast CIFAR-10 recipes, and what is counted about them."""

import csv
import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import allconv as ac

sys.path.append(str(Path(__file__).resolve().parents[2] / "examples"))
import fast_cifar10 as example

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RUNS = HERE / "runs.csv"
LOG_COLUMNS, RECIPES = example.COLUMNS, example.RECIPES
COLUMNS = ["optimizer", "target", "seed", "without", *LOG_COLUMNS, "machine", "threads", "idle"]
IMAGES = (50_000, 10_000)  # for training, and for the test

Row = dict[str, str]


@dataclass(frozen=True)
class Run:
    """A finished run: the rows of its epochs, as `runs.csv` has them."""

    rows: tuple[Row, ...]

    @property
    def key(self) -> tuple[str, float, str, int]:
        """Return optimizer, target, replaced part and seed, which tell runs apart."""
        row = self.rows[0]
        return row["optimizer"], float(row["target"]), row["without"], int(row["seed"])

    @property
    def recipe(self) -> example.Recipe:
        """Return the recipe of the run."""
        return RECIPES[self.key[:2]]

    @property
    def idle(self) -> bool:
        """Return whether the machine had nothing else to do, so that the minutes mean something."""
        return self.rows[0]["idle"] == "yes"

    @property
    def minutes(self) -> float:
        """Return the minutes of all training steps; tests are not among them."""
        return float(self.rows[-1]["minutes"])

    @property
    def epochs(self) -> list[float]:
        """Return how many epochs were done at each row. The last epoch of a recipe may be a part of one."""
        return [min(int(row["epoch"]) + 1, self.recipe.epochs) for row in self.rows]

    @property
    def curve(self) -> list[float]:
        """Return the test accuracy with one view at each row."""
        return [float(row["test_accuracy"]) for row in self.rows]

    @property
    def accuracy(self) -> float:
        """Return the test accuracy with one view after the last step."""
        return self.curve[-1]

    @property
    def accuracy_views(self) -> float:
        """Return the test accuracy with six views after the last step."""
        return float(self.rows[-1]["test_accuracy_views"])


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a CSV file; none if there is no such file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def to_runs(rows: Iterable[Row]) -> list[Run]:
    """Return the runs that the rows belong to, in the order of optimizer, target, replaced part and seed."""
    found: dict[tuple[str, float, str, int], list[Row]] = {}
    for row in rows:
        found.setdefault(Run((row,)).key, []).append(row)
    return [Run(tuple(sorted(found[key], key=lambda row: int(row["epoch"])))) for key in sorted(found)]


def groups(runs: Iterable[Run]) -> dict[tuple[str, float], list[Run]]:
    """Return the runs of the complete recipes, by optimizer and target; their seeds differ."""
    found: dict[tuple[str, float], list[Run]] = {}
    for run in runs:
        if not run.key[2]:
            found.setdefault(run.key[:2], []).append(run)
    return found


def images_trained(recipe: example.Recipe) -> int:
    """Return how many images a whole run trains on; incomplete batches are dropped."""
    return math.ceil(IMAGES[0] // recipe.batch * recipe.epochs) * recipe.batch


def petaflop(recipe: example.Recipe) -> float:
    """Return the floating-point operations of a whole run, in 1e15.

    A multiply-add counts as two operations. Training on an image costs three forward passes: the forward pass itself,
    the gradient of each input and the gradient of each weight. The test is left out.
    """
    model = ac.models.fast_net(np.zeros((2, 2, 3, 24), np.float32), recipe.widths, rng=np.random.default_rng(0))
    return 1e-15 * 2 * 3 * model.multiply_adds((32, 32, 3)) * images_trained(recipe)
