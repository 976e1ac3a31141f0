"""What the article concludes from its runs, and whether the main runs confirm it."""

from collections.abc import Callable
from dataclasses import dataclass

from curves import EPOCHS, Curve, Run, main_runs, published_curves

from allconv.tables import markdown

Ends = dict[str, float]  # The test accuracy of each case after its last epoch.


@dataclass(frozen=True)
class Conclusion:
    """A conclusion of the article: it is confirmed if its measure of the last test accuracies lies within bounds."""

    statement: str
    cases: str
    measured: str
    measure: Callable[[Ends], float]
    low: float | None
    high: float

    def bounds(self) -> str:
        """Return the bounds in words."""
        return f"at most {self.high:g}" if self.low is None else f"{self.low:g} to {self.high:g}"

    def confirmed_by(self, ends: Ends) -> bool:
        """Say whether the last test accuracies confirm the conclusion."""
        value = self.measure(ends)
        return value <= self.high and (self.low is None or value >= self.low)


def mean(ends: Ends, cases: str) -> float:
    """Return the mean of some cases' test accuracies, to the digits of a table."""
    return round(sum(ends[case] for case in cases) / len(cases), 4)


CONCLUSIONS = (
    Conclusion(
        "a, b and c end alike, near 88 %", "abc", "the farthest of a, b and c from 0.88",
        lambda ends: round(max(abs(ends[case] - 0.88) for case in "abc"), 4), None, 0.01,
    ),
    Conclusion(
        "d is not clearly better", "abcd", "d minus the mean of a, b and c",
        lambda ends: round(ends["d"] - mean(ends, "abc"), 4), None, 0.01,
    ),
    Conclusion(
        "All-CNN ends about 3 points lower", "abcdefgh", "the mean of a to d minus the mean of e to h",
        lambda ends: round(mean(ends, "abcd") - mean(ends, "efgh"), 4), 0.02, 0.04,
    ),
    Conclusion(
        "h ends lowest", "abcdefgh", "h minus the lowest other case",
        lambda ends: round(ends["h"] - min(ends[case] for case in "abcdefg"), 4), None, 0.0,
    ),
)  # fmt: skip


def last_accuracies(curves: dict[str, Curve]) -> Ends:
    """Return the last test accuracy of each case that has all its epochs."""
    return {case: curve[-1].test_accuracy for case, curve in curves.items() if len(curve) == EPOCHS}


def verdicts(found: dict[Run, Curve]) -> list[bool | None]:
    """Return for each conclusion whether the main runs confirm it; None as long as a run that it needs is not whole."""
    ends = last_accuracies(main_runs(found))
    return [each.confirmed_by(ends) if set(each.cases) <= set(ends) else None for each in CONCLUSIONS]


def conclusion_table(found: dict[Run, Curve]) -> str:
    """Return each conclusion with its measure, that of the published runs and that of ours."""
    ends, published = last_accuracies(main_runs(found)), last_accuracies(published_curves())
    rows = [["conclusion", "measured as", "confirmed by", "published", "here", "confirmed"]]
    for each, verdict in zip(CONCLUSIONS, verdicts(found), strict=True):
        row = [each.statement, each.measured, each.bounds(), f"{each.measure(published):.4f}"]
        if verdict is None:
            row += ["", f"open until {', '.join(sorted(set(each.cases) - set(ends)))} end"]
        else:
            row += [f"{each.measure(ends):.4f}", "yes" if verdict else "no"]
        rows.append(row)
    return markdown(rows)
