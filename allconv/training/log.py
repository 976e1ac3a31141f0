"""The log of a training run: one row of numbers an epoch for a table, and text for a reader."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from allconv.checkpoint import format as storage
from allconv.checkpoint.atomic import atomic_write
from allconv.validation import check_instance, describe


class Log:
    """Rows and texts, one of each an epoch, that are written to ``log.csv`` and ``log.txt``.

    Parameters
    ----------
    columns : sequence of str
        The columns of ``log.csv``.
    settings : mapping
        Values that columns of the same name get in every row.
    saved : mapping
        The log in a checkpoint, as `state` returned it; an empty mapping starts a new log.
    best : str, optional
        The column that tells which epoch is the best one: the epoch with the largest value.
    """

    def __init__(
        self, columns: Sequence[str], settings: Mapping[str, Any], saved: Mapping[str, Any], *, best: str | None = None
    ) -> None:
        self.columns, self._best = list(columns), best
        self._settings = {name: settings[name] for name in self.columns if name in settings}
        # The rows of older runs may lack columns that are settings today.
        self.rows: list[dict[str, Any]] = [self._settings | row for row in saved.get("rows", [])]
        self._texts: list[str] = list(saved.get("blocks", []))

    @property
    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of the log."""
        return {"rows": self.rows, "blocks": self._texts}

    def add(self, row: Mapping[str, Any], text: str) -> None:
        """Add an epoch, or raise and add nothing. `row` has all columns except those that are settings."""
        if not isinstance(row, Mapping):
            raise TypeError(f"row must be a dict with the columns of the log, got {describe(row)}")
        check_instance("text", text, str)
        # A NumPy scalar would have other digits in the table than the plain value that a checkpoint gives back.
        plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in row.items()}
        complete = self._settings | plain
        if complete.keys() != set(self.columns):
            raise ValueError(
                f"row must have the columns {', '.join(self.columns)}, got {', '.join(map(str, complete))}"
            )
        storage.check_storable({"rows": [complete]})
        if self._best is not None and not isinstance(complete[self._best], int | float | None):
            raise TypeError(
                f"row[{self._best!r}] must be a number or None to tell the best epoch, "
                f"got {describe(complete[self._best])}"
            )
        self.rows.append(complete)
        if text:
            self._texts.append(text)

    def last_is_best(self) -> bool:
        """Tell whether the last epoch is the best one so far, False without a column that tells; NaN never is."""
        if self._best is None:
            return False
        known = [value for row in self.rows if (value := row.get(self._best)) is not None and not math.isnan(value)]
        return bool(known) and self.rows[-1].get(self._best) == max(known)

    def write(self, folder: Path) -> None:
        """Write ``log.csv``, and ``log.txt`` if there is text or an older ``log.txt``, whose text must not stay."""
        table = io.StringIO()
        writer = csv.DictWriter(table, self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        files = {"log.csv": table.getvalue()}
        if self._texts or (folder / "log.txt").exists():
            files["log.txt"] = "".join(self._texts)
        for name, content in files.items():
            with atomic_write(folder / name) as file:
                file.write(content.encode())
