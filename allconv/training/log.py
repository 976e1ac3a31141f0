"""The log of a training run: one row of numbers an epoch for a table, and text for a reader."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from allconv.checkpoint.atomic import atomic_write


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
        """Add an epoch. `row` has all columns except those that are settings."""
        complete = self._settings | dict(row)
        if complete.keys() != set(self.columns):
            raise ValueError(f"row must have the columns {', '.join(self.columns)}, got {', '.join(complete)}")
        self.rows.append(complete)
        if text:
            self._texts.append(text)

    def last_is_best(self) -> bool:
        """Tell whether the last epoch is the best one so far; False without a column that tells."""
        return self._best is not None and self.rows[-1][self._best] == max(row[self._best] for row in self.rows)

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
