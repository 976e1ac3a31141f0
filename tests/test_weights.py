import re
import zipfile
from operator import attrgetter

import numpy as np
import pytest

import allconv as ac
from allconv import checkpoint
from allconv.checkpoint import format as storage
from allconv.checkpoint.errors import CheckpointError
from allconv.checkpoint.weights import load_model_state, load_weights, model_state, save_weights
from allconv.layers.base import Layer
from allconv.parameter import Parameter


class Affine(Layer):
    def __init__(self, size: int, value: float, dtype=np.float32) -> None:
        self.weight = Parameter(np.full((size, 2), value, dtype))
        self.bias = Parameter(np.full(size, -value, dtype))
        self.mean = Parameter(np.full(size, value / 2, dtype), trainable=False)


class Noise(Layer):
    """A layer with a state: a scale, which must be positive, and a generator."""

    def __init__(self, scale: float, seed: int) -> None:
        self.scale = scale
        self.rng = np.random.default_rng(seed)

    def state(self):
        return {"scale": self.scale, "rng": self.rng.bit_generator.state}

    def load_state(self, state):
        super().load_state(state)
        self.scale = state["scale"]
        if self.scale <= 0:
            raise ValueError(f"scale must be positive, got {self.scale}")
        self.rng.bit_generator.state = state["rng"]


class Net(Layer):
    def __init__(self, value: float = 1.0, *, sizes=(3, 4), seed: int = 0, dtype=np.float32) -> None:
        self.first, self.second = (Affine(size, value + index, dtype) for index, size in enumerate(sizes))
        self.noise = Noise(value, seed)
        self.more_noise = Noise(value, seed + 1)


def snapshot(model: Layer) -> dict:
    values = {path: (p.value.dtype, p.value.tobytes()) for path, p in model.named_parameters()}
    return values | {path: layer.state() for path, layer in model.named_layers()}


PATHS = [f"{layer}.{name}" for layer in ("first", "second") for name in ("weight", "bias", "mean")]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.npz"


def test_a_net_comes_back_in_its_own_arrays(path):
    source, target = Net(0.1, seed=7), Net(2.0, seed=0)
    source.noise.rng.random(5)
    save_weights(source, path)
    kept = target.first.weight.value
    load_weights(target, str(path))
    assert snapshot(target) == snapshot(source)
    assert target.first.weight.value is kept
    with np.load(path, allow_pickle=False) as file:
        np.testing.assert_array_equal(file["model/first.bias"], source.first.bias.value)


@pytest.mark.parametrize(("source", "target"), [(Affine(2, 3.0), Affine(2, 0.0)), (Noise(0.5, 3), Noise(1.0, 0))])
def test_a_single_layer_comes_back(path, source, target):
    save_weights(source, path)
    load_weights(target, path)
    assert snapshot(target) == snapshot(source)


def test_model_state_is_a_copy_by_path():
    net = Net(0.5)
    state = model_state(net)
    assert sorted(state) == ["layers", "model"]
    assert list(state["model"]) == PATHS
    assert list(state["layers"]) == ["noise", "more_noise"]
    net.first.mean.value += 1
    assert (state["model"]["first.mean"] == np.float32(0.25)).all()


def test_a_checkpoint_holds_weights_too(tmp_path):
    file = checkpoint.save(tmp_path, {"step": 3, "optimizer": {"m": np.ones(3)}, **model_state(Net(0.5))})
    load_weights(target := Net(1.0), file)
    assert snapshot(target) == snapshot(Net(0.5))


def test_floating_dtypes_are_cast_to_the_models(path):
    save_weights(Net(0.1, dtype=np.float64), path)
    load_weights(target := Net(2.0), path)
    assert snapshot(target) == snapshot(Net(np.float64(0.1)))
    save_weights(Net(0.1), path)
    load_weights(target := Net(2.0, dtype=np.float64), path)
    assert target.first.weight.value.dtype == np.float64
    assert (target.first.weight.value == float(np.float32(0.1))).all()


def test_parameters_are_rounded_to_the_dtype_that_is_asked_for(path):
    save_weights(source := Net(0.1), path, dtype="float16")
    load_weights(target := Net(2.0), path)
    for ours, theirs in zip(source.parameters(), target.parameters(), strict=True):
        np.testing.assert_array_equal(theirs.value, ours.value.astype(np.float16).astype(np.float32))
    assert target.noise.state() == source.noise.state()
    assert snapshot(source) == snapshot(Net(0.1)), "the model keeps its own"
    whole = path.read_bytes()
    source.first.bias.value[1] = 1e6
    with pytest.raises(ValueError, match=r"parameter 'first\.bias' must hold numbers that fit into float16.*1e\+06"):
        save_weights(source, path, dtype=np.float16)
    with pytest.raises(TypeError, match="dtype must be a floating dtype, got 'int8'"):
        save_weights(source, path, dtype="int8")
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("name", "reader"),
    [
        ("net.pt", "interop.load_torch"),
        ("net.PTH", "interop.load_torch"),
        ("net.safetensors", "interop.load_safetensors"),
        ("net.keras", "interop.load_keras"),
        ("net.onnx", "interop.from_onnx"),
    ],
)
def test_a_file_of_another_library_is_refused_with_the_function_that_reads_it(tmp_path, name, reader):
    assert callable(attrgetter(reader)(ac))
    (tmp_path / name).write_bytes(b"PK\x05\x06" + bytes(18))
    with pytest.raises(CheckpointError, match=rf"{re.escape(name)}: .*; {reader} reads files of this kind$"):
        load_weights(Net(1.0), tmp_path / name)


def test_everything_that_does_not_fit_is_named_and_nothing_changes(path):
    state = model_state(Net(2.0))
    del state["model"]["first.bias"], state["layers"]["noise"]
    state["model"] |= {
        "first.extra": np.ones(2),
        "first.mean": np.ones((3, 1), np.float32),
        "second.mean": np.ones(4, np.int64),
        "second.bias": np.full(4, 1e300),
        "second.weight": 0.5,
    }
    state["layers"]["first"] = {"scale": 1.0}
    storage.write(path, state)
    before = snapshot(net := Net(1.0))
    with pytest.raises(ValueError, match="does not fit the model") as caught:
        load_weights(net, path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    for part in (
        "parameter 'first.bias' is missing",
        "state of layer 'noise' is missing",
        "parameter 'first.extra' is unexpected",
        "state of layer 'first' is unexpected",
        "parameter 'first.mean' must be floating of shape (3,), got an array of shape (3, 1)",
        "parameter 'second.mean' must be floating of shape (4,), got an array of shape (4,) and dtype int64",
        "parameter 'second.bias' must fit float32, got 1e+300",
        "parameter 'second.weight' must be floating of shape (4, 2), got 0.5",
    ):
        assert part in message
    assert message.count(";") == 7
    assert snapshot(net) == before


@pytest.mark.parametrize("bad", [{"scale": -1.0}, {"rng": {"bit_generator": "MT19937"}}, {"other": 1}])
def test_a_layer_that_refuses_its_state_leaves_the_model_as_it_was(path, bad):
    state = model_state(Net(2.0, seed=5))
    state["layers"]["more_noise"] |= bad
    before = snapshot(net := Net(1.0))
    with pytest.raises(ValueError, match=r"scale|PCG64|keys"):
        load_model_state(net, state)
    assert snapshot(net) == before
    storage.write(path, state)
    with pytest.raises(ValueError, match=f"{path.name}: "):
        load_weights(net, path)
    assert snapshot(net) == before


def test_a_fused_copy_is_refused_and_stays_as_it_was(path):
    fused = ac.models.fuse(ac.Sequential(ac.BatchNorm(2), ac.Conv2D(2, 4, 3)))
    before, state = snapshot(fused), model_state(fused)
    for value in state["model"].values():
        value += 1
    storage.write(path, state)
    with pytest.raises(ValueError, match=r"weights\.npz: .*'1\.bias' is read-only, .*'1\.weight' is read-only"):
        load_weights(fused, path)
    assert snapshot(fused) == before


# From Python 3.13 on, a member of an archive that an interrupt has left open complains when it is freed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_between_two_lines_of_a_save_comes_through(path, monkeypatch):
    save_weights(Net(), path)
    before, opened, members = path.read_bytes(), zipfile.ZipFile.open, []

    def interrupted(*arguments, **options):
        members.append(opened(*arguments, **options))  # The frame of an interrupted function keeps it open, too.
        raise KeyboardInterrupt

    monkeypatch.setattr(zipfile.ZipFile, "open", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_weights(Net(), path)
    assert path.read_bytes() == before
    assert [*path.parent.iterdir()] == [path]


def test_files_that_are_no_weights(path):
    storage.write(path, {"step": 3})
    with pytest.raises(ValueError, match=r"weights\.npz: state\['model'\] must be a dict by path, got None"):
        load_weights(Net(), path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"weights\.npz: "):
        load_weights(Net(), path)
    with pytest.raises(FileNotFoundError):
        load_weights(Net(), path.with_name("missing.npz"))


def test_bad_arguments(tmp_path):
    for call in (lambda: save_weights(Net(), None), lambda: load_weights(Net(), 3)):
        with pytest.raises(TypeError, match="path must be a path, got"):
            call()
    for call in (lambda: save_weights({}, tmp_path / "x.npz"), lambda: load_weights(None, tmp_path / "x.npz")):
        with pytest.raises(TypeError, match="model must be a Layer, got"):
            call()
    with pytest.raises(FileNotFoundError):
        save_weights(Net(), tmp_path / "missing" / "x.npz")
    assert list(tmp_path.iterdir()) == []
