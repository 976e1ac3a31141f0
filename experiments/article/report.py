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
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from answer import answer
from comparisons import backward_table, burst_table, case_table, causes_table, seed_table
from conclusions import conclusion_table
from curves import CASES, EPOCHS, ROOT, Curve, Run, main_runs, published_curves, runs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OUT = ROOT / "docs" / "_static" / "results"
FIGURES = ROOT / "docs" / "_static" / "figures"
INK = {"light": "#24292f", "dark": "#d6dbe1"}  # The colour of lines and letters on the light and on the dark pages.


def texts(found: dict[Run, Curve]) -> dict[str, str]:
    """Return the generated files of the page by name, but for the figure."""
    makers = {"answer": answer, "cases": case_table, "backward": backward_table, "seeds": seed_table}
    makers |= {"bursts": burst_table, "conclusions": conclusion_table, "causes": causes_table}
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
