"""Set the runs of the eight cases beside the published ones, for docs/experiment/results.md: tables and a figure.

    python experiments/article/report.py            # write them all; the figure needs matplotlib
    python experiments/article/report.py --check    # fail if what is committed does not follow from epochs.csv

The runs are the rows of `epochs.csv` beside this file, one row an epoch: the rows of the runs' `log.csv`. The published
curves are `examples/published_curves.csv`. Any part of the runs may be missing. The tables compare runs with the
published order of the images and seed 678; other orders are read and left out.
"""

import argparse
import hashlib
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from curves import CASES, EPOCHS, HAND_WRITTEN, PASSES, ROOT, SEED, Curve, Epoch, Run, main_runs, published_curves, runs

from allconv.tables import markdown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OUT = ROOT / "docs" / "_static" / "results"
FIGURES = ROOT / "docs" / "_static" / "figures"
INK = {"light": "#24292f", "dark": "#d6dbe1"}  # The colour of lines and letters on the light and on the dark pages.
LAST = 10  # How many epochs at the end of a whole run are averaged by themselves.
BURST = 0.3  # A burst is an epoch whose training cost is this far above the published one.


def distance(ours: Sequence[Epoch], published: Sequence[Epoch]) -> float:
    """Return the mean absolute difference of the test accuracies over the epochs of `ours`, from epoch 0 on."""
    pairs = zip(ours, published[: len(ours)], strict=True)
    return statistics.fmean(abs(a.test_accuracy - b.test_accuracy) for a, b in pairs)


def last_distance(ours: Curve, published: Curve) -> float | None:
    """Return the same over the last ten epochs of a whole run; None for a run that is not whole."""
    return distance(ours[-LAST:], published[-LAST:]) if len(ours) == EPOCHS else None


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
        gradient, by_hand = (found.get((case, backward, SEED), []) for backward in PASSES)
        both = min(len(gradient), len(by_hand))
        cells = [case, str(both)]
        if both:
            gradient, by_hand, curve = gradient[:both], by_hand[:both], published_curves()[case][:both]
            cells.append(f"{gradient[0].train_cost:.3f} / {by_hand[0].train_cost:.3f} / {curve[0].train_cost:.3f}")
            last = [run[-1] for run in (gradient, by_hand, curve)]
            cells.append(" / ".join(f"{epoch.train_accuracy:.4f}" for epoch in last))
            cells.append(" / ".join(f"{epoch.test_accuracy:.4f}" for epoch in last))
            change = statistics.fmean(b.test_accuracy - a.test_accuracy for a, b in zip(gradient, by_hand, strict=True))
            cells.append(f"{change:+.4f}")
            cells.append(f"{distance(gradient, curve):.4f} / {distance(by_hand, curve):.4f}")
        rows.append(cells + [""] * (len(rows[0]) - len(cells)))
    return markdown(rows)


def seed_table(found: dict[Run, Curve]) -> str:
    """Return how far runs that differ in their seed lie apart, over the epochs that all of them have run."""
    rows = [["case", "backward pass", "seeds", "epoch", "test accuracy, lowest to highest", "spread", "published"]]
    for case, backward in [(case, backward) for case in CASES for backward in PASSES]:
        group = {seed: curve for (c, b, seed), curve in sorted(found.items()) if (c, b) == (case, backward)}
        if len(group) < 2:
            continue
        for epoch in range(min(map(len, group.values()))):
            values = [curve[epoch].test_accuracy for curve in group.values()]
            low, high = min(values), max(values)
            theirs = published_curves()[case][epoch].test_accuracy
            cells = [case, backward, ", ".join(map(str, group)), str(epoch)]
            rows.append([*cells, f"{low:.4f} to {high:.4f}", f"{high - low:.4f}", f"{theirs:.4f}"])
    return markdown(rows) if len(rows) > 1 else "No case has been run with a second seed yet.\n"


def burst_table(found: dict[Run, Curve]) -> str:
    """Return the epochs of the main runs with a burst of the loss, and how the training accuracy went on."""
    rows = [["case", "epoch", "training cost", "accuracy, epoch before", "epoch after", "last epoch"]]
    published = published_curves()
    for case, ours in main_runs(found).items():
        theirs = published[case][: len(ours)]
        above = [a.train_accuracy - b.train_accuracy for a, b in zip(ours, theirs, strict=True)]
        for epoch in range(1, len(ours) - 1):
            a, b = ours[epoch].train_cost, theirs[epoch].train_cost
            if a - b > BURST:
                around = (above[epoch - 1], above[epoch + 1], above[-1])
                rows.append([case, str(epoch), f"{a:.3f} / {b:.3f}", *(f"{value:+.4f}" for value in around)])
    return markdown(rows) if len(rows) > 1 else "No main run has such an epoch.\n"


def answer(found: dict[Run, Curve]) -> str:
    """Return what the main runs say so far, in a few sentences."""
    ours = {case: curve for case, curve in main_runs(found).items() if curve}
    published = published_curves()
    if not ours:
        return "No epoch of a main run on the original images has been logged yet.\n"
    whole = [case for case, curve in ours.items() if len(curve) == EPOCHS]
    counts = ", ".join(f"{case} {len(curve)}" for case, curve in ours.items())
    sentences = [f"On the original images these epochs of {EPOCHS} have been run: {counts}."]
    apart = {case: distance(curve, published[case]) for case, curve in ours.items()}
    sentences.append(f"Over them the test accuracy differs from the published one by {span(apart)} on average.")
    if whole:
        ends = {case: ours[case][-1].test_accuracy - published[case][-1].test_accuracy for case in whole}
        sentences.append(f"After the last epoch it differs by {span(ends, '+.4f')} (ours minus published).")
        late = {case: last_distance(ours[case], published[case]) or 0.0 for case in whole}
        sentences.append(f"Over the last {LAST} epochs the mean absolute difference is {span(late)}.")
    return "\n".join(sentences) + "\n"


def span(values: dict[str, float], form: str = ".4f") -> str:
    """Return the smallest and the largest of the cases' values, each with its case."""
    low, high = min(values, key=lambda case: values[case]), max(values, key=lambda case: values[case])
    ends = dict.fromkeys((low, high))
    return " to ".join(f"{values[case]:{form}} ({case})" for case in ends)


def texts(found: dict[Run, Curve]) -> dict[str, str]:
    """Return the generated files of the page by name, but for the figure."""
    makers = {"answer": answer, "cases": case_table, "backward": backward_table, "seeds": seed_table}
    makers["bursts"] = burst_table
    return {f"{name}.md": make(found) for name, make in makers.items()}


def digest(found: dict[Run, Curve]) -> str:
    """Return a fingerprint of what the figure shows; it stands in the figure, so that a stale one is found."""
    shown = {case: [epoch.test_accuracy for epoch in curve] for case, curve in main_runs(found).items()}
    return hashlib.sha256(json.dumps(shown).encode()).hexdigest()


def draw(found: dict[Run, Curve], path: Path, theme: str = "light") -> None:
    """Draw the test accuracy over the epochs, a panel a case: the published curve grey, the main run in colour."""
    import matplotlib as mpl

    # The same bytes in every run; text as text, which keeps the file small.
    settings = {"svg.hashsalt": "allconv", "svg.fonttype": "none", "savefig.transparent": True}
    names = ("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color")
    with mpl.rc_context(settings | dict.fromkeys(names, INK[theme]) | {"legend.frameon": False}):
        figure = panels_of(found)
        figure.savefig(path, format="svg", metadata={"Date": None, "Description": digest(found)})


def panels_of(found: dict[Run, Curve]) -> "Figure":
    """Return the figure: two rows of four panels, ConvPool-CNN above."""
    from matplotlib.figure import Figure

    published = published_curves()
    figure = Figure(figsize=(10, 5), layout="constrained")
    panels = figure.subplots(2, 4, sharex=True, sharey=True).flat
    for axes, (case, ours) in zip(panels, main_runs(found).items(), strict=True):
        axes.plot([epoch.test_accuracy for epoch in published[case]], color="0.6", linewidth=3, label="published")
        axes.plot([epoch.test_accuracy for epoch in ours], ".-", color="tab:red", label="here")
        axes.set_title(f"{case}: {CASES[case]}", fontsize="small")
        axes.set(xticks=range(0, EPOCHS, 5))
        axes.grid(alpha=0.3)
    figure.axes[0].legend(loc="lower right", fontsize="small")
    figure.supxlabel("epoch")
    figure.supylabel("test accuracy")
    return figure


def stale(found: dict[Run, Curve]) -> list[str]:
    """Return the names of the generated files that do not follow from the runs."""
    wrong = [name for name, text in texts(found).items() if read(OUT / name) != text]
    figures = [FIGURES / f"curves.{theme}.svg" for theme in INK]
    return wrong + [path.name for path in figures if digest(found) not in read(path)]


def read(path: Path) -> str:
    """Return the text of a file; an empty one if there is none."""
    return path.read_text(encoding="utf-8") if path.exists() else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the generated files, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a committed file is out of date")
    options = parser.parse_args(arguments)
    try:
        found = runs()
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.check:
        wrong = stale(found)
        print(f"out of date: {', '.join(wrong)}" if wrong else "all generated files follow from epochs.csv")
        return int(bool(wrong))
    OUT.mkdir(parents=True, exist_ok=True)
    for name, text in texts(found).items():
        (OUT / name).write_text(text, encoding="utf-8")
    for theme in INK:
        draw(found, FIGURES / f"curves.{theme}.svg", theme)
    print(
        f"wrote {', '.join(texts(found))} in {OUT.relative_to(ROOT)}, and curves.*.svg in {FIGURES.relative_to(ROOT)}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
