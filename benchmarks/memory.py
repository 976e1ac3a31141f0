"""Measure the peak memory of a ConvPool-CNN training step in allconv and in PyTorch, each in a process of its own.

    pip install torch==2.13.0
    python benchmarks/memory.py [--batch 50] [--steps 3] [--threads 2]

The network is the article's, in float32 with ReLU, and takes a few steps on random images with AMSGrad. A figure is
the largest resident set of the whole process, with the interpreter and the libraries. The first column is the imports
alone. The growth beyond them is compared with the smallest growth in PyTorch.
"""

import argparse
import resource
import subprocess
import sys
from collections.abc import Callable

# The 3x3 convolutions have these numbers of maps. A mean pool follows the third and the sixth of them.
WIDTHS = (96, 96, 192, 192, 192, 192, 192)


def ours(batch: int, steps: int, threads: int) -> None:
    import numpy as np

    import allconv as ac

    ac.set_num_threads(threads)
    rng = np.random.default_rng(0)
    model = ac.models.article_net("convpool", activation="relu", rng=rng)
    loss, optimizer = ac.SoftmaxCrossEntropy(), ac.AMSGrad(model.parameters(), 3e-4)
    images, labels = rng.standard_normal((batch, 32, 32, 3)).astype(np.float32), rng.integers(0, 10, batch)
    for _ in range(steps):
        scores, cache = model.forward(images, training=True)
        _, dscores = loss(scores, labels)
        model.backward_parameters(dscores, cache, release=True)
        optimizer.step()


def pytorch(layout: str) -> Callable[[int, int, int], None]:
    def run(batch: int, steps: int, threads: int) -> None:
        import torch
        from torch import nn

        torch.set_num_threads(threads)
        modules, channels = [], 3
        for k, width in enumerate(WIDTHS, start=1):
            modules += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.ReLU()]
            modules += [nn.AvgPool2d(2)] if k in (3, 6) else []
            channels = width
        modules += [nn.Conv2d(192, 192, 1, bias=False), nn.ReLU(), nn.Conv2d(192, 10, 1, bias=False), nn.ReLU()]
        memory_format = getattr(torch, layout)
        model = nn.Sequential(*modules, nn.AdaptiveAvgPool2d(1), nn.Flatten()).to(memory_format=memory_format)
        optimizer = torch.optim.Adam(model.parameters(), 3e-4, amsgrad=True)
        images = torch.randn(batch, 3, 32, 32).contiguous(memory_format=memory_format)
        labels = torch.randint(0, 10, (batch,))
        for _ in range(steps):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()

    return run


PROGRAMS = {"allconv": ours, "PyTorch": pytorch("contiguous_format"), "PyTorch channels_last": pytorch("channels_last")}


def peak_megabytes() -> float:
    """Return the largest resident set of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def main() -> None:
    """Print the table; with --run be one of the processes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--steps", type=int, default=3, help="0: the imports alone")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--run", choices=PROGRAMS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        PROGRAMS[arguments.run](arguments.batch, arguments.steps, arguments.threads)
        print(peak_megabytes())
        return
    options = ["--batch", str(arguments.batch), "--threads", str(arguments.threads)]
    print(f"batch {arguments.batch}, {arguments.threads} threads; peak MB of a whole process")
    print(f"{'':24} {'imports':>9} {f'{arguments.steps} steps':>9} {'growth':>9} {'ratio':>11}")
    rows: dict[str, tuple[float, float]] = {}
    for name in PROGRAMS:
        figures: list[float] = []
        for steps in (0, arguments.steps):
            command = [sys.executable, __file__, "--run", name, *options, "--steps", str(steps)]
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            if result.returncode:
                print(f"{name} is left out: {result.stderr.strip().splitlines()[-1]}")
                break
            figures.append(float(result.stdout))
        else:
            rows[name] = figures[0], figures[1]
    growths = {name: peak - imports for name, (imports, peak) in rows.items()}
    best = min((growth for name, growth in growths.items() if name != "allconv"), default=float("nan"))
    for name, (imports, peak) in rows.items():
        print(f"{name:24} {imports:9.0f} {peak:9.0f} {growths[name]:9.0f} {growths[name] / best:11.2f}")


if __name__ == "__main__":
    main()
