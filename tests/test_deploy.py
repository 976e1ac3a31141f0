"""A deployed folder predicts what the model predicts, anywhere, and is refused where it is not what it should be."""

import io
import json
import os
import re
import shutil
import struct
import sys
import zipfile
import zlib
from importlib.util import find_spec

import numpy as np
import pytest
from helpers.programs import BROWSER, ROOT, python
from helpers.registry import LAYERS

import allconv as ac
from allconv.__main__ import main
from allconv.deploy import predictor
from allconv.models.residual import ZeroFill

SHAPE = (12, 10, 3)


def rng():
    return np.random.default_rng(5)


def batch(shape, count=3):
    return rng().standard_normal((count, *shape)).astype(np.float32)


def stir(model):
    """Give every parameter a value of its own, the running statistics too."""
    for parameter in model.parameters():
        parameter.value = (parameter.value + 0.3 * rng().random(parameter.value.shape)).astype(parameter.value.dtype)
    return model


def small():
    return stir(ac.Sequential(ac.Conv2D(3, 4, 3, rng=rng()), ac.ReLU(), ac.Flatten(), ac.Linear(480, 6, rng=rng())))


def deployed(model, folder, shape=SHAPE, **options):
    ac.deploy.save(model, folder, input_shape=shape, **options)
    return ac.deploy.load(folder)


def assert_same(scores, expected):
    """The bound is 1e-6, of the largest score where that is above 1."""
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-6 * max(1, np.abs(expected).max()))


CASES = [
    pytest.param(row, variant, id=f"{name}-{index}")
    for name, row in LAYERS.items()
    for index, variant in enumerate(row.variants)
]


@pytest.mark.parametrize(("row", "variant"), CASES)
def test_every_layer_that_we_offer_is_served(row, variant, tmp_path):
    model = stir(row.build(**variant))  # in float64, so that the expected values are exact
    x = rng().standard_normal(row.shape)
    assert_same(deployed(model, tmp_path, row.shape[1:])(x), model(x))


NETS = {
    "the article's All-CNN": (lambda: ac.models.article_net("allcnn", dilated=True, rng=rng()), (32, 32, 3)),
    "the article's ConvPool": (lambda: ac.models.article_net("convpool", rng=rng()), (32, 32, 3)),
    "the paper's": (lambda: ac.models.all_cnn("A", dropout=True, rng=rng()), (32, 32, 3)),
    "a residual net, A": (lambda: ac.models.residual_net(1, rng=rng()), (15, 17, 3)),
    "a residual net, B": (lambda: ac.models.residual_net(1, option="B", rng=rng()), (15, 17, 3)),
    "LeNet": (lambda: ac.models.lenet(pool="mean", activation="tanh", rng=rng()), (28, 28, 1)),
    "the fast recipe's": (
        lambda: ac.models.fast_net(rng().standard_normal((2, 2, 3, 24)).astype(np.float32), (16, 24, 32), rng=rng()),
        (32, 32, 3),
    ),
    "side by side": (
        lambda: stir(
            ac.Branches(
                ac.Sequential(ac.Conv2D(3, 4, 1, rng=rng()), ac.BatchNorm(4), ac.ReLU(), ac.GroupNorm(2, 4)),
                ac.Skip(ac.Conv2D(3, 4, rng=rng(), kernel_size=3), scale=-0.3, shortcut=ac.Conv2D(3, 4, 1, rng=rng())),
                merge="sum",
            )
        ),
        SHAPE,
    ),
    "a shortcut of the backward pass": (lambda: ac.Skip(ac.ReLU(), in_forward=False), SHAPE),
    "a cut shortcut": (lambda: ac.Skip(ac.ReLU(), scale=0.0), SHAPE),
    "zeros for new channels": (lambda: ZeroFill(3, 5, 2), SHAPE),
    "a fused copy": (lambda: ac.models.fuse(small()), SHAPE),
}


@pytest.mark.parametrize(("build", "shape"), NETS.values(), ids=NETS)
def test_the_scores_are_the_models(build, shape, tmp_path):
    model, x = build(), batch(shape)
    predict = deployed(model, tmp_path, shape)
    for layer in model.walk():
        if type(layer) is ac.Conv2D:
            layer.algorithm = "im2col"  # Winograd's algorithm departs by up to 1e-6 a layer
    assert_same(predict(x), model(x))
    np.testing.assert_allclose(predict(x, batch_size=2), predict(x), rtol=1e-5, atol=1e-6)


def test_the_scores_of_a_trained_network_are_the_same_whatever_the_algorithms(tmp_path):
    model = ac.models.article_net("allcnn", dilated=True)
    ac.load_weights(model, ROOT / "docs" / "weights" / "allcnn_h.npz")
    images = ac.data.shapes(50, seed=0).images
    normalize = ac.data.Standardize.fit(images, per="pixel")
    assert_same(deployed(model, tmp_path, (32, 32, 3), normalize=normalize)(images[:4]), model(normalize(images[:4])))


def test_gelu_has_all_digits_of_float32(tmp_path):
    x = np.linspace(-8, 8, 20001)[:, None]
    y, exact = deployed(ac.GELU(), tmp_path, (1,))(x), ac.GELU()(x)
    np.testing.assert_allclose(y, exact, rtol=2e-6, atol=1e-8)
    assert np.isnan(deployed(ac.GELU(), tmp_path, (1,))(np.array([[np.nan]]))).all()


NORMALIZERS = {
    "none": lambda images: None,
    "of channels": ac.data.Standardize.fit,
    "of pixels": lambda images: ac.data.Standardize.fit(images, per="pixel"),
    "contrast": lambda images: ac.data.GlobalContrast(),
    "whitening": lambda images: ac.data.ZCA.fit(images, contrast=ac.data.GlobalContrast(20.0)),
}


@pytest.mark.parametrize("kind", NORMALIZERS)
def test_inputs_are_normalized_as_in_training(kind, tmp_path):
    images = rng().integers(0, 256, (50, *SHAPE), np.uint8)
    images[:, 0, 0] = 7  # pixels that never change
    images[0] = 9  # an image without contrast
    normalize = NORMALIZERS[kind](images)
    model = small()
    predict = deployed(model, tmp_path, normalize=normalize)
    loader = ac.data.Loader(ac.data.Dataset(images, np.zeros(50, int)), 50, shuffle=False, normalize=normalize)
    ((inputs, _),) = loader.epoch(0)
    assert_same(predict(images), model(inputs))
    floating = images.astype(np.float64)
    assert_same(predict(floating), model(floating if normalize is None else normalize(floating)))


def test_the_folder_predicts_with_numpy_alone_where_a_browser_has_little(tmp_path):
    model, x = stir(ac.models.lenet(rng=rng())), batch((28, 28, 1))
    ac.deploy.save(model, tmp_path / "net", input_shape=(28, 28, 1), names=list("abcdefghij"))
    np.save(tmp_path / "x.npy", x)
    code = BROWSER + (
        "import json\n"
        "sys.modules.update(dict.fromkeys(['allconv', 'scipy', 'threadpoolctl', 'tqdm', 'platformdirs']))\n"
        "sys.path.insert(0, sys.argv[1] + '/net')\n"
        "import numpy as np, predict\n"
        "model, x = predict.load(), np.load(sys.argv[1] + '/x.npy')\n"
        "print(json.dumps([model(x).tolist(), model.top(x, 1)]))\n"
    )
    scores, top = json.loads(python(code, str(tmp_path)))
    assert_same(np.array(scores, np.float32), model(x))
    assert [best[0][0] for best in top] == ["abcdefghij"[place] for place in model(x).argmax(axis=1)]


def test_the_same_model_makes_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        ac.deploy.save(small(), tmp_path / name, input_shape=SHAPE, names=list("abcdef"))
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == ["model.json", "predict.py", "weights.npz"]
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)


def test_the_most_probable_classes(tmp_path):
    x = np.array([[0.0, 3.0, 1.0], [2.0, 0.0, 2.0]])
    best = deployed(ac.Scale(1.0), tmp_path, (3,), names=["a", "b", "c"]).top(x, 2)
    assert [[name for name, _ in row] for row in best] == [["b", "c"], ["a", "c"]]
    e = np.exp(x[0])
    assert [p for _, p in best[0]] == pytest.approx([e[1] / e.sum(), e[2] / e.sum()], rel=1e-6)
    again = deployed(ac.Sequential(ac.Scale(1.0), ac.Softmax()), tmp_path, (3,)).top(x, 2)
    assert [[name for name, _ in row] for row in again] == [["class 1", "class 2"], ["class 0", "class 2"]]
    assert again[0][0][1] == pytest.approx(best[0][0][1], rel=1e-6)  # no softmax of a softmax
    with pytest.raises(ValueError, match="must give one score a class"):
        deployed(ac.ReLU(), tmp_path).top(batch(SHAPE))


class Own(ac.ReLU):
    """A layer that may compute anything."""


class OwnContrast(ac.data.GlobalContrast):
    """A normalizer that may compute anything."""


@pytest.mark.parametrize(
    ("model", "options", "error", "message"),
    [
        (ac.Sequential(ac.ReLU(), ac.Skip(Own())), {}, ValueError, r"layers that can be deployed, got .* at '1.body'"),
        (ac.Softmax(axis=0), {}, ValueError, r"must not mix the examples of a batch, got Softmax\(axis=0\)"),
        (ac.Conv2D(4, 2, 3), {}, ValueError, "must have shape|must be"),
        (small(), {"normalize": ac.data.per_step}, TypeError, r"pass Standardize.fit\(images, per='pixel'\)"),
        (
            small(),
            {"normalize": OwnContrast()},
            TypeError,
            "normalize must be a Standardize, GlobalContrast, ZCA or None",
        ),
        (small(), {"normalize": abs}, TypeError, "normalize must be a Standardize, GlobalContrast, ZCA or None"),
        (small(), {"names": "abcdef"}, TypeError, "names must be a sequence of one str for each of the 6 outputs"),
        (small(), {"names": list("abc")}, ValueError, r"one str for each of the 6 outputs, got \['a', 'b', 'c'\]"),
    ],
)
def test_what_cannot_be_deployed_is_refused_and_nothing_is_written(model, options, error, message, tmp_path):
    with pytest.raises(error, match=message):
        ac.deploy.save(model, tmp_path / "net", input_shape=SHAPE, **options)
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        (np.zeros(SHAPE, np.float32), ValueError, r"inputs must have shape \(N, 12, 10, 3\), got \(12, 10, 3\)"),
        (np.zeros((0, *SHAPE), np.float32), ValueError, "inputs must have shape"),
        (np.zeros((1, *SHAPE), int), TypeError, "inputs must be uint8 or floating, got int64"),
    ],
)
def test_bad_inputs_are_refused(inputs, error, message, tmp_path):
    with pytest.raises(error, match=message):
        deployed(small(), tmp_path)(inputs)


@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (-1, ValueError), (2.0, TypeError), (True, TypeError)])
def test_a_count_must_be_a_positive_int(value, error, tmp_path):
    model = ac.Sequential(ac.GlobalAveragePool2D(), ac.Linear(3, 4))
    predict = deployed(model, tmp_path)
    with pytest.raises(error, match=f"batch_size must be a positive int, got {value}"):
        predict(batch(SHAPE), batch_size=value)
    with pytest.raises(error, match=f"count must be a positive int, got {value}"):
        predict.top(batch(SHAPE), value)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder whose network must not be run, nor built."""
    ac.deploy.save(small(), tmp_path / "net", input_shape=SHAPE)
    monkeypatch.setattr(predictor, "Predictor", lambda *_: pytest.fail("the network was built"))
    return tmp_path / "net"


@pytest.mark.parametrize("name", ["model.json", "weights.npz"])
def test_damage_is_refused_by_name(folder, name):
    path = folder / name
    content = path.read_bytes()
    broken = [content[:cut] for cut in (0, 1, len(content) // 2, len(content) - 2)]
    places = (k for k in np.linspace(0, len(content) - 1, 40, dtype=int) if not content[k : k + 1].isspace())
    broken += [content[:k] + bytes([content[k] ^ 1]) + content[k + 1 :] for k in places]
    for damaged in broken:
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=name):
            ac.deploy.load(folder)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=name):
        ac.deploy.load(folder)


def rewritten(folder, **changes):
    """Change entries of the structure as somebody does who knows how to sign it."""
    structure = json.loads((folder / "model.json").read_text()) | changes
    structure["sha256"] = predictor.fingerprint(structure)
    (folder / "model.json").write_text(json.dumps(structure))


def test_another_version_and_another_file_are_refused_by_name(folder):
    rewritten(folder, format=2, allconv="9.9")
    with pytest.raises(ValueError, match=r"model\.json: has format 2, written by allconv 9\.9; this version reads 1"):
        ac.deploy.load(folder)
    (folder / "model.json").write_text('{"format": 1}')
    with pytest.raises(ValueError, match=r"model\.json: is no file of allconv\.deploy"):
        ac.deploy.load(folder)


def test_the_weights_of_another_network_are_refused_by_name(folder, tmp_path):
    other = small()
    other[0].bias.value += 1
    ac.deploy.save(other, tmp_path / "other", input_shape=SHAPE)
    shutil.copy(tmp_path / "other" / "weights.npz", folder)
    with pytest.raises(ValueError, match=r"weights\.npz: is damaged, or belongs to another network"):
        ac.deploy.load(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"network": [{"step": "eval", "code": "1"}]},
        {"network": [{"step": "linear", "arrays": {"weight": "99"}, "bias": None}]},
        {"network": 3},
        {"input_shape": None},
    ],
)
def test_a_structure_that_describes_no_network_is_refused(tmp_path, changes):
    ac.deploy.save(small(), tmp_path, input_shape=SHAPE)
    rewritten(tmp_path, **changes)
    with pytest.raises(ValueError, match=r"model\.json: does not describe a network"):
        ac.deploy.load(tmp_path)


def forged(folder, content):
    """Replace the weights as somebody does who knows how to sign them."""
    (folder / "weights.npz").write_bytes(content)
    rewritten(folder, weights_sha256=predictor.hashlib.sha256(content).hexdigest())


HEADERS = {
    "an array of 36 TiB": ("(10000000000000,)", "<f4"),
    "axes whose product is right": ("(-40, -1)", "<f4"),
    "no numbers": ("(40,)", "|O"),
    "a file that is cut": ("(41,)", "<f4"),
}


@pytest.mark.parametrize(("shape", "dtype"), HEADERS.values(), ids=HEADERS)
def test_a_forged_header_is_refused_before_memory_is_taken(folder, shape, dtype):
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("weights/0.npy", b"\x93NUMPY\1\0" + bytes([118, 0]) + header.encode() + bytes(160))
    forged(folder, file.getvalue())
    with pytest.raises(ValueError, match=r"weights\.npz: is damaged"):
        ac.deploy.load(folder)


@pytest.mark.parametrize("content", [b"", b"text", b"\x93NUMPY", b"PK\5\6" + 18 * b"\xff"])
def test_weights_that_are_no_zip_are_refused(folder, content):
    forged(folder, content)
    with pytest.raises(ValueError, match=r"weights\.npz: is damaged"):
        ac.deploy.load(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no FIFO in a folder")
@pytest.mark.parametrize("name", ["model.json", "weights.npz"])
def test_a_fifo_is_refused_and_not_waited_for(folder, name):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(ValueError, match=f"{name}: is a device or a FIFO, no regular file"):
        ac.deploy.load(folder)


def test_a_structure_is_bounded(folder, tmp_path):
    with (folder / "model.json").open("ab") as file:
        file.write(bytes(predictor.STRUCTURE_LIMIT))
    with pytest.raises(ValueError, match=r"model\.json: is no file of allconv\.deploy: it has more than 4194304 bytes"):
        ac.deploy.load(folder)
    names = ["x" * (1 << 20)] * 6
    with pytest.raises(ValueError, match=r"model and names must take at most 4194304 bytes in model\.json, got 629\d+"):
        ac.deploy.save(small(), tmp_path / "other", input_shape=SHAPE, names=names)
    assert not (tmp_path / "other").exists()


def test_a_structure_that_is_nested_deep_is_refused(folder):
    for depth in range(sys.getrecursionlimit() - 200, sys.getrecursionlimit()):
        (folder / "model.json").write_text('{"a":' + "[" * depth + "]" * depth + "}")
        with pytest.raises(ValueError, match=r"model\.json: is (damaged, or )?no file of allconv\.deploy"):
            ac.deploy.load(folder)


def test_a_compressed_file_that_would_fill_the_memory_is_refused(tmp_path):
    ac.deploy.save(small(), tmp_path, input_shape=SHAPE)
    np.savez_compressed(file := io.BytesIO(), **{"weights/0": np.zeros(1 << 20)})
    forged(tmp_path, file.getvalue())
    with pytest.raises(ValueError, match=r"weights\.npz: is damaged: it declares more bytes than it holds"):
        ac.deploy.load(tmp_path)


def test_white_space_is_no_damage(tmp_path):
    ac.deploy.save(small(), tmp_path, input_shape=SHAPE)
    path = tmp_path / "model.json"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert_same(ac.deploy.load(tmp_path)(batch(SHAPE)), small()(batch(SHAPE)))


def test_the_command_line(tmp_path, capsys):
    image = pytest.importorskip("PIL.Image")
    pixels = rng().integers(0, 256, SHAPE, np.uint8)
    predict = deployed(small(), tmp_path / "net", names=["ä", "b", "c", "d", "e", "f"])
    image.fromarray(pixels).save(tmp_path / "image.png")
    image.fromarray(pixels).resize((40, 50)).convert("L").save(tmp_path / "larger and grey.png")
    assert main(["predict", str(tmp_path / "net"), str(tmp_path / "image.png")]) == 0
    (best,) = predict.top(pixels[None])
    expected = [str(tmp_path / "image.png"), *(f"  {p:.3f}  {name}" for name, p in best)]
    assert capsys.readouterr().out.splitlines() == expected
    assert len(best) == 5
    assert main(["predict", str(tmp_path / "net"), *[str(tmp_path / "larger and grey.png")] * 2]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 12


def png(width, height):
    """Return a picture of some size that ends where its pixels should begin."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
              for kind, data in ((b"IHDR", header), (b"IDAT", b""))]  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


PICTURES = {
    "16 bits": (lambda image: image.fromarray(np.full((8, 8), 60000, np.uint16)), "mode I;16"),
    "floats": (lambda image: image.fromarray(np.full((8, 8), 0.5, np.float32)), "mode F"),
    "far too large": (lambda _: png(30000, 30000), "DecompressionBombError"),
    "half a picture": (lambda _: png(8, 8), "Error"),
    "a text": (lambda _: b"text", "UnidentifiedImageError"),
}


@pytest.mark.parametrize(("make", "message"), PICTURES.values(), ids=PICTURES)
def test_the_command_line_refuses_a_picture_by_name(tmp_path, capsys, make, message):
    made = make(pytest.importorskip("PIL.Image"))
    path = tmp_path / "picture.tiff"
    path.write_bytes(made) if isinstance(made, bytes) else made.save(path)
    ac.deploy.save(small(), tmp_path / "net", input_shape=SHAPE)
    assert main(["predict", str(tmp_path / "net"), str(path)]) == 1
    wanted = rf"error: .*picture\.tiff must be a picture of 8 bits a channel that Pillow reads, got .*{message}"
    assert re.match(wanted, capsys.readouterr().err)


def test_the_command_line_says_what_is_wrong(tmp_path, capsys, monkeypatch):
    ac.deploy.save(small(), tmp_path / "net", input_shape=SHAPE)
    ac.deploy.save(ac.Linear(5, 2), tmp_path / "rows", input_shape=(5,))
    (tmp_path / "text.png").write_text("text")

    def error(folder):
        assert main(["predict", str(tmp_path / folder), str(tmp_path / "text.png")]) == 1
        return capsys.readouterr().err

    assert "model.json" in error("none")
    assert "must take images with 1, 3 or 4 channels" in error("rows")
    if find_spec("PIL"):
        assert "text.png" in error("net")
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert "pip install 'allconv[plot]'" in error("net")
