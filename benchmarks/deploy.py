"""Measure what it takes to answer for one image: a deployed folder beside allconv, ONNX Runtime and PyTorch.

    pip install 'allconv[torch,onnx]'
    python benchmarks/deploy.py [--steady 50] [--processes 5]

The network is the article's All-CNN, in float32, and the image has 32x32 pixels. Each runs in processes of its own, and
a time is the median over them:

- import: of the import alone
- first: of the import, the loading of the network and the first answer together; the folder's target is 0.3 s
- steady: of an answer after the first
- MB: the largest resident set after the first answer; "beyond NumPy" is without that of a process which imports NumPy
  alone, and the folder's target is 60 MB
- installed: the files of the packages, with all that they depend on, and those of the network
"""

import argparse
import importlib
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

Answer = Callable[[], list[float]]


def numpy_alone(_folder: Path) -> Answer:
    return list


def folder_of_allconv(folder: Path) -> Answer:
    import numpy as np
    import predict  # type: ignore[import-not-found] # the file in the folder

    network, image = predict.load(), np.load(folder / "image.npy")
    return lambda: network(image)[0].tolist()


def allconv_itself(folder: Path) -> Answer:
    import numpy as np

    import allconv as ac

    model, image = ac.models.article_net("allcnn"), np.load(folder / "image.npy")
    ac.load_weights(model, folder / "allconv.npz")
    fused = ac.models.fuse(model)
    return lambda: fused(image)[0].tolist()


def onnx_runtime(folder: Path) -> Answer:
    import numpy as np
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / "network.onnx", providers=["CPUExecutionProvider"])
    image = np.load(folder / "image.npy")
    return lambda: session.run(None, {"input": image})[0][0].tolist()


def pytorch(folder: Path) -> Answer:
    import torch

    network, image = torch.jit.load(folder / "network.pt"), torch.load(folder / "image.pt")

    def answer() -> list[float]:
        with torch.inference_mode():
            return network(image)[0].tolist()  # type: ignore[no-any-return]

    return answer


class Program(NamedTuple):
    """What is measured: the module that it imports, the packages that it needs, its files, and how it answers."""

    module: str
    packages: tuple[str, ...]
    files: tuple[str, ...]
    open: Callable[[Path], Answer]


PROGRAMS = {
    "NumPy alone": Program("numpy", ("numpy",), (), numpy_alone),
    "deployed folder": Program(
        "predict", ("numpy",), ("net/predict.py", "net/model.json", "net/weights.npz"), folder_of_allconv
    ),
    "allconv": Program("allconv", ("allconv",), ("allconv.npz",), allconv_itself),
    "ONNX Runtime": Program("onnxruntime", ("onnxruntime",), ("network.onnx",), onnx_runtime),
    "PyTorch": Program("torch", ("torch",), ("network.pt",), pytorch),
}


def write_files(folder: Path) -> None:
    """Write the network and the image in each program's form, from one random network."""
    import numpy as np
    import torch
    from peer_models import nchw, to_torch

    import allconv as ac

    rng = np.random.default_rng(0)
    model, shape = ac.models.article_net("allcnn", rng=rng), (32, 32, 3)
    image = rng.standard_normal((1, *shape)).astype(np.float32)
    np.save(folder / "image.npy", image)
    ac.deploy.save(model, folder / "net", input_shape=shape)
    ac.save_weights(model, folder / "allconv.npz")
    ac.interop.to_onnx(model, folder / "network.onnx", shape)
    mirrored = torch.from_numpy(nchw(image, mirrored=True))
    torch.save(mirrored, folder / "image.pt")
    torch.jit.trace(to_torch(model, shape, mirrored=True).eval(), mirrored).save(folder / "network.pt")


def measure(name: str, folder: Path, steady: int) -> dict[str, Any]:
    """Be one of the processes: return the times, the memory and the scores."""
    program = PROGRAMS[name]
    sys.path.insert(0, str(folder / "net"))
    start = time.perf_counter()
    importlib.import_module(program.module)
    imported = time.perf_counter() - start
    answer = program.open(folder)
    scores = answer()
    first = time.perf_counter() - start
    unit = 1 if sys.platform == "darwin" else 1024
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
    times = []
    for _ in range(steady):
        start = time.perf_counter()
        answer()
        times.append(time.perf_counter() - start)
    return {"import": imported, "first": first, "memory": memory, "steady": statistics.median(times), "scores": scores}


def installed_megabytes(packages: tuple[str, ...]) -> float:
    """Return the size of the installed files of packages, and of those that they need on this machine."""
    found: dict[str, metadata.Distribution] = {}
    waiting = list(packages)
    while waiting:
        name = re.sub("[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # for another system or Python
            continue
        needed = [text for text in found[name].requires or [] if "extra ==" not in text]
        waiting += [re.split(r"[^\w.-]", text, maxsplit=1)[0] for text in needed]
    paths = [Path(str(file.locate())) for one in found.values() for file in one.files or []]
    if "allconv" in found:  # an editable installation does not list the files of the package
        paths += (Path(__file__).resolve().parents[1] / "allconv").rglob("*.py")
    return sum(path.stat().st_size for path in paths if path.is_file()) / 2**20


def row(name: str, folder: Path, processes: int, steady: int) -> dict[str, Any] | None:
    """Return the medians over several processes, or None for a program that cannot run."""
    options = ["--run", name, "--folder", str(folder), "--steady", str(steady)]
    runs = []
    for _ in range(processes):
        result = subprocess.run([sys.executable, __file__, *options], capture_output=True, text=True, check=False)
        if result.returncode:
            print(f"{name} is left out: {result.stderr.strip().splitlines()[-1]}")
            return None
        runs.append(json.loads(result.stdout))
    medians: dict[str, Any] = {key: statistics.median(run[key] for run in runs) for key in runs[0] if key != "scores"}
    files = sum((folder / file).stat().st_size for file in PROGRAMS[name].files) / 2**20
    return medians | {"scores": runs[0]["scores"], "installed": installed_megabytes(PROGRAMS[name].packages) + files}


def main() -> None:
    """Print the table; with --run be one of the processes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steady", type=int, default=50, help="answers after the first")
    parser.add_argument("--processes", type=int, default=5, help="after one that warms the disk's cache")
    parser.add_argument("--run", choices=[*PROGRAMS, "write"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run == "write":
        write_files(arguments.folder)
        return
    if arguments.run:
        print(json.dumps(measure(arguments.run, arguments.folder, arguments.steady)))
        return
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # Without bytecode, each process would compile all modules.
    with tempfile.TemporaryDirectory() as folder:
        # A process of its own: on Linux a process starts with the largest resident set of the one that has started it.
        subprocess.run([sys.executable, __file__, "--run", "write", "--folder", folder], check=True)
        rows = {}
        for name in PROGRAMS:
            row(name, Path(folder), 1, 1)
            rows[name] = row(name, Path(folder), arguments.processes, arguments.steady)
    base = rows["NumPy alone"]["memory"]  # type: ignore[index]
    print(
        f"{'':16} {'installed MB':>13} {'import s':>9} {'first s':>9} {'steady ms':>10} {'MB':>6} {'beyond NumPy':>13}"
    )
    for name, found in rows.items():
        if found:
            print(
                f"{name:16} {found['installed']:13.1f} {found['import']:9.3f} {found['first']:9.3f} "
                f"{1000 * found['steady']:10.2f} {found['memory']:6.0f} {found['memory'] - base:13.0f}"
            )
    answers = [found["scores"] for name, found in rows.items() if found and name != "NumPy alone"]
    apart = max(abs(a - b) for one in answers for a, b in zip(one, answers[0], strict=True))
    print(f"the answers differ by at most {apart:.1e}")


if __name__ == "__main__":
    main()
