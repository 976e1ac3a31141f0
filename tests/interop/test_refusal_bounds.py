"""Small files that would fill the memory or take minutes: each is refused within a second and 100 MB.

`check_refusal` sees the memory of Python. The packages for protobuf and HDF5 have their own, so that a process with a
limit on all memory reads the files here.
"""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers.onnx_files import graph_of, numbers

onnx = pytest.importorskip("onnx")
h5py = pytest.importorskip("h5py")

PROGRAM = """
import resource, sys, time
import h5py, onnx, onnx.reference
from allconv import interop
for loader, path in zip(sys.argv[1::2], sys.argv[2::2]):
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 100_000_000, -1))
    start = time.process_time()
    try:
        getattr(interop, loader)(path)
        text = "is read"
    except (ValueError, OSError) as error:
        text = " ".join(str(error).split())
    print(f"{time.process_time() - start:.2f} {text}")
"""


def field(number, content):
    """Return a field of protobuf that holds a message."""
    length, size = len(content), b""
    while length > 127:
        size += bytes([length & 127 | 128])
        length >>= 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + content


def chain(count, operator, *weights, **options):
    """Return a graph of nodes in a row, with an operator at its end that is no layer here."""
    nodes = [(operator, [f"a{k}" if k else "x", *weights], [f"a{k + 1}"], {}) for k in range(count)]
    return graph_of([*nodes, ("LSTM", [f"a{count}"], ["y"], {})], **options).SerializeToString()


def joined(count, operator):
    """Return a graph in which each node takes the output of the one before twice, and then a normalization."""
    nodes = [(operator, [f"a{k}" if k else "x"] * 2, [f"a{k + 1}"], {"axis": 1}) for k in range(count)]
    last = ("BatchNormalization", [f"a{count}", *"wwww"], ["y"], {})
    return graph_of([*nodes, last], {"w": numbers(3)}).SerializeToString()


MATRIX = np.zeros((1024, 1024), np.float32)
WEIGHTS = {"weights": {"w": MATRIX}, "shape": (1, 1024)}
LAYER = ["BatchNormalization", "LayerNormalization", "GroupNormalization", "PReLU"]


def keras(*layers, kind="Sequential", **graph):
    """Return a file of Keras with a description, and without weights."""

    def write(path):
        h5py.File(path.with_suffix(".h5"), "w").close()
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", json.dumps({"class_name": kind, "config": {"layers": layers, **graph}}))
            archive.write(path.with_suffix(".h5"), "model.weights.h5")

    return write


def layer(kind, *shape, **config):
    batch = {"batch_shape": [None, *shape]} if shape else {}
    return {"class_name": kind, "config": {"name": kind, "epsilon": 0.1, "momentum": 0.9, "groups": 1} | batch | config}


def functional(*calls):
    """Return a file of Keras with an input and an addition, which has these calls."""
    start, end = layer("InputLayer", 2, 2, 3), layer("Add") | {"inbound_nodes": calls}
    return keras(start, end, kind="Functional", input_layers=["InputLayer", 0, 0], output_layers=["Add", 0, 0])


def pickle_of_length(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02X" + (50_000_000).to_bytes(4, "little") + bytes(50_000_000) + b".")


def header(text):
    return len(text).to_bytes(8, "little") + text


START = ["InputLayer", 0, 0, {}]
FILES = {
    "nodes": ("from_onnx", field(7, b"\x0a\0" * 1_000_000), "has more than 200000 fields"),
    "attributes": ("from_onnx", field(7, field(1, b"\x2a\0" * 1_000_000)), "has more than 200000 fields"),
    "a long chain": ("from_onnx", chain(7999, "Add", "w", weights={"w": numbers(3, 1, 1)}), "node 'LSTM7999' (LSTM)"),
    "a longer chain": ("from_onnx", chain(8000, "Relu", weights={}), "of 1 to 8000 nodes, but one of 8001"),
    "inputs": ("from_onnx", chain(1, "Sum", *"x" * 100_000, weights={}), "take more than 40000 inputs"),
    "one matrix in many nodes": ("from_onnx", chain(1000, "MatMul", "w", **WEIGHTS), "'MatMul12' (MatMul) makes"),
    "one kernel in many nodes": (
        "from_onnx",
        chain(1000, "Conv", "w", weights={"w": MATRIX[..., None, None]}, shape=(1, 1024, 2, 2)),
        "node 'Conv12' (Conv) makes more numbers",
    ),
    "constants of a matrix": (
        "from_onnx",
        graph_of([("Neg", ["w"], [f"w{k}"], {}) for k in range(1000)], {"w": MATRIX}).SerializeToString(),
        "node 'Neg12' (Neg) makes more numbers",
    ),
    "channels": ("from_onnx", joined(27, "Concat"), "has numbers of shape (3,), not (402653184,)"),
    **{
        f"channels of {kind}": (
            "from_keras",
            keras(layer("InputLayer", 1, 1, 1 << 29), layer(kind)),
            f"layer '{kind}' takes 536870912 channels and has no weight",
        )
        for kind in LAYER
    },
    "a long description": ("from_keras", keras(*[[]] * 1_000_000), "has a config.json of more than 2097152 bytes"),
    "layers": ("from_keras", keras(*[layer("ReLU")] * 5001), "must have 1 to 5000 layers, got 5001"),
    "a circle": ("from_keras", functional([START, ["Add", 0, 0, {}]]), "layer 'Add' is part of a circle"),
    "calls": ("from_keras", functional(*[[START]] * 50_000), "has more than 5000 calls"),
    "inputs of a call": ("from_keras", functional([START] * 50_000), "or 20000 inputs"),
    "lists in a header": ("load_safetensors", header(b'{"a":[' + b"[]," * 1_048_000 + b"[]]}"), "array 'a' must have"),
    "a long pickle": ("load_torch", pickle_of_length, "has a data.pkl of more than 16777216 bytes"),
}  # fmt: skip


@pytest.fixture(scope="module")
def refusals(tmp_path_factory):
    """Return for each file the seconds, and what the error says."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("the limit on memory needs Linux")
    folder, arguments = tmp_path_factory.mktemp("files"), []
    for number, (loader, content, _) in enumerate(FILES.values()):
        path = folder / f"{number}.file"
        path.write_bytes(content) if isinstance(content, bytes) else content(path)
        arguments += [loader, str(path)]
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=True)
    lines = [line.split(" ", 1) for line in done.stdout.splitlines()]
    return {name: (float(seconds), text) for name, (seconds, text) in zip(FILES, lines, strict=True)}


@pytest.mark.parametrize("name", FILES)
def test_is_refused_within_a_second_and_100_mb(refusals, name):
    seconds, text = refusals[name]
    assert ".file: " in text
    assert FILES[name][2] in text
    assert seconds < 1  # on an idle machine at most 0.3
