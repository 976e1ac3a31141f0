"""Compare where a step of the fast recipe spends its time, here and in PyTorch.

    pip install torch==2.13.0
    python benchmarks/fast_profile.py [--optimizer sgd | muon] [--batch N] [--rounds 3] [--threads 2]

PyTorch runs with channels_last, its faster mode without compilation, and its own profiler tells the operations apart.
The times are those of a step, forward and backward together, as means over the rounds.
"""

import argparse
import time
from collections import defaultdict
from typing import Any

import torch
from fast_cifar_torch import RECIPES, FastNet, Step, drawn, ours, theirs

import allconv as ac
from allconv.layers.observe import observe

REST = "everything else"
# The kinds of layers, and what PyTorch's names of their operations contain.
KINDS = {"Conv2D": "conv", "MaxPool2D": "max_pool", "BatchNorm": "batch_norm", "GELU": "gelu"}


def our_times(model: ac.Layer, step: Step, rounds: int) -> dict[str, float]:
    """Return our milliseconds by the kind of layer."""
    seconds: dict[str, float] = defaultdict(float)

    def timed(call: Any, *args: Any) -> Any:
        start = time.perf_counter()
        result = call(*args)
        seconds[type(call.layer).__name__] += time.perf_counter() - start
        return result

    start = time.perf_counter()
    with observe(model.leaves(), forward=timed, backward=timed):
        for number in range(1, rounds + 1):
            step(number)
    total = time.perf_counter() - start
    times = {kind: 1e3 * seconds[kind] / rounds for kind in KINDS}
    return {**times, REST: 1e3 * total / rounds - sum(times.values())}


def their_times(step: Step, rounds: int) -> dict[str, float]:
    """Return PyTorch's milliseconds by the kind of operation."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        for number in range(1, rounds + 1):
            step(number)
    times = dict.fromkeys([*KINDS, REST], 0.0)
    for operation in profile.key_averages():
        kind = next((kind for kind, name in KINDS.items() if name in operation.key), REST)
        times[kind] += operation.self_cpu_time_total / 1e3 / rounds
    return times


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--optimizer", choices=["sgd", "muon"], default="muon")
    parser.add_argument("--batch", type=int, help="images of a step (default: the recipe's)")
    parser.add_argument("--rounds", type=int, default=3, help="steps, after one that does not count (default: 3)")
    parser.add_argument("--threads", type=int, default=2, help="threads of each library (default: 2)")
    args = parser.parse_args()
    ac.set_num_threads(args.threads)
    torch.set_num_threads(args.threads)

    recipe = RECIPES[args.optimizer, 0.94]
    count = args.batch or recipe.batch
    model, images, labels = drawn(recipe, count)
    arguments = (recipe, args.optimizer, images, labels, 1 + args.rounds)
    their_step = theirs(FastNet(model, recipe.widths), *arguments, "channels_last")
    our_step = ours(model, *arguments)
    our_step(0)
    their_step(0)
    here, there = our_times(model, our_step, args.rounds), their_times(their_step, args.rounds)
    print(f"{args.optimizer}, batch {count}, {args.threads} threads, float32; ms a step")
    print(f"{'':16} {'allconv':>8} {'PyTorch':>8} {'ratio':>6}")
    for kind in here:
        print(f"{kind:16} {here[kind]:8.0f} {there[kind]:8.0f} {there[kind] / here[kind]:6.2f}")
    ours_total, theirs_total = sum(here.values()), sum(there.values())
    print(f"{'all':16} {ours_total:8.0f} {theirs_total:8.0f} {theirs_total / ours_total:6.2f}")


if __name__ == "__main__":
    main()
