"""What a gradient check found, as rows and as a table."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One thing that was checked.

    Attributes
    ----------
    path : str
        The checked layer's path in what was handed to `check`; "" for that itself.
    layer : str
        The layer's class.
    what : str
        What the gradient belongs to, the input or a parameter; or which pass a side condition is about.
    check : str
        "direction", "elements", "adjoint", or the side condition.
    error : float or None
        Relative error; None for a side condition.
    step : float or None
        The step h with which it was found; None where there is no step.
    status : str
        "ok", "FAILED", or "kink": the function has no derivative here, or none that differences can reach; right
        beside the point the gradient was checked and is right.
    note : str
        Where and what, in words.
    """

    path: str
    layer: str
    what: str
    check: str
    error: float | None
    step: float | None
    status: str
    note: str = ""


@dataclass(frozen=True)
class Report:
    """The rows of a gradient check; ``str(report)`` is the table, ``bool(report)`` is `passed`."""

    title: str
    rows: tuple[Row, ...]

    @property
    def passed(self) -> bool:
        """Whether no row failed. A kink is no failure; its row says where it is."""
        return not self.failures

    @property
    def failures(self) -> tuple[Row, ...]:
        """The rows that failed."""
        return tuple(row for row in self.rows if row.status == "FAILED")

    @property
    def kinks(self) -> tuple[Row, ...]:
        """The rows at which a kink was met."""
        return tuple(row for row in self.rows if row.status == "kink")

    @property
    def starts(self) -> tuple[str, ...]:
        """The paths at which a departure starts: layers that fail although everything nested in them is right."""
        paths = dict.fromkeys(row.path for row in self.failures)
        return tuple(path for path in paths if not any(other != path and _is_inside(other, path) for other in paths))

    def raise_if_failed(self) -> None:
        """Raise an AssertionError with the table as its message, unless the check passed."""
        if not self.passed:
            raise AssertionError(str(self))

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        verdict = "passed" if self.passed else f"FAILED in {len(self.failures)} of {len(self.rows)} rows"
        verdict += f", {len(self.kinks)} with kinks" if self.kinks else ""
        cells = [("layer", "of", "check", "error", "h", "status")]
        side = [row for row in self.rows if row.error is None and row.status == "ok"]
        for row in self.rows:
            if row in side:
                continue
            error = "" if row.error is None else f"{row.error:.1e}"
            step = "" if row.step is None else f"{row.step:.0e}"
            note = f"{row.status}: {row.note}" if row.note else row.status
            cells.append((f"{row.path} {row.layer}".strip(), row.what, row.check, error, step, note))
        lines = [f"{self.title}: {verdict}", *table(cells)]
        lines += [f"{len(side)} side conditions hold, such as arguments and caches left alone."] if side else []
        layers = {row.path: row.layer for row in self.rows}
        lines += [f"The departure starts in {f'{path} {layers[path]}'.strip()}." for path in self.starts]
        return "\n".join(lines)


def table(cells: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows as lines with aligned columns; the first row is the head."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return [lines[0], "-" * min(120, max(map(len, lines))), *lines[1:]]


def _is_inside(path: str, outer: str) -> bool:
    return not outer or path.startswith(f"{outer}.")
