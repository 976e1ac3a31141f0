"""Compare the runs with the published ones and with one another: the tables of docs/experiment/results.md."""

import itertools
import statistics
from collections.abc import Sequence

from curves import CASES, EPOCHS, HAND_WRITTEN, PASSES, SEED, Curve, Epoch, Run, main_runs, published_curves

from allconv.tables import markdown

LAST = 10  # How many epochs at the end of a whole run are averaged by themselves.
NAMES = {"gradient": "gradient", "published": "published pass"}
BURST = 0.3  # A burst is an epoch whose training cost is this far above the published one.


def distance(ours: Sequence[Epoch], others: Sequence[Epoch]) -> float:
    """Return the mean absolute difference of the test accuracies over the epochs of `ours`, from epoch 0 on."""
    pairs = zip(ours, others[: len(ours)], strict=True)
    return statistics.fmean(abs(a.test_accuracy - b.test_accuracy) for a, b in pairs)


def last_distance(ours: Curve, published: Curve) -> float | None:
    """Return the same over the last ten epochs of a whole run; None for a run that is not whole."""
    return distance(ours[-LAST:], published[-LAST:]) if len(ours) == EPOCHS else None


def both_passes(found: dict[Run, Curve], case: str) -> tuple[Curve, Curve]:
    """Return the runs of a case by the gradient and by the published pass, over the epochs that both have run."""
    gradient, by_hand = (found.get((case, backward, SEED), []) for backward in PASSES)
    epochs = min(len(gradient), len(by_hand))
    return gradient[:epochs], by_hand[:epochs]


def backward_changes(found: dict[Run, Curve]) -> dict[str, float]:
    """Return the mean test accuracy by the published pass minus that by the gradient, for each case that has both."""
    changes = {}
    for case in HAND_WRITTEN:
        gradient, by_hand = both_passes(found, case)
        if gradient:
            pairs = zip(gradient, by_hand, strict=True)
            changes[case] = statistics.fmean(b.test_accuracy - a.test_accuracy for a, b in pairs)
    return changes


def by_seed(found: dict[Run, Curve]) -> dict[tuple[str, str], dict[int, Curve]]:
    """Return the runs of each case and pass that has more than one seed, over the epochs that all of them have run."""
    groups: dict[tuple[str, str], dict[int, Curve]] = {}
    for (case, backward, seed), curve in sorted(found.items()):
        groups.setdefault((case, backward), {})[seed] = curve
    return {
        name: {seed: curve[: min(map(len, group.values()))] for seed, curve in group.items()}
        for name, group in groups.items()
        if len(group) > 1
    }


def bursts(ours: Curve, published: Curve) -> list[int]:
    """Return the epochs with a burst of the loss, of those that have an epoch before and after them."""
    return [k for k in range(1, len(ours) - 1) if ours[k].train_cost - published[k].train_cost > BURST]


def best(curve: Curve) -> str:
    """Return the best test accuracy and its epoch, the first of equals."""
    value, epoch = max((epoch.test_accuracy, -k) for k, epoch in enumerate(curve))
    return f"{value:.4f} ({-epoch})"


def case_table(found: dict[Run, Curve]) -> str:
    """Return the eight cases, ours before the published value at the same epoch."""
    rows = [["case", "epochs run", "test accuracy, last epoch", "test accuracy, best (epoch)", "training accuracy"]]
    rows[0] += ["test cost", "mean absolute difference, test accuracy", f"the same, last {LAST} epochs"]
    published = published_curves()
    for case, ours in main_runs(found).items():
        cells = [f"{case}: {CASES[case]}", str(len(ours))]
        if ours:
            theirs = published[case][: len(ours)]
            a, b = ours[-1], theirs[-1]
            cells.append(f"{a.test_accuracy:.4f} / {b.test_accuracy:.4f}")
            cells.append(f"{best(ours)} / {best(theirs)}")
            cells.append(f"{a.train_accuracy:.4f} / {b.train_accuracy:.4f}")
            cells.append(f"{a.test_cost:.3f} / {b.test_cost:.3f}")
            at_the_end = last_distance(ours, theirs)
            cells += [f"{distance(ours, theirs):.4f}", "" if at_the_end is None else f"{at_the_end:.4f}"]
        rows.append(cells + [""] * (len(rows[0]) - len(cells)))
    return markdown(rows)


def backward_table(found: dict[Run, Curve]) -> str:
    """Return what the published backward pass does to c, d, g and h, over the epochs that both passes have run."""
    rows = [["case", "epochs of both", "training cost, epoch 0", "training accuracy, last epoch"]]
    rows[0] += ["test accuracy, last epoch", "published pass minus gradient, mean test accuracy"]
    rows[0] += ["mean absolute difference to the published test accuracy"]
    for case in HAND_WRITTEN:
        gradient, by_hand = both_passes(found, case)
        cells = [case, str(len(gradient))]
        if gradient:
            curve = published_curves()[case][: len(gradient)]
            cells.append(f"{gradient[0].train_cost:.3f} / {by_hand[0].train_cost:.3f} / {curve[0].train_cost:.3f}")
            last = [run[-1] for run in (gradient, by_hand, curve)]
            cells.append(" / ".join(f"{epoch.train_accuracy:.4f}" for epoch in last))
            cells.append(" / ".join(f"{epoch.test_accuracy:.4f}" for epoch in last))
            cells.append(f"{backward_changes(found)[case]:+.4f}")
            cells.append(f"{distance(gradient, curve):.4f} / {distance(by_hand, curve):.4f}")
        rows.append(cells + [""] * (len(rows[0]) - len(cells)))
    return markdown(rows)


def seed_table(found: dict[Run, Curve]) -> str:
    """Return how far runs that differ in their seed lie apart, over the epochs that all of them have run."""
    rows = [["case", "backward pass", "seeds", "epochs", "spread of the test accuracy, mean", "largest"]]
    rows[0] += ["epochs with the published value within the spread"]
    for (case, backward), group in by_seed(found).items():
        epochs = list(zip(*group.values(), strict=True))
        bands = [(min(values), max(values)) for values in ([run.test_accuracy for run in epoch] for epoch in epochs)]
        spreads = [high - low for low, high in bands]
        published = [epoch.test_accuracy for epoch in published_curves()[case][: len(bands)]]
        within = sum(low <= value <= high for (low, high), value in zip(bands, published, strict=True))
        cells = [case, backward, ", ".join(map(str, group)), str(len(bands))]
        rows.append([*cells, f"{statistics.fmean(spreads):.4f}", f"{max(spreads):.4f}", f"{within} of {len(bands)}"])
    return markdown(rows) if len(rows) > 1 else "No case has been run with a second seed yet.\n"


def burst_table(found: dict[Run, Curve]) -> str:
    """Return the epochs of the main runs with a burst of the loss, and how the training accuracy went on."""
    rows = [["case", "epoch", "training cost", "accuracy, epoch before", "epoch after", "last epoch"]]
    published = published_curves()
    for case, ours in main_runs(found).items():
        theirs = published[case][: len(ours)]
        above = [a.train_accuracy - b.train_accuracy for a, b in zip(ours, theirs, strict=True)]
        for epoch in bursts(ours, theirs):
            costs = f"{ours[epoch].train_cost:.3f} / {theirs[epoch].train_cost:.3f}"
            around = (above[epoch - 1], above[epoch + 1], above[-1])
            rows.append([case, str(epoch), costs, *(f"{value:+.4f}" for value in around)])
    return markdown(rows) if len(rows) > 1 else "No main run has such an epoch.\n"


def causes_table(found: dict[Run, Curve]) -> str:
    """Return the size of each cause that was measured, as a mean absolute difference of test accuracies."""
    rows = [["cause", "measured between", "case", "epochs", "mean absolute difference, test accuracy"]]

    def add(cause: str, between: str, case: str, first: int, pairs: Sequence[tuple[Curve, Curve]]) -> None:
        epochs = f"{first} to {first + len(pairs[0][0]) - 1}"
        rows.append([cause, between, case, epochs, f"{statistics.fmean(distance(a, b) for a, b in pairs):.4f}"])

    for (case, backward), group in by_seed(found).items():
        between = f"seeds {', '.join(map(str, group))} by the {NAMES[backward]}, in pairs"
        add("chance", between, case, 0, list(itertools.combinations(group.values(), 2)))
    for case in HAND_WRITTEN:
        gradient, by_hand = both_passes(found, case)
        if gradient:
            add("backward pass", "the gradient and the published pass", case, 0, [(gradient, by_hand)])
    for case, ours in main_runs(found).items():
        published = published_curves()[case][: len(ours)]
        if first := next(iter(bursts(ours, published)), None):
            between = "the main run and the published one"
            add("epochs before a burst of the loss", between, case, 0, [(ours[:first], published[:first])])
            add("epochs from the burst on", between, case, first, [(ours[first:], published[first:])])
    return markdown(rows) if len(rows) > 1 else "No cause has been measured yet.\n"
