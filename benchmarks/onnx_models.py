"""Time predictions of ONNX files: read as models here, in the reference of the package onnx, and in ONNX Runtime.

    pip install onnx onnxruntime
    python benchmarks/onnx_models.py [--threads 2] [--runs 7] [--only NAME ...]

Each network is written by `to_onnx` and read by `from_onnx`. The reference of ONNX computes in NumPy too, operator by
operator. The times are medians of calls that take turns. The last column is the largest difference of the outputs to
those of ONNX Runtime, relative to the largest output.
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx.reference
import onnxruntime
from timing import medians
from train_step import mobile_net

import allconv as ac
from allconv.typing import Array

NETS: dict[str, tuple[Callable[[np.random.Generator], ac.Sequential], tuple[int, ...]]] = {
    "LeNet": (lambda rng: ac.models.lenet(rng=rng), (28, 28, 1)),
    "the article's All-CNN": (lambda rng: ac.models.article_net("allcnn", rng=rng), (32, 32, 3)),
    "ResNet-20": (lambda rng: ac.models.resnet20("B", rng=rng), (32, 32, 3)),
    "small MobileNet": (mobile_net, (32, 32, 3)),
}


def predictions(path: Path, threads: int) -> dict[str, Callable[[Array], Array]]:
    """Return for each of the three what predicts by an ONNX file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    reference = onnx.reference.ReferenceEvaluator(str(path))
    return {
        "allconv": ac.interop.from_onnx(path),
        "reference": lambda x: np.asarray(reference.run(None, {"input": x})[0]),
        "ONNX Runtime": lambda x: np.asarray(session.run(None, {"input": x})[0]),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2, help="threads of allconv and ONNX Runtime (default: 2)")
    parser.add_argument("--runs", type=int, default=7, help="timed rounds (default: 7)")
    parser.add_argument("--only", nargs="+", default=[""], help="networks whose name contains one of these")
    arguments = parser.parse_args()
    ac.set_num_threads(arguments.threads)
    print(f"{'':24} {'batch':>5} {'allconv':>9} {'reference':>10} {'Runtime':>9}", end="")
    print(f" {'reference / ours':>17} {'difference':>10}")
    rng = np.random.default_rng(0)
    for name, (build, shape) in NETS.items():
        if not any(part in name for part in arguments.only):
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "net.onnx"
            ac.interop.to_onnx(build(rng), path, shape)
            calls = predictions(path, arguments.threads)
        for batch in (1, 16):
            x = rng.standard_normal((batch, *shape)).astype(np.float32)
            outputs = {peer: call(x) for peer, call in calls.items()}
            wanted = outputs["ONNX Runtime"]
            difference = max(float(np.abs(y - wanted).max()) for y in outputs.values()) / float(np.abs(wanted).max())
            times = medians({peer: partial(call, x) for peer, call in calls.items()}, arguments.runs)
            ours, reference, runtime = times.values()
            print(f"{name:24} {batch:5} {ours:9.2f} {reference:10.1f} {runtime:9.2f} ", end="")
            print(f"{reference / ours:17.1f} {difference:10.0e}", flush=True)


if __name__ == "__main__":
    main()
