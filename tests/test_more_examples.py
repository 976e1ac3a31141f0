"""The smaller examples run as a reader runs them, in processes of their own, and do what their first lines promise."""

import ast
import importlib.util
import inspect
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.numeric import numeric_gradient

import allconv as ac

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def run(*command: object, cwd: Path) -> str:
    """Run an example and return what it printed; another exit status than 0, or no end in time, is a failure."""
    name, *options = command
    result = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / name, *map(str, options)],
        capture_output=True, encoding="utf-8", timeout=280, cwd=cwd, env=os.environ | {"PYTHONUTF8": "1"},
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert not result.stderr
    return result.stdout


def load(name: str):
    """Import an example as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def status_of(name, options, monkeypatch):
    """Run an example's command line in this process, and return what it exits with."""
    monkeypatch.setattr(sys, "argv", [name, *map(str, options)])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    return stopped.value.code


# What they import


def sources():
    """Yield each example's name and program; a notebook's program is its cells of code."""
    for path in sorted(EXAMPLES.glob("*.py")):
        yield path.name, path.read_text(encoding="utf-8")
    for path in sorted(EXAMPLES.glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        yield path.name, "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def internal_names(program):
    """Return what a program takes of allconv that is not public: the path of each module or name."""
    public = {name: vars(getattr(ac, name)) for name in ac.__all__ if inspect.ismodule(getattr(ac, name))}
    found = []
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.startswith("allconv.")]
        elif isinstance(node, ast.ImportFrom) and node.module == "allconv":
            found += [f"allconv.{alias.name}" for alias in node.names if alias.name not in ac.__all__]
        elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("allconv."):
            room = node.module.removeprefix("allconv.")
            names = [alias.name for alias in node.names]
            found += [
                f"{node.module}.{name}"
                for name in names
                if room not in public or name not in public[room].get("__all__", public[room])
            ]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ac":
            found += [f"allconv.{node.attr}"] if node.attr not in ac.__all__ else []
    return found


@pytest.mark.parametrize(("name", "program"), [*sources()], ids=[name for name, _ in sources()])
def test_an_example_takes_public_names_alone(name, program):
    assert "allconv" in program
    assert internal_names(program) == []


def test_internal_names_are_found():
    program = """
import allconv.training.loop
import allconv as ac
from allconv import gradcheck, training
from allconv.rules import override_backward
from allconv.checkpoint import load, format
from allconv.training.loop import Record
ac.parallel.cores
ac.train
"""
    assert internal_names(program) == [
        "allconv.training.loop", "allconv.training", "allconv.checkpoint.format", "allconv.training.loop.Record",
        "allconv.parallel",
    ]  # fmt: skip


# new_layer.py


def test_new_layer_is_checked_and_trained(tmp_path):
    printed = run("new_layer.py", "--quick", cwd=tmp_path)
    assert re.search(r"gradient check of LearntSwish at x \(2, 4, 4, 3\), seed 0: passed", printed)
    losses = [float(text) for text in re.findall(r"step \d+/\d+  loss ([\d.]+)", printed)]
    assert len(losses) == 2
    assert losses[1] < losses[0]
    assert 0.1 < float(re.search(r"test accuracy ([\d.]+)", printed)[1]) <= 1
    moved = re.findall(r"(\d)\.slope: from 1 to between ([\d.]+) and ([\d.]+)", printed)
    assert [path for path, _, _ in moved] == ["1", "3", "5"]
    assert all(float(low) < 1 < float(high) for _, low, high in moved)
    assert not list(tmp_path.iterdir())


def test_new_layer_is_its_definition():
    layer = load("new_layer").LearntSwish(2, dtype=np.float64)
    layer.slope.value = np.array([-0.7, 1.6])
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, 2, 3, 3, 2))

    def y(x, slope):
        return x / (1 + np.exp(-slope * x))

    np.testing.assert_allclose(layer(x), y(x, layer.slope.value), rtol=1e-12)
    _, cache = layer.forward(x, training=True)
    expected = numeric_gradient(lambda x: float((y(x, layer.slope.value) * dy).sum()), x)
    np.testing.assert_allclose(layer.backward(dy, cache), expected, rtol=1e-6, atol=1e-9)
    expected = numeric_gradient(lambda slope: float((y(x, slope) * dy).sum()), layer.slope.value)
    np.testing.assert_allclose(layer.slope.grad, expected, rtol=1e-6)


def test_new_layer_keeps_the_contract():
    layer = load("new_layer").LearntSwish(2)
    x = np.ones((1, 2, 2, 2), np.float64)
    y, cache = layer.forward(x)
    assert y.dtype == layer.backward(x, cache).dtype == np.float32
    assert [path for path, _ in layer.named_parameters()] == ["slope"]
    layer.slope.grad, layer.slope.trainable = None, False
    layer.backward(x, cache)
    assert layer.slope.grad is None
    assert layer.output_shape((5, 6, 2)) == (5, 6, 2)
    assert repr(layer) == "LearntSwish(2)"
    for channels in (0, -1, 1.5, True, "3", None):
        with pytest.raises((TypeError, ValueError), match="channels must be a positive int, got"):
            load("new_layer").LearntSwish(channels)
    for dtype in (int, "float16", None):
        with pytest.raises(TypeError, match="dtype must be float32 or float64, got"):
            load("new_layer").LearntSwish(2, dtype=dtype)
    for shape in ((1, 2, 2, 3), (1, 2), (0, 2, 2, 2)):
        with pytest.raises(ValueError, match="x must .* got"):
            layer(np.zeros(shape))


@pytest.mark.parametrize("slip", ["no sum over the images", "a factor x missing", "the slope missing in dx"])
def test_new_layer_s_check_finds_a_slip(slip, monkeypatch):
    example = load("new_layer")

    class Slipped(example.LearntSwish):
        def backward(self, dy, cache):
            x, s = cache
            bend = x * s * (1 - s)
            per_image = dy * bend if slip == "a factor x missing" else dy * x * bend
            self.slope.add_grad(per_image[: 1 if slip == "no sum over the images" else None].sum(axis=(0, 1, 2)))
            return dy * (s + (1 if slip == "the slope missing in dx" else self.slope.value) * bend)

    monkeypatch.setattr(example, "LearntSwish", Slipped)
    with pytest.raises(AssertionError, match="FAILED"):
        example.check()


# dilated_gradient.py


def test_dilated_gradient_finds_prints_and_draws(tmp_path):
    pytest.importorskip("matplotlib")
    printed = run("dilated_gradient.py", "--quick", "--out", "new/out", cwd=tmp_path)
    assert re.search(r"(\d+) of \d+ rows fail; the departures start in 2, 7, 12\n", printed)
    errors = re.findall(r"Skip (\d+): backward minus central differences is r dy to (\S+) of", printed)
    assert [path for path, _ in errors] == ["2", "7", "12"]
    assert all(float(error) < 1e-6 for _, error in errors)
    assert "the departure starts at 12 Skip" in printed
    rows = dict(re.findall(r"^(\S+) Conv2D +weight +([\d.]+) ", printed, re.MULTILINE))
    assert list(rows) == ["13", "12.body.0", "10", "8", "7.body.0", "5", "3", "2.body.0", "0"]
    cosines = [float(text) for text in rows.values()]
    assert cosines[:2] == [1.0, 1.0]
    assert all(0 < cosine < 0.8 for cosine in cosines[2:])

    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*.*"))] == [
        "new/out/dilated_gradient.png"
    ]
    from matplotlib.image import imread

    picture = imread(tmp_path / "new" / "out" / "dilated_gradient.png")[..., :3]
    assert picture.shape[1] > 2 * picture.shape[0] > 800
    thirds = np.array_split(picture, 3, axis=1)
    assert all(part.std() > 0.05 for part in thirds), "each panel is drawn"
    blue = [(abs(part - np.array([31, 119, 180]) / 255).max(axis=2) < 0.02).sum() for part in thirds]
    assert all(count > 100 for count in blue[1:]), "the curve of epoch 0"


def test_dilated_gradient_s_rule_is_the_backward_pass_of_skip():
    example = load("dilated_gradient")
    (model, skips), (plain, plain_skips) = example.network(in_backward=True), example.network(in_backward=False)
    x = np.random.default_rng(0).standard_normal((1, 8, 8, 3))
    np.testing.assert_array_equal(model(x), plain(x))
    a = np.random.default_rng(1).standard_normal((1, 2, 2, 192))
    for path in ("7", "12"):
        skip, other = skips[path], plain_skips[path]
        y, cache = skip.forward(a)
        dy = np.random.default_rng(2).standard_normal(y.shape)
        expected = skip.body.backward(dy, cache[0]) + 0.8 * dy
        np.testing.assert_array_equal(skip.backward(dy, cache), expected)
        np.testing.assert_array_equal(example.dilated(other, dy, other.forward(a)[1]), expected)


def test_dilated_gradient_measures_an_excess_that_depends_on_backward():
    example = load("dilated_gradient")
    _, skips = example.network(in_backward=True)
    a = np.random.default_rng(1).standard_normal((1, 2, 2, 192))
    measured, expected = example.excess(skips["12"], a, 10, np.random.default_rng(2))
    np.testing.assert_allclose(measured, expected, atol=1e-7)
    assert np.abs(expected).max() > 0.1
    skips["12"].in_backward = False
    measured, _ = example.excess(skips["12"], a, 10, np.random.default_rng(2))
    np.testing.assert_allclose(measured, 0, atol=1e-7)


def test_dilated_gradient_comes_close_to_the_true_one_with_the_epochs():
    """The cosines of compare, and the same from two backward passes taken here."""
    example = load("dilated_gradient")
    (model, skips), (plain, plain_skips) = example.network(in_backward=True), example.network(in_backward=False)
    x = np.random.default_rng(0).standard_normal((1, 8, 8, 3))
    assert [example.rate(epoch) for epoch in (0, 1, 3)] == [0.8, 0.4, 0.2]
    before = 0.0
    for epoch in (0, 3):
        for skip in (*skips.values(), *plain_skips.values()):
            skip.scale = example.rate(epoch)
        comparison = ac.gradcheck.compare(plain, x, {ac.Skip: example.dilated}, seed=4)
        found = next(row.cosine for row in comparison.rows if (row.path, row.what) == ("0", "weight"))
        gradients = []
        for network in (model, plain):
            scores, cache = network.forward(x)
            network.backward(np.random.default_rng(4).standard_normal(scores.shape), cache)
            gradients.append(network[0].weight.grad.ravel())
            for parameter in network.parameters():
                parameter.grad = None
        a, b = gradients
        assert found == pytest.approx(a @ b / np.sqrt((a @ a) * (b @ b)), abs=1e-9)
        assert before < found < 0.999
        before = found


def test_dilated_gradient_says_what_is_wrong_before_it_works(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("kept")
    assert status_of("dilated_gradient.py", ["--quick", "--out", tmp_path / "file"], monkeypatch) == 1
    assert f"error: [Errno 17] File exists: '{tmp_path / 'file'}'" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "kept"
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert status_of("dilated_gradient.py", ["--quick", "--out", tmp_path / "new"], monkeypatch) == 1
    printed = capsys.readouterr()
    assert "error: the drawing needs matplotlib: pip install 'allconv[plot]'" in printed.err
    assert not printed.out
    assert not (tmp_path / "new").exists()


# accumulate_and_average.py


def test_accumulate_and_average_prints_what_it_promises(tmp_path):
    printed = run("accumulate_and_average.py", "--quick", cwd=tmp_path)
    first, *epochs = printed.splitlines()
    error = re.fullmatch(r"gradient of 60 images in 4 parts: differs from the whole's by (\S+) of its norm", first)[1]
    assert 0 < float(error) < 1e-5
    assert len(epochs) == 2
    for number, line in enumerate(epochs):
        pattern = rf"epoch {number}  test accuracy: last weights (0\.\d{{3}}), averaged (0\.\d{{3}})"
        assert all(0 < float(accuracy) < 1 for accuracy in re.fullmatch(pattern, line).groups())
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_average_is_better_than_the_last_weights_in_most_epochs(tmp_path):
    printed = run("accumulate_and_average.py", cwd=tmp_path)
    pairs = [(float(a), float(b)) for a, b in re.findall(r"last weights (0\.\d+), averaged (0\.\d+)", printed)]
    assert len(pairs) == 10
    assert sum(averaged > last for last, averaged in pairs) >= 7
    assert pairs[-1][1] > 0.8


@pytest.mark.parametrize("parts", [1, 3, 4, 10])
def test_accumulated_parts_have_the_gradient_of_the_whole(parts):
    """Parts of one size and of two: against central differences of the loss over the whole batch."""
    example, rng = load("accumulate_and_average"), np.random.default_rng(0)
    model = ac.Sequential(ac.Linear(3, 5, dtype=np.float64, rng=rng), ac.Tanh(), ac.Linear(5, 4, dtype=np.float64))
    x, labels, loss = rng.standard_normal((10, 3)), rng.integers(0, 4, 10), ac.SoftmaxCrossEntropy()
    weight = model[0].weight

    def value(new):
        weight.value = new
        return loss(model(x), labels)[0]

    before = weight.value.copy()
    expected = numeric_gradient(value, before)
    weight.value = before
    total = example.accumulate(model, loss, x, labels, parts)
    assert total == pytest.approx(loss(model(x), labels)[0], rel=1e-12)
    np.testing.assert_allclose(weight.grad, expected, rtol=1e-6, atol=1e-9)


def test_the_average_follows_the_weights():
    example = load("accumulate_and_average")
    model, average = (ac.Linear(2, 1, dtype=np.float64) for _ in range(2))
    average.weight.value = a = np.array([[5.0], [-3.0]])
    rng = np.random.default_rng(0)
    for step in range(1, 6):
        model.weight.value = w = rng.standard_normal((2, 1))
        example.follow(average, model, step)
        d = (1 + step) / (10 + step)
        a = d * a + (1 - d) * w
        np.testing.assert_allclose(average.weight.value, a, rtol=1e-12)
        np.testing.assert_array_equal(model.weight.value, w)
    model.weight.value = np.ones((2, 1))
    average.weight.value = np.zeros((2, 1))
    example.follow(average, model, 10**6)
    np.testing.assert_allclose(average.weight.value, 0.01)


# own_images.py


@pytest.fixture
def pictures(tmp_path):
    """A folder of drawn pictures: discs, stripes and a class with a name of more than one word."""
    image = pytest.importorskip("PIL.Image")
    dataset = ac.data.shapes(120, seed=0)
    names = {dataset.names[0]: "disc", dataset.names[6]: "Äpfel und Birnen", dataset.names[9]: "stripes"}
    count = dict.fromkeys(names.values(), 0)
    for pixels, label in zip(dataset.images, dataset.labels, strict=True):
        if dataset.names[label] in names:
            name = names[dataset.names[label]]
            folder = tmp_path / "pictures" / name
            folder.mkdir(parents=True, exist_ok=True)
            image.fromarray(pixels).save(folder / f"{count[name]}.png")
            count[name] += 1
    assert set(count.values()) == {12}
    return tmp_path / "pictures"


def test_own_images_trains_saves_and_predicts(pictures, tmp_path):
    (pictures / ".hidden").mkdir()  # such as .ipynb_checkpoints
    (pictures / "disc" / ".DS_Store").write_text("no picture")
    (pictures / "notes.txt").write_text("no class")
    first, other = pictures / "disc" / "0.png", pictures / "stripes" / "3.png"
    printed = run("own_images.py", pictures, "--quick", "--out", "new/out", "--predict", first, other, cwd=tmp_path)
    assert [line[:8] for line in printed.splitlines()[:2]] == ["epoch 0 ", "epoch 1 "]
    assert all(re.search(r"step 1/1 .* test accuracy [01]\.\d{4}$", line) for line in printed.splitlines()[:2])
    predictions = printed.splitlines()[2:]
    names = ["disc", "stripes", "Äpfel und Birnen"]
    for path, line in zip((first, other), predictions, strict=True):
        name, share = re.fullmatch(rf"{re.escape(str(path))}: (.+) \((\d+\.\d)%\)", line).groups()
        assert name in names
        assert 100 / 3 <= float(share) <= 100

    out = tmp_path / "new" / "out"
    assert {path.name for path in out.iterdir()} == {"weights.npz", "classes.json"}
    assert json.loads((out / "classes.json").read_text(encoding="utf-8")) == names
    example = load("own_images")
    model = example.build(3)
    ac.load_weights(model, out / "weights.npz")
    assert model[0].running_mean.value.max() > 0  # it has seen pictures
    scores = model(np.stack([example.read(first), example.read(other)]).astype(np.float32) / 255)
    shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    assert predictions == [
        f"{path}: {names[row.argmax()]} ({row.max():.1%})" for path, row in zip((first, other), shares, strict=True)
    ]
    again = run("own_images.py", "--out", "new/out", "--predict", first, other, cwd=tmp_path)
    assert again.splitlines() == predictions


def test_own_images_learns(pictures, tmp_path):
    files = sorted(pictures.glob("*/*.png"))
    printed = run("own_images.py", pictures, "--predict", *files, cwd=tmp_path)
    last = [line for line in printed.splitlines() if line.startswith("epoch ")][-1]
    assert last.startswith("epoch 29 ")
    assert float(re.search(r"  accuracy ([\d.]+)", last)[1]) > 0.95
    lines = zip(files, printed.splitlines()[30:], strict=True)
    right = [line.startswith(f"{path}: {path.parent.name} (") for path, line in lines]
    assert np.mean(right) > 0.85
    assert (tmp_path / "runs" / "own_images" / "weights.npz").exists()


def test_own_images_reads_each_picture_under_its_class(pictures):
    example = load("own_images")
    dataset = example.read_folder(pictures)
    assert dataset.names == ("disc", "stripes", "Äpfel und Birnen")
    assert len(dataset) == 36
    by_bytes = {example.read(path).tobytes(): path.parent.name for path in pictures.glob("*/*.png")}
    assert len(by_bytes) == 36
    pairs = zip(dataset.images, dataset.labels, strict=True)
    assert {image.tobytes(): dataset.names[label] for image, label in pairs} == by_bytes
    assert len(set(dataset.labels[:7])) > 1  # shuffled: the fifth that is kept out is not of one class


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_own_images_reads_every_mode(mode, tmp_path):
    image = pytest.importorskip("PIL.Image")
    kind = "jpg" if mode == "CMYK" else "png"
    options = (
        {"transparency": bytes([255] * 256)} if mode == "P" else {}
    )  # Pillow warns of these, unless by way of RGBA
    image.new("RGB", (40, 50), (255, 255, 255)).convert(mode).save(tmp_path / f"white.{kind}", **options)
    pixels = load("own_images").read(tmp_path / f"white.{kind}")
    assert (pixels.shape, pixels.dtype) == ((32, 32, 3), np.uint8)
    assert pixels.min() > 250


def test_own_images_crops_the_middle_and_turns_upright(tmp_path):
    image = pytest.importorskip("PIL.Image")
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:, :16, 0] = pixels[:, 48:, 0] = 255  # red margins, to be cropped
    pixels[:16, 16:48, 1] = 255  # the upper half is green
    picture = image.fromarray(pixels)
    exif = image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees to the right to see it upright
    picture.save(tmp_path / "plain.png")
    picture.save(tmp_path / "turned.png", exif=exif)
    read = load("own_images").read
    np.testing.assert_array_equal(read(tmp_path / "plain.png"), pixels[:, 16:48])
    np.testing.assert_array_equal(read(tmp_path / "turned.png"), np.rot90(pixels, -1)[16:48])


def empty(folder):
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()


def keep(folder, name, count):
    for path in sorted((folder / name).iterdir())[count:]:
        path.unlink()


def truncate(path):
    path.write_bytes(path.read_bytes()[:200])


def deep(folder):
    from PIL import Image

    Image.fromarray(np.full((8, 8), 1000, np.uint16)).save(folder / "disc" / "0.png")


BAD_FOLDERS = {
    "a folder that is not there": (lambda f: f.rename(f.with_name("gone")), "No such file or directory: '.*pictures'"),
    "a file": (lambda f: (empty(f), f.rmdir(), f.write_text("")), "Not a directory: '.*pictures'"),
    "an empty folder": (empty, "must have a subfolder for each of two classes or more, got 0"),
    "pictures without subfolders": (
        lambda f: ([p.rename(f / p.name) for p in (f / "disc").iterdir()], [p.rmdir() for p in f.glob("disc")],
                   empty(f / "stripes"), (f / "stripes").rmdir()),
        "must have a subfolder for each of two classes or more, got 1",
    ),
    "one class": (
        lambda f: [(empty(f / name), (f / name).rmdir()) for name in ("disc", "stripes")],
        "must have a subfolder for each of two classes or more, got 1",
    ),
    "an empty class": (lambda f: keep(f, "disc", 0), "disc must hold five pictures or more, got 0"),
    "a class of four": (lambda f: keep(f, "stripes", 4), "stripes must hold five pictures or more, got 4"),
    "hidden files only": (
        lambda f: (keep(f, "disc", 0), [(f / "disc" / f".{k}.png").write_text("") for k in range(9)]),
        "disc must hold five pictures or more, got 0",
    ),
    "a text": (lambda f: (f / "disc" / "a.txt").write_text("a"), r"a\.txt must be a picture .* got UnidentifiedImage"),
    "an empty file": (lambda f: (f / "disc" / "3.png").write_text(""), r"3\.png must be a picture .* got"),
    "half a picture": (lambda f: truncate(f / "disc" / "3.png"), r"3\.png must be a picture .* got OSError"),
    "a folder in a class": (lambda f: (f / "disc" / "more").mkdir(), "more must be a picture .* got IsADirectoryError"),
    "16 bits a channel": (deep, r"0\.png must be a picture of 8 bits a channel .* got ValueError\('mode I;16'\)"),
}  # fmt: skip


@pytest.mark.parametrize("fault", BAD_FOLDERS)
def test_own_images_refuses_a_bad_folder_and_keeps_what_is_there(fault, pictures, tmp_path, monkeypatch):
    spoil, message = BAD_FOLDERS[fault]
    spoil(pictures)
    out = tmp_path / "out"
    out.mkdir()
    (out / "weights.npz").write_text("the last network")
    status = status_of("own_images.py", [pictures, "--quick", "--out", out], monkeypatch)
    assert re.match(f"error: .*{message}", status), status
    assert [path.name for path in out.iterdir()] == ["weights.npz"]
    assert (out / "weights.npz").read_text() == "the last network"


def test_own_images_says_what_is_missing(pictures, tmp_path, monkeypatch, capsys):
    picture = pictures / "disc" / "0.png"
    status = status_of("own_images.py", ["--predict", picture, "--out", tmp_path / "none"], monkeypatch)
    assert re.match("error: .*No such file or directory: '.*classes.json'", status)
    (tmp_path / "file").write_text("kept")
    status = status_of("own_images.py", [pictures, "--quick", "--out", tmp_path / "file"], monkeypatch)
    assert re.match("error: .*File exists: '.*file'", status)
    assert status_of("own_images.py", [], monkeypatch) == 2
    assert "give a folder to train on, or --predict FILE" in capsys.readouterr().err

    out = tmp_path / "out"
    out.mkdir()
    (out / "classes.json").write_text('["a", "b"]')
    ac.save_weights(load("own_images").build(3), out / "weights.npz")
    status = status_of("own_images.py", ["--predict", picture, "--out", out], monkeypatch)
    assert re.match(r"error: .*weights.npz: state does not fit the model: .*must be floating of shape", status)
    (out / "classes.json").write_text('["a", "b", "c"]')
    status = status_of("own_images.py", ["--predict", tmp_path / "no.png", "--out", out], monkeypatch)
    assert re.match(r"error: .*no.png must be a picture .* got FileNotFoundError", status)

    monkeypatch.setitem(sys.modules, "PIL", None)
    assert status_of("own_images.py", ["--predict", picture, "--out", out], monkeypatch) == 2
    assert "Pillow is missing: pip install 'allconv[plot]'" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read everything")
def test_own_images_names_a_picture_that_it_may_not_read(pictures, monkeypatch):
    (pictures / "disc" / "0.png").chmod(0)
    status = status_of("own_images.py", [pictures, "--quick"], monkeypatch)
    assert re.match(r"error: .*0.png must be a picture .* got PermissionError", status)


def test_own_images_is_short():
    """Some forty lines, besides imports, docstrings and the command line."""
    text, docstring = (EXAMPLES / "own_images.py").read_text(encoding="utf-8"), re.compile(r'""".*?"""', re.DOTALL)
    body = docstring.sub("", text).partition('if __name__ == "__main__"')[0]
    lines = [line for line in body.splitlines() if line.strip() and "import " not in line]
    assert len(lines) <= 45
