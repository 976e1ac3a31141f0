"""Time the steps of examples/fast_cifar10.py beside the same network and recipe in PyTorch, in turn.

    pip install torch==2.13.0
    python benchmarks/fast_cifar_torch.py [--optimizer sgd | muon] [--steps 3] [--rounds 3] [--threads 2]
    python benchmarks/fast_cifar_torch.py --batch 64 --steps 1 --rounds 1
    python benchmarks/fast_cifar_torch.py --optimizer muon --out experiments/fast/pytorch.csv

All start from the same weights and train on the same random images. A round has `steps` steps of ours, and then as many
of PyTorch's in its own layout, with channels_last, and compiled. The table has the median milliseconds of a step, the
images per second, and the largest difference of the first three losses to ours. A step is forward, loss, backward and
update; data loading is left out. --out adds the rows of the table to a CSV file, in place of earlier ones for the same
optimizer.
"""

import argparse
import csv
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import allconv as ac
from allconv.parallel.blas import single_threaded_blas
from allconv.typing import Array

sys.path.append(str(Path(__file__).resolve().parents[1] / "examples"))
from fast_cifar10 import RECIPES, Recipe, Schedule

__all__ = ["RECIPES", "FastNet", "Step", "drawn", "ours", "theirs"]  # what fast_profile.py uses

Step = Callable[[int], float]  # takes the number of a step, and returns its loss


def drawn(recipe: Recipe, count: int) -> tuple[ac.Sequential, Array, Array]:
    """Return the recipe's network, and random images with labels."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((count, 32, 32, 3), np.float32)
    labels = rng.integers(0, 10, count)
    return ac.models.fast_net(ac.data.whitening_filters(images[:500]), recipe.widths, rng=rng), images, labels


def ours(model: ac.Sequential, recipe: Recipe, optimizer: str, images: Array, labels: Array, total: int) -> Step:
    """Return our step, with the parts of the example."""
    schedule, loss = Schedule(model, recipe, optimizer, total), ac.SoftmaxCrossEntropy(label_smoothing=0.2)

    def step(number: int) -> float:
        schedule.set_rates(number)
        with single_threaded_blas():
            scores, cache = model.forward(images, training=True)
            value, dscores = loss(scores, labels)
            model.backward_parameters(dscores, cache, release=True)
            schedule.optimizer.step()
        return float(value)

    return step


class FastNet(nn.Module):  # type: ignore[misc] # PyTorch has no types here.
    """The network of the recipe in PyTorch, with the weights of ours."""

    def __init__(self, model: ac.Sequential, widths: tuple[int, int, int]) -> None:
        super().__init__()
        convolutions = [layer for layer in model if isinstance(layer, ac.Conv2D)]
        (head,) = (layer for layer in model if isinstance(layer, ac.Linear))

        def convolution(layer: ac.Conv2D, padding: int) -> nn.Conv2d:
            made = nn.Conv2d(
                layer.in_channels, layer.out_channels, layer.kernel_size, padding=padding, bias=layer.bias is not None
            )
            made.weight.data = torch.tensor(layer.weight.value.transpose(3, 2, 0, 1).copy())
            if layer.bias is not None:
                made.bias.data = torch.tensor(layer.bias.value)
            return made

        self.whitening = convolution(convolutions[0], 0)
        self.whitening.weight.requires_grad = False
        layers: list[nn.Module] = []
        for index, layer in enumerate(convolutions[1:]):
            norm = nn.BatchNorm2d(widths[index // 2], eps=1e-12, momentum=0.4)
            norm.weight.requires_grad = False
            layers += [convolution(layer, 1), *([] if index % 2 else [nn.MaxPool2d(2)]), norm, nn.GELU()]
        self.blocks = nn.Sequential(*layers)
        self.head = nn.Linear(widths[2], head.out_features, bias=False)
        self.head.weight.data = torch.tensor(head.weight.value.T.copy())

    def forward(self, x: Any) -> Any:
        """Return the logits of images (N, 3, 32, 32)."""
        x = self.blocks(nn.functional.gelu(self.whitening(x)))
        return self.head(nn.functional.max_pool2d(x, 3).flatten(1)) / 9


class TorchMuon:
    """The recipe's Muon for convolutions: weights scaled to a norm, and three Newton-Schulz iterations in float32."""

    def __init__(self, weights: list[Any]) -> None:
        self.weights = weights
        self.velocities = [torch.zeros_like(weight) for weight in weights]

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def step(self, rate: float) -> None:
        """Update all weights."""
        for weight, velocity in zip(self.weights, self.velocities, strict=True):
            velocity.mul_(0.6).add_(weight.grad)
            matrix = (weight.grad + 0.6 * velocity).reshape(len(weight), -1)
            wide = matrix.shape[0] <= matrix.shape[1]
            x = matrix if wide else matrix.T
            x = x / (x.norm() + 1e-7)
            for _ in range(3):
                square = x @ x.T
                x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
            weight.mul_(len(weight) ** 0.5 / weight.norm())
            weight.add_((x if wide else x.T).reshape(weight.shape), alpha=-rate)


def theirs(net: FastNet, recipe: Recipe, optimizer: str, images: Array, labels: Array, total: int, kind: str) -> Step:
    """Return the step of PyTorch, in one of its modes."""
    layout = torch.channels_last if kind == "channels_last" else torch.contiguous_format
    net = net.to(memory_format=layout)
    x = torch.tensor(images.transpose(0, 3, 1, 2).copy()).contiguous(memory_format=layout)
    target, muon = torch.tensor(labels), optimizer == "muon"
    convolutions = [layer.weight for layer in net.blocks if isinstance(layer, nn.Conv2d)]
    biases = [layer.bias for layer in net.blocks if isinstance(layer, nn.BatchNorm2d)]
    whitening_rate = recipe.bias_rate if muon else recipe.head_rate
    rates = [recipe.head_rate, recipe.bias_rate, whitening_rate]
    rest = [net.head.weight] if muon else [*convolutions, net.head.weight]
    groups = [
        {"params": parameters, "lr": rate, "weight_decay": recipe.decay / rate}
        for parameters, rate in zip((rest, biases, [net.whitening.bias]), rates, strict=True)
    ]
    sgd, orthogonal = torch.optim.SGD(groups, lr=1.0, momentum=0.85, nesterov=True), TorchMuon(convolutions)
    loss = nn.CrossEntropyLoss(label_smoothing=0.2)
    forward: Any = torch.compile(net) if kind == "compiled" else net
    top = max(1, int(0.23 * total))

    def step(number: int) -> float:
        rising = 0.2 + 0.8 * number / top
        falling = 1 - 0.93 * (number - top) / (total - top)
        factor = 1 - number / total if muon else min(rising, falling)
        factors = [factor, factor, max(0.0, 1 - number / recipe.whitening_steps) if muon else factor]
        for group, rate, share in zip(sgd.param_groups, rates, factors, strict=True):
            group["lr"] = rate * share
        value = loss(forward(x), target)
        for parameter in net.parameters():
            parameter.grad = None
        value.backward()
        if muon:
            orthogonal.step(0.24 * factor)
        sgd.step()
        return float(value.item())

    return step


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows of one optimizer to a CSV file, which keeps its rows of the other one."""
    kept: list[dict[str, Any]] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            kept = [row for row in csv.DictReader(file) if row["optimizer"] != rows[0]["optimizer"]]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows([*kept, *rows])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--optimizer", choices=["sgd", "muon"], default="sgd")
    parser.add_argument("--steps", type=int, default=3, help="steps in a round (default: 3)")
    parser.add_argument(
        "--rounds", type=int, default=3, help="timed rounds, after one that does not count (default: 3)"
    )
    parser.add_argument("--batch", type=int, help="images of a step (default: the recipe's)")
    parser.add_argument("--threads", type=int, default=2, help="threads of each library (default: 2)")
    parser.add_argument("--kinds", nargs="*", default=["PyTorch", "channels_last", "compiled"], help="modes of PyTorch")
    parser.add_argument("--out", type=Path, metavar="FILE", help="a CSV file, to which the rows are added")
    args = parser.parse_args()
    ac.set_num_threads(args.threads)
    torch.set_num_threads(args.threads)

    recipe = RECIPES[args.optimizer, 0.94]
    count = args.batch or recipe.batch
    model, images, labels = drawn(recipe, count)
    total = 1 + args.steps * (args.rounds + 1)
    arguments = (recipe, args.optimizer, images, labels, total)
    steps = {kind: theirs(FastNet(model, recipe.widths), *arguments, kind) for kind in args.kinds}
    steps = {"allconv": ours(model, *arguments), **steps}

    losses: dict[str, list[float]] = {name: [] for name in steps}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(args.rounds + 1):
        for name, step in steps.items():
            started = time.perf_counter()
            losses[name] += [step(len(losses[name])) for _ in range(args.steps)]
            times[name].append((time.perf_counter() - started) / args.steps)
    print(
        f"{args.optimizer}, batch {count}, {args.threads} threads, float32, {args.rounds} rounds of {args.steps} steps"
    )
    print(f"{'':14} {'ms a step':>10} {'images/s':>10} {'difference':>11}")
    rows = []
    for name in steps:
        seconds = statistics.median(times[name][1:])
        difference = max(abs(a - b) for a, b in zip(losses[name][:3], losses["allconv"][:3], strict=True))
        print(f"{name:14} {1e3 * seconds:10.0f} {count / seconds:10.0f} {difference:11.0e}")
        row = {"optimizer": args.optimizer, "batch": count, "threads": args.threads, "library": name}
        rows.append({**row, "milliseconds": f"{1e3 * seconds:.1f}", "difference": f"{difference:.0e}"})
    if args.out:
        write(args.out, rows)


if __name__ == "__main__":
    main()
