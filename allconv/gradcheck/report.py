"""What a gradient check found, as rows and as a table."""

from dataclasses import dataclass

from allconv.tables import align


@dataclass(frozen=True)
class CheckRow:
    """One thing that was checked.

    Attributes
    ----------
    path : str
        The path of the checked layer in the layer that was given to `check`; "" for that layer itself.
    layer : str
        The layer's class.
    what : str
        What the gradient belongs to, "x" or the name of a parameter; for a side condition, the pass it is about.
    check : str
        "direction", "elements", "adjoint", or the side condition.
    error : float or None
        The relative error; None for a side condition.
    step : float or None
        The step h of the difference; None where there is none.
    status : str
        "ok", "FAILED" or "kink". At a kink the function has no derivative, or none that differences can measure; the
        gradient was checked at a point nearby and is right there.
    note : str
        The place and the fault, in words.
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
    """The result of a gradient check; ``str(report)`` is the table, ``bool(report)`` is `passed`.

    Attributes
    ----------
    title : str
        What was checked, at which shape and with which seed.
    rows : tuple of CheckRow
        One for each thing that was checked.
    """

    title: str
    rows: tuple[CheckRow, ...]

    @property
    def passed(self) -> bool:
        """Whether no row failed. A kink is no failure; its row says where it is."""
        return not self.failures

    @property
    def failures(self) -> tuple[CheckRow, ...]:
        """The rows that failed."""
        return tuple(row for row in self.rows if row.status == "FAILED")

    @property
    def kinks(self) -> tuple[CheckRow, ...]:
        """The rows at which a kink was met."""
        return tuple(row for row in self.rows if row.status == "kink")

    @property
    def starts(self) -> tuple[str, ...]:
        """The paths of the layers that fail although every layer nested in them passes."""
        paths = dict.fromkeys(row.path for row in self.failures)
        return tuple(path for path in paths if not any(other != path and _is_inside(other, path) for other in paths))

    def raise_if_failed(self) -> None:
        """Raise an error with the table as its message, unless the check passed.

        Raises
        ------
        AssertionError
            If a row has failed.
        """
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
        lines = [f"{self.title}: {verdict}", *align(cells, longest_rule=120)]
        lines += [f"{len(side)} side conditions hold, such as arguments and caches left alone."] if side else []
        layers = {row.path: row.layer for row in self.rows}
        lines += [f"The departure starts in {f'{path} {layers[path]}'.strip()}." for path in self.starts]
        return "\n".join(lines)


def _is_inside(path: str, outer: str) -> bool:
    return not outer or path.startswith(f"{outer}.")
