"""Time training steps and predictions: allconv, PyTorch, JAX and ONNX Runtime on the same machine, in turn.

    pip install torch==2.13.0 jax==0.10.2 optax==0.2.8 onnx onnxruntime
    python benchmarks/train_step.py [--threads 2] [--runs 9] [--warm 0.0] [--only NAME ...] [--out FOLDER]

A row is one network at one batch size. The peers are PyTorch in its own layout, PyTorch with channels_last, and PyTorch
compiled, which needs a C++ compiler, and JAX, compiled too. ONNX Runtime joins them in prediction. A peer that is not
installed is left out. So is JAX with another number of threads than that of the cores, because it always uses all.

All have the same weights in float32. The largest difference of their first losses or scores to ours is printed, and
shows that they compute the same. In each round each of them makes one timed call, after a short rest in which the
threads of the others fall asleep. With `--warm 0.1`, untimed calls for 0.1 s, at least two, come right before the
timed one, as in a training loop, where a step follows a step. The times are medians over the rounds; the first call
and the first round do not count. Our prediction is that of the fused model. Each row is measured in a process of its
own. The last column is the load of the machine at its end: the mean number of busy threads within a minute, the
benchmark's own included.
"""

import argparse
import json
import multiprocessing
import os
import platform
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from peer_models import nchw, onnx_runtime, to_torch
from timing import medians

import allconv as ac
from allconv.models.fusion import fuse
from allconv.parallel.blas import single_threaded_blas
from allconv.typing import Array

RATE = 3e-4
REST = 0.02  # A rest before a timed call takes this many seconds.
Call = Callable[[], Any]
Build = Callable[[np.random.Generator], ac.Sequential]


def perceptron(rng: np.random.Generator) -> ac.Sequential:
    return ac.Sequential(ac.Linear(784, 64, rng=rng), ac.ReLU(), ac.Linear(64, 10, rng=rng))


def small_net(rng: np.random.Generator) -> ac.Sequential:
    return ac.Sequential(
        *(ac.Conv2D(3, 32, 3, rng=rng), ac.ReLU(), ac.MaxPool2D(2)),
        *(ac.Conv2D(32, 64, 3, rng=rng), ac.ReLU(), ac.MaxPool2D(2)),
        *(ac.Flatten(), ac.Linear(8 * 8 * 64, 10, rng=rng)),
    )


def mobile_net(rng: np.random.Generator) -> ac.Sequential:
    """Return a small MobileNet (Howard et al., 2017): pairs of a depthwise and a 1x1 convolution."""

    def normalized(*conv: Any, **options: Any) -> list[ac.Layer]:
        return [ac.Conv2D(*conv, bias=False, rng=rng, **options), ac.BatchNorm(conv[1]), ac.ReLU()]

    layers, channels = normalized(3, 32, 3), 32
    for outputs, stride in ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1)):
        layers += normalized(channels, channels, 3, stride=stride, padding=1, groups=channels)
        layers += normalized(channels, outputs, 1)
        channels = outputs
    return ac.Sequential(*layers, ac.GlobalAveragePool2D(), ac.Linear(channels, 10, rng=rng))


def fast_net(rng: np.random.Generator) -> ac.Sequential:
    """Return the network of the fast CIFAR-10 recipe for 94 % (Jordan, 2024), without its whitening."""
    layers, channels = [ac.Conv2D(3, 24, 2, padding="valid", rng=rng), ac.GELU()], 24
    for width in (64, 256, 256):
        layers += [ac.Conv2D(channels, width, 3, bias=False, rng=rng), ac.MaxPool2D(2), ac.BatchNorm(width), ac.GELU()]
        layers += [ac.Conv2D(width, width, 3, bias=False, rng=rng), ac.BatchNorm(width), ac.GELU()]
        channels = width
    return ac.Sequential(*layers, ac.MaxPool2D(3), ac.Flatten(), ac.Linear(channels, 10, bias=False, rng=rng))


def article(kind: str, activation: str) -> Build:
    return lambda rng: ac.models.article_net(kind, activation=activation, rng=rng)


@dataclass(frozen=True)
class Case:
    """One row: a network, its input, and the target for the best peer's time over ours."""

    name: str
    build: Build
    in_shape: tuple[int, ...]
    batch: int
    target: float | None
    training: bool = True
    mirrored: bool = False  # whether it halves images by "same" padding


def all_cnn_c(rng: np.random.Generator) -> ac.Sequential:
    return ac.models.all_cnn("C", "allcnn", rng=rng)


CIFAR = (32, 32, 3)
CASES = [
    Case("ConvPool step", article("convpool", "relu"), CIFAR, 50, 2.0),
    Case("All-CNN step", article("allcnn", "relu"), CIFAR, 50, 1.75, mirrored=True),
    Case("ConvPool step, ELU", article("convpool", "elu"), CIFAR, 50, None),
    Case("All-CNN step, ELU", article("allcnn", "elu"), CIFAR, 50, None, mirrored=True),
    Case("paper's All-CNN-C step", all_cnn_c, CIFAR, 128, 1.85, mirrored=True),
    Case("LeNet step", lambda rng: ac.models.lenet(rng=rng), (28, 28, 1), 32, 1.2),
    Case("perceptron step", perceptron, (784,), 32, 1.8),
    Case("small net step", small_net, CIFAR, 50, None),
    Case("ResNet-20 step", lambda rng: ac.models.resnet20("B", rng=rng), CIFAR, 128, 0.9),
    Case("MobileNet step", mobile_net, CIFAR, 64, 0.5),
    Case("94 % net's step", fast_net, CIFAR, 500, 1.5),
    *(
        Case(f"{label} prediction", article(kind, "relu"), CIFAR, batch, target, training=False, mirrored=mirrored)
        for label, kind, mirrored in (("ConvPool", "convpool", False), ("All-CNN", "allcnn", True))
        for batch, target in ((1, 1.0), (50, 1.3), (256, 1.3))
    ),
    Case("LeNet prediction", lambda rng: ac.models.lenet(rng=rng), (28, 28, 1), 1, None, training=False),
    Case("perceptron prediction", perceptron, (784,), 1, None, training=False),
]


def our_step(model: ac.Sequential, images: Array, labels: Array) -> Call:
    loss, optimizer = ac.SoftmaxCrossEntropy(), ac.AMSGrad(model.parameters(), RATE)

    def step() -> float:
        with single_threaded_blas():  # The training loop does so, too.
            scores, cache = model.forward(images, training=True)
            value, dscores = loss(scores, labels)
            model.backward_parameters(dscores, cache, release=True)
            optimizer.step()
        return float(value)

    return step


def torch_step(network: Any, images: Any, labels: Array) -> Call:
    import torch

    target = torch.tensor(labels)
    optimizer = torch.optim.Adam(network.parameters(), RATE, amsgrad=True)

    def step() -> float:
        value = torch.nn.functional.cross_entropy(network(images), target)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        return float(value.item())

    return step


def torch_prediction(network: Any, images: Any) -> Call:
    import torch

    def predict() -> Array:
        with torch.inference_mode():
            scores: Array = network(images).numpy()
        return scores

    return predict


def torch_calls(case: Case, model: ac.Sequential, images: Array, labels: Array, threads: int) -> dict[str, Call]:
    """Return PyTorch's calls: in its own layout, with channels_last, and compiled."""
    try:
        import torch
    except ImportError:
        print("PyTorch is not installed, and left out")
        return {}
    torch.set_num_threads(threads)
    last = torch.channels_last if len(case.in_shape) == 3 else torch.contiguous_format
    layouts = {"PyTorch": torch.contiguous_format, "channels_last": last, "compiled": last}
    calls = {}
    for name, layout in layouts.items():
        x = torch.tensor(nchw(images, case.mirrored)).contiguous(memory_format=layout)
        network = to_torch(model, case.in_shape, case.mirrored).to(memory_format=layout)
        if name == "compiled":
            network = torch.compile(network)
        calls[name] = torch_step(network, x, labels) if case.training else torch_prediction(network, x)
    return calls


def jax_calls(case: Case, model: ac.Sequential, images: Array, labels: Array, threads: int) -> dict[str, Call]:
    """Return JAX's call."""
    if threads != os.cpu_count():
        return {}
    try:
        from jax_model import jax_prediction, jax_step
    except ImportError as error:
        print(f"JAX is left out: {error}")
        return {}
    return {"JAX": jax_step(model, images, labels, RATE) if case.training else jax_prediction(model, images)}


def onnx_calls(case: Case, model: ac.Sequential, images: Array, threads: int) -> dict[str, Call]:
    """Return ONNX Runtime's call; it does not train."""
    if case.training:
        return {}
    try:
        predict = onnx_runtime(model, case.in_shape, threads)
    except ImportError as error:
        print(f"ONNX Runtime is left out: {error}")
        return {}
    return {"ONNX Runtime": partial(predict, nchw(images, mirrored=False))}


def measure(row: int, threads: int, runs: int, warm: float) -> tuple[dict[str, float], float]:
    """Return the median milliseconds of each, ours first, and the largest relative difference of first results."""
    case = CASES[row]
    ac.set_num_threads(threads)
    rng = np.random.default_rng(0)
    images = rng.standard_normal((case.batch, *case.in_shape)).astype(np.float32)
    labels = rng.integers(0, 10, case.batch)
    model = case.build(rng)
    peers = torch_calls(case, model, images, labels, threads)
    peers |= jax_calls(case, model, images, labels, threads) | onnx_calls(case, model, images, threads)
    ours = our_step(model, images, labels) if case.training else partial(fuse(model), images)
    calls, first = {"allconv": ours} | peers, {}
    for name, call in list(calls.items()):
        try:
            first[name] = np.asarray(call())
        except Exception as error:  # The compiler of a machine may refuse in any way.
            if name != "compiled":
                raise
            print(f"torch.compile is left out: {str(error).splitlines()[0]}")
            del calls[name]
    ours_first = first["allconv"]
    difference = max(float(np.abs(other - ours_first).max() / np.abs(ours_first).max()) for other in first.values())
    return medians(calls, runs, warm=warm, rest=REST), difference


def machine() -> str:
    """Return the processor and the versions in one line."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    processor = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    wide = next((name for name in ("avx512f", "avx2") if any(name in line for line in lines)), "")
    versions = []
    for package in ("numpy", "torch", "jax", "onnxruntime"):
        with suppress(PackageNotFoundError):
            versions.append(f"{package} {version(package)}")
    return f"{processor or platform.processor()} {wide}, Python {platform.python_version()}, {', '.join(versions)}"


def main() -> None:
    """Print the table; with --out write it there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2, help="threads of each library (default: 2)")
    parser.add_argument("--runs", type=int, default=9, help="timed rounds (default: 9)")
    parser.add_argument("--warm", type=float, default=0.0, help="seconds of calls before each timed one (default: 0)")
    parser.add_argument("--only", nargs="+", default=[""], help="rows whose name contains one of these")
    parser.add_argument("--out", type=Path, help="folder for train_step.json")
    arguments = parser.parse_args()
    print(f"{machine()}; {arguments.threads} threads, float32, median of {arguments.runs} rounds in ms")
    peers = ("PyTorch", "channels_last", "compiled", "JAX", "ONNX Runtime")
    print(f"{'':24} {'batch':>5} {'allconv':>9} " + " ".join(f"{name:>13}" for name in peers), end="")
    print(f" {'best / ours':>11} {'target':>6} {'difference':>10} {'load':>5}")
    results: dict[str, dict[str, Any]] = {}
    for row, case in enumerate(CASES):
        if not any(part in case.name for part in arguments.only):
            continue
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            settings = arguments.threads, arguments.runs, arguments.warm
            times, difference = process.submit(measure, row, *settings).result()
        load = os.getloadavg()[0]
        others = [value for name, value in times.items() if name != "allconv"]
        ratio = min(others, default=float("nan")) / times["allconv"]
        cells = " ".join(f"{times[name]:13.2f}" if name in times else 13 * " " for name in peers)
        print(f"{case.name:24} {case.batch:5} {times['allconv']:9.2f} {cells} {ratio:11.2f}", end="")
        print(f" {case.target or '':>6} {difference:10.0e} {load:5.1f}", flush=True)
        results[f"{case.name}, {case.batch}"] = {
            "times": times,
            "ratio": ratio,
            "target": case.target,
            "difference": difference,
            "load": load,
        }
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        report = {
            "machine": machine(),
            "threads": arguments.threads,
            "runs": arguments.runs,
            "warm": arguments.warm,
            "results": results,
        }
        (arguments.out / "train_step.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
