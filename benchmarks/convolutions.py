"""Compare the algorithm that a convolution chooses with the best one, for our networks' layers and 24 typical shapes.

    python benchmarks/convolutions.py [--runs 7] [--threads 2]

Each time is the median over the runs; the first run does not count, and the algorithms take turns. The forward pass
gives y alone; the backward pass gives dL/dx, dL/dW and dL/db. The last column is the time of the chosen algorithm
over the time of the best one.
"""

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np
from timing import medians

import allconv as ac
from allconv.functional import conv
from allconv.functional.choice import choose
from allconv.functional.cost import possible_outputs
from allconv.functional.geometry import Geometry, geometry_of
from allconv.functional.winograd.tiling import applies

# Each shape is N, H = W, C, O, kernel, stride, groups.
OURS = {
    "article, conv 1": (50, 32, 3, 96, 3, 1, 1),
    "article, conv 2": (50, 32, 96, 96, 3, 1, 1),
    "ConvPool, conv 3": (50, 32, 96, 192, 3, 1, 1),
    "All-CNN, conv 3": (50, 32, 96, 192, 3, 2, 1),
    "article, conv 4 and 5": (50, 16, 192, 192, 3, 1, 1),
    "All-CNN, conv 6": (50, 16, 192, 192, 3, 2, 1),
    "article, conv 7": (50, 8, 192, 192, 3, 1, 1),
    "article, conv 8": (50, 8, 192, 192, 1, 1, 1),
    "article, conv 9": (50, 8, 192, 10, 1, 1, 1),
    "paper's base A, conv 1": (50, 32, 3, 96, 5, 1, 1),
    "paper's base A, conv 2": (50, 16, 96, 192, 5, 1, 1),
    "LeNet, conv 1": (32, 28, 1, 6, 5, 1, 1),
    "LeNet, conv 2": (32, 14, 6, 16, 5, 1, 1),
    "residual, stage 1": (50, 32, 16, 16, 3, 1, 1),
    "residual, stage 2": (50, 16, 32, 32, 3, 1, 1),
    "residual, stage 3": (50, 8, 64, 64, 3, 1, 1),
    "residual, halving": (50, 32, 16, 32, 3, 2, 1),
}
TYPICAL = {
    "VGG, conv 1": (1, 224, 3, 64, 3, 1, 1),
    "VGG, conv 2": (1, 224, 64, 64, 3, 1, 1),
    "VGG, conv 4": (1, 112, 128, 128, 3, 1, 1),
    "VGG, conv 7": (1, 56, 256, 256, 3, 1, 1),
    "VGG, conv 10": (1, 28, 512, 512, 3, 1, 1),
    "VGG, conv 13": (1, 14, 512, 512, 3, 1, 1),
    "VGG, conv 13, batch 8": (8, 14, 512, 512, 3, 1, 1),
    "ResNet, stem": (2, 224, 3, 64, 7, 2, 1),
    "ResNet, stage 1": (4, 56, 64, 64, 3, 1, 1),
    "ResNet, stage 1, halving": (4, 56, 64, 128, 3, 2, 1),
    "ResNet, stage 4": (4, 7, 512, 512, 3, 1, 1),
    "ResNet, 1x1": (4, 28, 512, 128, 1, 1, 1),
    "ResNet, 1x1 halving": (4, 56, 256, 512, 1, 2, 1),
    "MobileNet, depthwise": (4, 112, 32, 32, 3, 1, 32),
    "MobileNet, depthwise 2": (4, 56, 128, 128, 3, 2, 128),
    "MobileNet, deep depthwise": (4, 14, 512, 512, 3, 1, 512),
    "depthwise 5x5": (4, 28, 120, 120, 5, 1, 120),
    "ResNeXt, 32 groups": (2, 28, 256, 256, 3, 1, 32),
    "AlexNet, 5x5": (4, 27, 96, 256, 5, 1, 1),
    "Inception, 5x5": (4, 28, 32, 96, 5, 1, 1),
    "7x7, stride 1": (4, 17, 64, 64, 7, 1, 1),
    "11x11, stride 4": (1, 224, 3, 64, 11, 4, 1),
    "batch 1, CIFAR": (1, 32, 96, 96, 3, 1, 1),
    "batch 512, narrow": (512, 16, 8, 8, 3, 1, 1),
}


def passes(geometry: Geometry) -> dict[str, dict[str, Callable[[], object]]]:
    """Return the calls to compare, by pass and algorithm."""
    rng = np.random.default_rng(0)
    shape = (*geometry.kernel, geometry.in_channels // geometry.groups, geometry.out_channels)
    x, w, dy = (rng.standard_normal(s).astype(np.float32) for s in (geometry.x_shape, shape, geometry.y_shape))
    names = ["im2col"]
    if max(possible_outputs(geometry)) > 1:
        names.append("banded")
    if choose(geometry) == "depthwise":
        names.append("depthwise")
    if applies(geometry.kernel, geometry.stride, geometry.dilation, geometry.groups):
        names.append("winograd")

    def calls(function: Callable[..., object], *arrays: np.ndarray) -> dict[str, Callable[[], object]]:
        # The depthwise algorithm has no name of its own: "auto" chooses it for the shapes that it applies to.
        options = {name: "auto" if name == "depthwise" else name for name in names}
        return {name: partial(function, *arrays, geometry, algorithm=option) for name, option in options.items()}

    return {"forward": calls(conv.conv2d, x, w), "backward": calls(conv.conv2d_grads, x, dy, w)}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=7, help="timed runs of each call (default: 7)")
    parser.add_argument("--threads", type=int, default=ac.get_num_threads(), help="default: all cores")
    arguments = parser.parse_args()
    ac.set_num_threads(arguments.threads)
    print(f"{arguments.threads} threads, float32, median of {arguments.runs} runs in ms, the algorithms in turn")
    print(f"{'layer':26} {'N':>3} {'H=W':>4} {'C':>4} {'O':>4} {'k':>3} {'s':>2} {'groups':>6}  {'pass':9}", end="")
    print(f"{'im2col':>9} {'banded':>9} {'depthwise':>9} {'winograd':>9}  {'choice':10} {'of best':>7}")
    losses = []
    for layer, (n, size, c, o, kernel, stride, groups) in (OURS | TYPICAL).items():
        geometry = geometry_of(
            (n, size, size, c), (kernel, kernel, c // groups, o), (stride, stride), "same", (1, 1), groups
        )
        for name, calls in passes(geometry).items():
            times = medians(calls, arguments.runs)
            choice = choose(geometry, backward=name == "backward")
            loss = times[choice] / min(times.values())
            losses.append(loss)
            names = ("im2col", "banded", "depthwise", "winograd")
            cells = " ".join(f"{times[a]:9.2f}" if a in times else 9 * " " for a in names)
            print(f"{layer:26} {n:3} {size:4} {c:4} {o:4} {kernel:3} {stride:2} {groups:6}  {name:9}", end="")
            print(f"{cells}  {choice:10} {loss:7.2f}", flush=True)
    print(f"the choice is the best in {sum(loss == 1 for loss in losses)} of {len(losses)} cases,")
    print(f"within a tenth of it in {sum(loss <= 1.1 for loss in losses)}, and {max(losses):.2f} times it at most")


if __name__ == "__main__":
    main()
