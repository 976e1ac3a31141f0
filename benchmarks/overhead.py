"""Measure what logging, plots and a checkpoint every minute cost, as a share of the time that a run takes.

    pip install matplotlib
    python benchmarks/overhead.py [--step-ms 375] [--out FOLDER]

The script times what the example does beside training: the progress bar of a step, a checkpoint of case d with its
digests, the logs, and the plots after 21 epochs. A step is assumed to take --step-ms; an epoch has 2,000 steps.
"""

import argparse
import io
import sys
import tempfile
from pathlib import Path

import numpy as np
from timing import medians
from tqdm import tqdm

import allconv as ac
from allconv.training.log import Log

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "examples"))
from article_log import COLUMNS, log_block, published, write_plots  # noqa: E402 - found only through the line above

STEPS = 2000


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--step-ms", type=float, default=375.0, help="a training step (default: 375)")
    parser.add_argument("--out", type=Path, help="folder on the disk to write to (default: a temporary one)")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    model = ac.models.article_net("convpool", dilated=True, rng=rng)
    optimizer = ac.DilatedAMSGrad(model, 3e-4)
    images, labels = rng.integers(0, 256, (50_000, 32, 32, 3), np.uint8), rng.integers(0, 10, 50_000)
    loader = ac.data.Loader(ac.data.Dataset(images, labels), 25)
    training = ac.train(model, ac.SoftmaxCrossEntropy(), optimizer, loader, epochs=21)
    rows = [
        {**row, "learning_rate": 3e-4, "dilated_rate": 0.8 / (1 + row["epoch"]), "seconds": 800.0}
        for row in published("d")
    ]
    log = Log(list(COLUMNS), {"order": "library", "backward": "gradient", "seed": 678}, {})
    for row in rows:
        log.add(row, log_block(row, 3e-4, ac.Evaluation(0.5, 0.8, 50, 0.1), 9950))
    with tempfile.TemporaryDirectory(dir=arguments.out) as name:
        folder = Path(name)

        def save() -> None:
            ac.checkpoint.save(folder / "checkpoints", {**training.state, **log.state})
            log.write(folder)

        bar = tqdm(total=10**9, file=io.StringIO())

        def show() -> None:
            bar.update()
            bar.set_postfix_str(f"loss {1.0:.4f}, accuracy {0.5:.4f}, {130.0:.0f} images/s", refresh=False)

        actions = {  # what is done, and how many milliseconds of training there are to each time
            "the bar, each step": (show, arguments.step_ms),
            "checkpoint and logs, each minute": (save, 60e3),
            "plots, each epoch": (lambda: write_plots(folder / "plots", rows), STEPS * arguments.step_ms),
        }
        times = medians({what: action for what, (action, _) in actions.items()}, runs=7)

    shares = {what: times[what] / period for what, (_, period) in actions.items()}
    for what, share in shares.items():
        print(f"{what:34} {times[what]:9.2f} ms  {share:7.3%}")
    print(f"{'all of them':34} {'':12}  {sum(shares.values()):7.3%}")


if __name__ == "__main__":
    main()
