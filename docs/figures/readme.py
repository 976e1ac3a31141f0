"""Put the tables with numbers into README.md, from the files of the benchmarks and of the experiment's runs.

python docs/figures/readme.py
"""

import statistics
import sys
from pathlib import Path

from performance import ROOT, short_table

from allconv.tables import markdown

sys.path.append(str(ROOT / "experiments" / "article"))
sys.path.append(str(ROOT / "experiments" / "fast"))
from curves import CASES, EPOCHS, main_runs, published_curves, runs
from fast_runs import RUNS, groups, read_rows, to_runs

README = ROOT / "README.md"
NETWORKS = (
    *("ConvPool step, 50", "All-CNN step, 50", "paper's All-CNN-C step, 128", "perceptron step, 32", "LeNet step, 32"),
    *("ResNet-20 step, 128", "MobileNet step, 64", "All-CNN prediction, 256", "All-CNN prediction, 1"),
)


def accuracy_table() -> str:
    """Return the test accuracy of each case that has been run, at its last epoch, beside the published one."""
    rows = [["case", "epochs run", "published, same epoch", "here", "published, last epoch"]]
    published = published_curves()
    for case, ours in main_runs(runs()).items():
        if ours:
            theirs = published[case]
            accuracies = [curve.test_accuracy for curve in (theirs[len(ours) - 1], ours[-1], theirs[-1])]
            cells = [f"{accuracy:.4f}" for accuracy in accuracies]
            rows.append([f"{case}: {CASES[case]}", f"{len(ours)} of {EPOCHS}", *cells])
    return markdown(rows)


def fast_line() -> str:
    """Return what the runs of the quickest recipe for 0.94 reach; the minutes are those of runs on an idle machine."""
    group = groups(to_runs(read_rows(RUNS)))["muon", 0.94]
    views, one = statistics.fmean(run.accuracy_views for run in group), statistics.fmean(run.accuracy for run in group)
    minutes = [run.minutes for run in group if run.idle]
    text = f"test accuracy {views:.4f} with six views of each test image and {one:.4f} with one"
    text += f", in {statistics.fmean(minutes):.0f} minutes of training on an idle machine" if minutes else ""
    count = f"mean of {len(group)} runs" if len(group) > 1 else "one run"
    return f"**CIFAR-10 by a fast recipe** ([page](docs/experiment/fast.md)): {text} ({count}).\n"


def with_tables(text: str) -> str:
    """Return the README with its tables as the files have them."""
    for name, table in (
        ("accuracy", accuracy_table()),
        ("fast", fast_line()),
        ("speed", short_table(NETWORKS)),
    ):
        begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
        before, _, rest = text.partition(begin)
        text = before + begin + table + end + rest.partition(end)[2]
    return text


if __name__ == "__main__":
    README.write_text(with_tables(Path(README).read_text(encoding="utf-8")), encoding="utf-8")
