"""Mutated files: a reader gives what was written or one of our errors, at little cost, and runs no code."""

import gzip
import hashlib
import io
import json
import resource
import shutil
import sys
import tarfile
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from helpers.audit import watch
from helpers.states import differing

import allconv as ac
from allconv.checkpoint import format as storage
from allconv.checkpoint.npz import write_member
from allconv.checkpoint.weights import model_state
from allconv.data.cifar.archive import read_members
from allconv.data.cifar.unpickle import loads
from campaigns import Case

# In memory, where there is such a folder: a disk would take most of the time.
FOLDER = "/dev/shm" if Path("/dev/shm").is_dir() else None
PICKLES = Path(__file__).parents[1] / "data" / "pickles"
SECONDS = 1.0  # bounds the processor's time of a case
MEMORY = 64 << 20  # bounds the bytes by which a case may raise the most that the process has held
EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 63, (1 << 64) - 1)


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Return the bytes with a change of a random kind, or a few; most are small, so that some go unnoticed."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        at, other = (int(place) for place in rng.integers(0, len(changed) + 1, 2))
        length = int(rng.choice([1, 1, 1, 2, 4, 8, 64, 512]))
        match rng.integers(8):
            case 0 if at < len(changed):
                changed[at] ^= 1 << rng.integers(8)
            case 1:
                changed[at : at + length] = rng.bytes(length)
            case 2:
                changed[at:at] = rng.bytes(length)
            case 3:
                del changed[at : at + length]
            case 4:
                changed[at : at + length] = changed[other : other + length]
            case 5:
                changed[at:at] = changed[other : other + length]
            case 6:
                size = int(rng.choice([1, 2, 4, 8]))
                edge = int(rng.choice(np.array(EDGES, np.uint64))) & ((1 << 8 * size) - 1)
                changed[at : at + size] = edge.to_bytes(size, str(rng.choice(["little", "big"])))
            case 7:
                del changed[at:]
    return bytes(changed)


def read(reader: Callable[[], object], errors: type[Exception] | tuple[type[Exception], ...]) -> tuple[str, object]:
    """Read once: ("read", the value) or ("refused", the message); raise where it took too much, or did too much."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    with watch() as acts, warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        try:
            end, value = "read", reader()
        except errors as error:
            end, value = "refused", str(error)
    after = resource.getrusage(resource.RUSAGE_SELF)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    grown = (after.ru_maxrss - before.ru_maxrss) * (1 if sys.platform == "darwin" else 1024)
    assert not acts, acts
    assert seconds <= SECONDS, f"{seconds:.1f} s"
    assert grown <= MEMORY, f"{grown >> 20} MB"
    return end, value


def small_model() -> ac.Sequential:
    """Return a model whose layers have every kind of state, in a file of a few KB."""
    rng = np.random.default_rng(0)
    return ac.Sequential(
        ac.Conv2D(3, 4, 3, rng=rng), ac.BatchNorm(4), ac.Skip(ac.Conv2D(4, 4, 1, rng=rng)), ac.Dropout(0.5, rng=rng),
        ac.GlobalAveragePool2D(), ac.Linear(4, 3, rng=rng),
    )  # fmt: skip


def weights() -> Iterator[Case]:
    """A file of `save_weights`: `load_weights` gives the model what was saved, or raises and leaves it as it was."""
    with tempfile.TemporaryDirectory(dir=FOLDER) as name:
        path, model = Path(name) / "weights.npz", small_model()
        saved = model_state(model)
        ac.save_weights(model, path)
        data = path.read_bytes()

        def case(rng: np.random.Generator) -> str:
            path.write_bytes(mutated(data, rng))
            for parameter in model.parameters():
                parameter.value[...] = 7
            before = model_state(model)
            end, _ = read(lambda: ac.load_weights(model, path), (ac.checkpoint.CheckpointError, ValueError))
            assert not differing(saved if end == "read" else before, model_state(model)), "other weights"
            return end

        yield case


def checkpoints() -> Iterator[Case]:
    """The newest of two checkpoints in a folder: `load` returns it, or the one before, whole."""
    with tempfile.TemporaryDirectory(dir=FOLDER) as name:
        states = [{"step": step, **model_state(small_model()), "history": [{"loss": 0.1 * step}]} for step in (1, 2)]
        paths = [ac.checkpoint.save(name, state) for state in states]
        data = paths[1].read_bytes()

        def case(rng: np.random.Generator) -> str:
            paths[1].write_bytes(mutated(data, rng))
            _, loaded = read(lambda: ac.checkpoint.load(name), ())
            newest = loaded["step"] == 2
            assert not differing(states[newest], loaded), "another state"
            return "read" if newest else "the one before"

        yield case


def forged() -> Iterator[Case]:
    """A manifest that is mutated, and has the right hash again: a dict with str keys, or one error."""
    state = {"step": 3, "rows": [{"loss": 0.5}], "a": np.ones((2, 3)), "b": {"c": np.zeros(4, np.int8), "d": None}}
    whole = io.BytesIO()
    with tempfile.TemporaryDirectory(dir=FOLDER) as name:
        storage.write(f"{name}/state.npz", state)
        whole = np.load(f"{name}/state.npz")
        members = {key: whole[key] for key in whole.files}
        path = Path(name) / "forged.npz"

        def case(rng: np.random.Generator) -> str:
            text = mutated(members["manifest"].tobytes(), rng)
            if rng.random() < 0.5:  # a value in valid JSON
                text = json.dumps(_with_odd_value(json.loads(members["manifest"].tobytes()), rng)).encode()
            hashes = {"manifest": text, "manifest_sha256": hashlib.sha256(text).digest()}
            with path.open("wb") as file, storage.zipfile.ZipFile(file, "w") as archive:
                for key, array in members.items():
                    write_member(archive, key, np.frombuffer(hashes[key], np.uint8) if key in hashes else array)
            end, value = read(lambda: storage.read(path), ac.checkpoint.CheckpointError)
            assert isinstance(value, dict if end == "read" else str), value
            return end

        yield case


ODD = (
    None,
    True,
    -1,
    0,
    1 << 70,
    1e308,
    float("nan"),
    "",
    "\ud800",
    "../a",
    [],
    [[]],
    {},
    {"": None},
    [2**40],
    "object",
)


def _with_odd_value(value: object, rng: np.random.Generator) -> object:
    """Return nested dicts and lists with an odd value at a random place."""
    items = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    if not items or rng.random() < 0.2:
        return ODD[rng.integers(len(ODD))]
    at = int(rng.integers(len(items)))
    key, item = items[at]
    items[at] = key, _with_odd_value(item, rng)
    return dict(items) if isinstance(value, dict) else [item for _, item in items]


def pickles() -> Iterator[Case]:
    """A pickled batch of CIFAR: a dict of what a batch may hold, or one error. It has no hash: a pixel may differ."""
    wholes = [path.read_bytes() for path in sorted(PICKLES.iterdir())]

    def case(rng: np.random.Generator) -> str:
        data = mutated(wholes[rng.integers(len(wholes))], rng)
        end, value = read(lambda: loads(data, "batch"), ValueError)
        if end == "refused":
            assert value.startswith("batch must be a pickled dict of"), value
        else:
            assert all(isinstance(key, str) for key in value), value
            assert all(item.dtype == np.uint8 for item in value.values() if isinstance(item, np.ndarray)), value
        return end

    yield case


def _archive(contents: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def archives() -> Iterator[Case]:
    """An archive of batches, mutated before or after it is packed: its contents, or one error, and no other file.

    The packed form has a checksum, so what comes out of it must be what went in. A tar has none over its contents.
    """
    rng = np.random.default_rng(1)
    contents = {"batches/a": rng.bytes(1000), "batches/b": rng.bytes(700), "batches/readme": b"text"}
    sizes = {"batches/a": range(1000, 1001), "batches/b": range(500, 2001)}
    wanted = {name: contents[name] for name in sizes}
    plain = _archive(contents)
    packed = gzip.compress(plain, 1)
    root = Path(tempfile.mkdtemp(dir=FOLDER))
    folder = root / "in" / "deep"
    folder.mkdir(parents=True)
    path = folder / "batches.tar.gz"

    def case(rng: np.random.Generator) -> str:
        outside = bool(rng.integers(2))
        path.write_bytes(mutated(packed, rng) if outside else gzip.compress(mutated(plain, rng), 1))
        end, value = read(lambda: dict(read_members(path, sizes)), ValueError)
        if end == "refused":
            assert str(path) in value, value
        elif outside:
            assert value == wanted, "other contents"
        else:
            assert all(len(content) in sizes[name] for name, content in value.items()), "another size"
        assert [item for item in root.rglob("*") if not item.is_dir()] == [path], "another file"
        return end

    try:
        yield case
    finally:
        shutil.rmtree(root)


CAMPAIGNS = {
    "weights": ("weights files mutated", weights),
    "checkpoints": ("checkpoints mutated", checkpoints),
    "forged": ("manifests forged, with the right hash", forged),
    "pickles": ("pickled CIFAR batches mutated", pickles),
    "archives": ("CIFAR archives mutated", archives),
}
