"""Files of Keras, as weights and as models, which `make_keras_files` has written with Keras 3.15.1 and 2.15.0."""

import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers.onnx_files import run
from helpers.refusal import check_refusal

import allconv as ac
from allconv.interop import assign, assigning, from_keras, keras_reading, load_keras, to_onnx
from allconv.interop.keras_layers import layer_of_keras

h5py = pytest.importorskip("h5py")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keras")
    for version in ("3", "2"):
        with zipfile.ZipFile(Path(__file__).with_name(f"keras{version}_files.zip")) as archive:
            archive.extractall(folder / version)
    return folder / "3"


def check(model, path):
    with np.load(path.with_name(path.name.partition(".")[0] + ".npz")) as kept:
        x = kept["x"].transpose(0, 2, 3, 1) if "nchw" in path.name else kept["x"]
        np.testing.assert_allclose(model(x), kept["y"], rtol=0, atol=1e-5 * max(1, np.abs(kept["y"]).max()))


NAMES = ["row.keras", "row.h5", "graph.keras", "graph.h5"]


@pytest.mark.parametrize("name", [
    *(f"{version}/{name}" for version in (3, 2) for name in NAMES), "3/nchw.keras", "3/nchw.h5", "3/nchw_turned.keras"
])  # fmt: skip
def test_a_model_has_the_outputs_that_keras_computes(files, name):
    check(from_keras(files.parent / name), files.parent / name)


@pytest.mark.parametrize("name", ["3/row.keras", "3/graph.h5", "3/nchw.keras", "2/row.h5", "2/graph.keras"])
def test_a_model_of_keras_leaves_as_onnx(files, tmp_path, name):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    with np.load((files.parent / name).with_suffix(".npz")) as kept:
        shape = kept["x"].shape[1:]
    to_onnx(from_keras(files.parent / name), tmp_path / "a.onnx", (*shape[1:], 3) if "nchw" in name else shape)
    check(lambda x: run(tmp_path / "a.onnx", x), files.parent / name)


def test_a_missed_permutation_of_nchw_is_caught(files, monkeypatch):
    """Were the rows behind a Flatten of NCHW left as they are, the outputs would be far apart."""
    monkeypatch.setattr(keras_reading, "from_channels_first", lambda array, channels: array)
    with pytest.raises(AssertionError):
        check(from_keras(files / "nchw.keras"), files / "nchw.keras")
    check(from_keras(files / "nchw_turned.keras"), files / "nchw_turned.keras")  # Keras has turned these itself


def test_older_forms_of_keras_2_are_read(files, tmp_path):
    """A list of layers, the shape of the input in the first of them, and names in parts, as long ones must be."""
    path = tmp_path / "row.h5"
    path.write_bytes((files.parent / "2" / "row.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        described = json.loads(file.attrs["model_config"])
        start, *layers = described["config"]["layers"]
        layers[0]["config"]["batch_input_shape"] = start["config"]["batch_input_shape"]
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": layers}).encode()
        attributes = file["model_weights"].attrs
        names = np.array([name.encode() for name in attributes["layer_names"]])
        del attributes["layer_names"]
        attributes["layer_names0"], attributes["layer_names1"] = names[:4], names[4:]
    check(from_keras(path), files / "row")
    assert list(load_keras(path)) == list(load_keras(files.parent / "2" / "row.h5"))


def same_row():
    """Return the network of the files called row, written by hand."""
    return ac.Sequential(
        ac.Conv2D(3, 4, 3, stride=2), ac.ReLU(), ac.BatchNorm(4, eps=1e-3), ac.Conv2D(4, 8, 3, groups=4), ac.ReLU6(),
        ac.Conv2D(8, 4, 1, groups=2, bias=False), ac.MaxPool2D(2, padding="same"), ac.Flatten(), ac.Linear(24, 5),
        ac.GELU(), ac.Linear(5, 3), ac.Softmax(),
    )  # fmt: skip


@pytest.mark.parametrize("name", ["row.keras", "row.h5", "row.weights.h5"])
@pytest.mark.parametrize("version", ["3", "2"])
def test_weights_go_into_a_model_of_ones_own(files, version, name):
    model = same_row()
    arrays = load_keras(files.parent / version / name)
    beta, mean, variance = (array for path, array in arrays.items() if "batch_norm" in path)
    arrays = {path: array for path, array in arrays.items() if "batch_norm" not in path}
    arrays |= {"norm/gamma": np.ones(4), "norm/beta": beta, "norm/moving_mean": mean, "norm/moving_variance": variance}
    assign(model, arrays, source="keras")
    check(model, files.parent / version / "row")


def test_a_missed_permutation_is_caught(files, monkeypatch):
    """Weights of Keras need none; were they taken for those of PyTorch, the outputs would be far apart."""
    convert = assigning._CONVERT | {"torch": assigning._CONVERT["keras"]}
    monkeypatch.setattr(assigning, "_CONVERT", convert)
    model, good = same_row(), from_keras(files / "row.keras")
    arrays = [parameter.value for parameter in good.parameters()]
    paths = [path for path, _ in model.named_parameters()]
    assign(model, dict(zip(paths, arrays, strict=True)), source="allconv")
    check(model, files / "row")
    assign(model, dict(zip(paths, arrays, strict=True)), source="torch")
    with pytest.raises(AssertionError):
        check(model, files / "row")


def hostile(path, make):
    with h5py.File(path, "w") as file:
        make(file, path.parent)
    return path


def external_array(file, folder):
    (folder / "secret").write_bytes(bytes(16))
    file.create_dataset("w", (4,), "f4", external=[(str(folder / "secret"), 0, 16)])


def virtual_array(file, folder):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "w", (4,))
    file.create_virtual_dataset("w", layout)


def circle(file, folder):
    group = file.create_group("a")
    group["b"] = group


def many_names(file, folder):
    file["w0"] = np.zeros(1 << 16, np.float32)
    for number in range(100):
        file[f"w{number + 1}"] = file["w0"]


def one_layer_many_times(file, folder):
    file.attrs["layer_names"] = ["a"] * 10
    file.create_group("a").attrs["weight_names"] = np.array([b"w"] * 4096)


HOSTILE = {
    "a link to another file": (
        lambda file, _: file.__setitem__("w", h5py.ExternalLink("/etc/passwd", "/")),
        "array 'w' is a link",
    ),
    "a soft link": (lambda file, _: file.__setitem__("w", h5py.SoftLink("/w")), "array 'w' is a link"),
    "an array elsewhere": (external_array, "array 'w' lies in another file"),
    "a virtual array": (virtual_array, "array 'w' lies in another file"),
    "a bomb": (
        lambda file, _: file.create_dataset("w", (1 << 40,), "f4", chunks=(1 << 16,)),
        "array 'w' of 4398046511104 bytes is larger",
    ),
    "a compressed array": (
        lambda file, _: file.create_dataset("w", data=np.zeros(9), compression="gzip"),
        "array 'w' is compressed",
    ),
    "a circle": (circle, "32 groups deep"),
    "one layer many times": (one_layer_many_times, "names more than 20000 weights"),
    "one array under many names": (many_names, "is larger than what the file holds of it"),
}


@pytest.mark.parametrize(("make", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_refused(tmp_path, make, reason):
    check_refusal(load_keras, hostile(tmp_path / "a.h5", make), reason)


def test_other_files_are_refused(files, tmp_path):
    path, whole = tmp_path / "a.h5", (files / "row.weights.h5").read_bytes()
    for content, reason in [(b"hello", "is neither an HDF5 file nor a zip"), (whole[:5000], "is damaged: "),
                            (b"version https://git-lfs.github.com/spec/v1", "Git LFS")]:  # fmt: skip
        path.write_bytes(content)
        check_refusal(load_keras, path, reason)
    check_refusal(from_keras, files / "row.weights.h5", "holds weights alone, without a model")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../config.json", "{}")
    check_refusal(from_keras, path, "holds no model.weights.h5 and config.json")


NUMBERS = {"scale": False, "center": False, "epsilon": 0.1}
ONES = np.ones(3)
OTHERS = [
    ("LayerNormalization", NUMBERS | {"rms_scaling": True}, [], "has the option rms_scaling=True"),
    ("BatchNormalization", NUMBERS | {"momentum": 0.9, "renorm": True}, [ONES, ONES], "has the option renorm=True"),
    ("Dropout", {"rate": 0.5, "noise_shape": [1, 1, 3]}, [], "has the option noise_shape=[1, 1, 3]"),
    ("Softmax", {"of": "a later version"}, [], "has the option of='a later version'"),
    ("ReLU", {"max_value": 0}, [], "is a ReLU of slope 0.0, limit 0 and threshold 0.0"),
    ("PReLU", {"shared_axes": [2, 3]}, [np.ones((3, 1, 1))], "has a weight of shape (3, 1, 1) in the place of"),
    ("Activation", {"activation": {"class_name": "function"}}, [], "has the activation {'class_name': 'function'}"),
    (
        "DepthwiseConv2D",
        {"kernel_size": [1, 1], "padding": "same", "groups": 3},
        [np.ones((1, 1, 3, 1)), ONES],
        "has the option groups=3",
    ),
]


@pytest.mark.parametrize(("kind", "config", "weights", "reason"), OTHERS, ids=[row[0] for row in OTHERS])
def test_an_option_that_changes_the_function_is_refused(kind, config, weights, reason):
    with pytest.raises(ValueError, match=re.escape(reason)):
        layer_of_keras(kind, config, weights, (3, 1, 3))


@pytest.mark.parametrize("stride", [2, 3])
def test_a_transposed_convolution_ends_with_a_whole_stride(stride):
    """Also where the kernel is smaller, as the sizes of Keras have it: height times stride."""
    rng = np.random.default_rng(0)
    kernel, bias, x = rng.random((1, 1, 2, 3)), rng.random(2), rng.random((2, 4, 5, 3))
    config = {"filters": 2, "kernel_size": [1, 1], "strides": [stride, stride], "padding": "valid"}
    layer = layer_of_keras("Conv2DTranspose", config, [kernel, bias], (4, 5, 3))
    wanted = np.zeros((2, 4 * stride, 5 * stride, 2))
    wanted[:, ::stride, ::stride] = x @ kernel[0, 0].T
    np.testing.assert_allclose(layer(x.astype(np.float32)), wanted + bias, rtol=1e-5)


def changed(files, path, change, name="row.keras"):
    """Write the file of a net with a change of its description."""
    with zipfile.ZipFile(files / name) as archive, zipfile.ZipFile(path, "w") as copy:
        config = json.loads(archive.read("config.json"))
        change(config["config"]["layers"])
        copy.writestr("config.json", json.dumps(config))
        copy.writestr("model.weights.h5", archive.read("model.weights.h5"))
    return path


CHANGES = {
    "a Lambda": (
        lambda layers: layers[2].update(class_name="Lambda"),
        "layer 'batch_normalization' is a Lambda, which is no layer",
    ),
    "a module": (lambda layers: layers[1].update(module="os"), "layer 'conv2d' is of the module 'os', not of Keras"),
    "a size that lies": (
        lambda layers: layers[1]["config"].update(filters=1 << 40),
        "layer 'conv2d' has a weight of shape (3, 3, 3, 4)",
    ),
    "no weights": (lambda layers: layers[4].update(class_name="SeparableConv2D"), "layer 'by_itself' "),
    "an activation": (
        lambda layers: layers[1]["config"].update(activation="../x"),
        "layer 'conv2d' has the activation '../x'",
    ),
    "NCHW in one layer": (
        lambda layers: layers[1]["config"].update(data_format="channels_first"),
        "has layers whose images lie in different ways: {'channels_first': 'conv2d', 'channels_last': ",
    ),
    "open sizes": (
        lambda layers: layers[0]["config"].update(batch_shape=[None, None, None, 3]),
        "which leaves sizes open",
    ),
}


@pytest.mark.parametrize(("change", "reason"), CHANGES.values(), ids=CHANGES)
def test_a_changed_description_is_refused(files, tmp_path, change, reason):
    check_refusal(from_keras, changed(files, tmp_path / "a.keras", change), reason)


@pytest.mark.parametrize("form", ["3", "2"])
def test_a_call_that_is_always_to_train_is_refused(files, tmp_path, form):
    def change(layers):
        (item,) = (item for item in layers if item["class_name"] == "BatchNormalization")
        if form == "3":
            item["inbound_nodes"][0]["kwargs"] = {"training": True, "mask": None}
        else:
            item["inbound_nodes"] = [[["shared", 0, 0, {"training": True}]]]

    path = changed(files, tmp_path / "a.keras", change, "graph.keras")
    check_refusal(from_keras, path, "is called with training=True")
