"""Do the published test accuracies follow the last labels of the published order? Or would any order do?

    python benchmarks/label_balance.py --data PATH

Takes the order of the images that the published code draws from its seed (`examples/published_order.py`), and those
that it would draw from others, and for the end of each of the first epochs how unevenly the last labels are spread over
the classes, the steps weighted by exp(-age / memory). If the network follows its last labels, the test accuracy is low
where they are uneven. The accuracies are the swing that the published cases share (`experiment_swing.py`); the
correlation of both, by seed and memory in steps, goes to benchmarks/results/label_balance.csv, which
`experiment_report.py` reads.
"""

import argparse
import csv
import statistics
import sys
from itertools import islice
from pathlib import Path

import numpy as np
from experiment_logs import CASES, RESULTS, SEED, STEPS, published
from experiment_swing import EARLY, above_training, second_differences
from tqdm import trange

import allconv as ac

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
from published_order import published_orders

MEMORIES = (5, 10, 20, 40)  # steps; that of a momentum of 0.9 is 10
OTHERS = 1000  # seeds


def unevenness(labels: np.ndarray, step: int, memory: float) -> float:
    """Return the root mean square deviation of the classes' weighted shares from a tenth, at the end of `labels`."""
    weights = np.exp(-(np.arange(len(labels))[::-1] // step) / memory)
    shares = np.bincount(labels, weights, minlength=10) / weights.sum()
    return float(np.sqrt(np.mean((shares - 0.1) ** 2)))


def correlations(labels: np.ndarray, seed: int, swing: list[float]) -> list[float]:
    """Return the correlation of the shared swing with the unevenness of the last labels, for each memory."""
    step = len(labels) // STEPS
    ends = [labels[order] for order in islice(published_orders(len(labels), step, seed), EARLY)]
    uneven = [[unevenness(end, step, memory) for end in ends] for memory in MEMORIES]
    return [statistics.correlation(swing, second_differences(values)) for values in uneven]


def main() -> None:
    """Compare the published order with those of other seeds, and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    labels = ac.data.cifar10(parser.parse_args().data)[0].labels
    curves = [second_differences(above_training(published(case))[:EARLY]) for case in CASES]
    swing = [statistics.fmean(values) for values in zip(*curves, strict=True)]
    with (RESULTS / "label_balance.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["seed", *MEMORIES])
        for seed in (SEED, *trange(OTHERS, desc="other seeds")):
            writer.writerow([seed, *(f"{value:.3f}" for value in correlations(labels, seed, swing))])


if __name__ == "__main__":
    main()
