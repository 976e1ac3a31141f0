"""Measure the images per second of one process and of several, with one thread each, in ConvPool-CNN training steps.

    pip install 'allconv[mpi]'
    python benchmarks/ranks.py [--ranks 2] [--batch 50] [--steps 10] [--rounds 5]

A step is a whole training step: loading, per_step normalization, forward, backward, the sum of the gradients,
AMSGrad. One process and several take turns, so that both see the same machine. The figure of a round is the median
over its steps; the first two do not count. The target is that 2 ranks are at least 1.8 times as fast as one. The
benchmark needs as many idle cores as ranks.
"""

import argparse
import itertools
import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np


def images_per_second(activation: str, batch: int, steps: int) -> float:
    """Return the median over the steps, as one of the processes."""
    import allconv as ac

    ac.distributed.start(threads=1)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (batch * (steps + 2), 32, 32, 3), np.uint8)
    loader = ac.data.Loader(ac.data.Dataset(pixels, np.arange(len(pixels)) % 10), batch, normalize=ac.data.per_step)
    model = ac.models.article_net("convpool", activation=activation, rng=rng)
    optimizer = ac.AMSGrad(model.parameters(), 3e-4)
    training = ac.train(model, ac.SoftmaxCrossEntropy(), optimizer, loader, epochs=1, report_every=1)
    times = [time.perf_counter() for _ in training]
    return batch / statistics.median(after - before for before, after in itertools.pairwise(times[1:]))


def measure(ranks: int, activation: str, batch: int, steps: int) -> float:
    """Return the images per second of so many processes."""
    # A launcher beside this Python comes from the wheel, and fits the library that mpi4py will load.
    mpiexec = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or "mpiexec"
    program = [__file__, "--run", activation, "--batch", str(batch), "--steps", str(steps)]
    command = [mpiexec, "-n", str(ranks), sys.executable, "-m", "mpi4py", *program]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{result.stderr}")
    return float(json.loads(result.stdout))


def main() -> None:
    """Print the table; with --run be one of the processes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--run", choices=("relu", "elu"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        rate = images_per_second(arguments.run, arguments.batch, arguments.steps)
        from allconv.parallel.process_group import current

        if current().rank == 0:
            print(json.dumps(rate))
        return
    print(f"batch {arguments.batch}, one thread a rank, medians of {arguments.rounds} rounds; images/s")
    print(f"{'':6} {'1 rank':>8} {f'{arguments.ranks} ranks':>8} {'ratio':>6}")
    for activation in ("relu", "elu"):
        rounds = [
            [measure(ranks, activation, arguments.batch, arguments.steps) for ranks in (1, arguments.ranks)]
            for _ in range(arguments.rounds)
        ]
        one, several = (statistics.median(column) for column in zip(*rounds, strict=True))
        ratio = statistics.median(b / a for a, b in rounds)
        print(f"{activation:6} {one:8.1f} {several:8.1f} {ratio:6.2f}")


if __name__ == "__main__":
    main()
