"""The smaller examples run as a reader runs them, in processes of their own, and do what their first lines promise."""

import ast
import json
import os
import re
import runpy
import sys

import numpy as np
import pytest
from helpers.numeric import numeric_gradient
from helpers.programs import EXAMPLES, load, run

import allconv as ac


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


def is_public(path):
    """Tell whether each name of a path such as allconv.rules.guided is one that the part before it exports."""
    value = ac
    for name in path.split(".")[1:]:
        if name not in getattr(value, "__all__", vars(value)):
            return False
        value = getattr(value, name)
    return True


def internal_names(program):
    """Return what a program takes of allconv that is not public: the path of each module or name."""
    found = []
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ac":
            found.append(f"allconv.{node.attr}")
    return [path for path in found if path.partition(".")[0] == "allconv" and not is_public(path)]


@pytest.mark.parametrize(("name", "program"), [*sources()], ids=[name for name, _ in sources()])
def test_an_example_takes_public_names_alone(name, program):
    assert "allconv" in program
    assert internal_names(program) == []


def test_internal_names_are_found():
    imports = ["import allconv as ac", "import allconv.training.loop", "from allconv import gradcheck, training"]
    imports += ["from allconv.rules import override_backward", "from allconv.checkpoint import load, format"]
    found = internal_names(
        "\n".join([*imports, "from allconv.training.loop import Record", "ac.parallel.cores", "ac.train"])
    )
    assert [name.removeprefix("allconv.") for name in found] == [
        *("training.loop", "training", "checkpoint.format", "training.loop.Record", "parallel")
    ]


# digits.py and regression.py


@pytest.mark.scripts
def test_digits_recognizes_98_percent_of_a_held_out_quarter_in_seconds(tmp_path):
    pytest.importorskip("sklearn")
    before = os.times().children_user  # the processor's time, which other programs do not lengthen
    last = run("digits.py", cwd=tmp_path).splitlines()[-1]
    assert os.times().children_user - before < 20
    assert float(last.removeprefix("test accuracy ")) >= 0.98


@pytest.mark.scripts
def test_regression_follows_the_curve_and_draws_it(tmp_path):
    image = pytest.importorskip("matplotlib.image")
    printed = run("regression.py", cwd=tmp_path)
    squared, huber = (float(line.split()[-1]) for line in printed.splitlines() if "mean distance" in line)
    assert huber < 0.1 < squared
    picture = image.imread(tmp_path / "regression.png")
    assert picture.shape == (480, 840, 4)
    colors = np.unique((255 * picture[..., :3]).round().astype(int).reshape(-1, 3), axis=0).tolist()
    assert [31, 119, 180] in colors  # the curve of the squared error
    assert [255, 127, 14] in colors  # and that of Huber's loss


# new_layer.py


@pytest.mark.scripts
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
    example = load("new_layer")
    layer = example.LearntSwish(2, dtype=np.float64)
    layer.slope.value = np.array([-0.7, 1.6])
    x = np.random.default_rng(0).standard_normal((2, 3, 3, 2))
    np.testing.assert_allclose(layer(x), x / (1 + np.exp(-layer.slope.value * x)), rtol=1e-12)
    assert ac.gradcheck.check(layer, x).passed


# dilated_gradient.py


@pytest.mark.scripts
def test_dilated_gradient_finds_prints_and_draws(tmp_path):
    image = pytest.importorskip("matplotlib.image")
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

    assert [path.name for path in tmp_path.rglob("*.*")] == ["dilated_gradient.png"]
    picture = image.imread(tmp_path / "new" / "out" / "dilated_gradient.png")[..., :3]
    assert all(part.std() > 0.05 for part in np.array_split(picture, 3, axis=1)), "each panel is drawn"


def test_dilated_gradient_s_rule_is_the_backward_pass_of_skip():
    example = load("dilated_gradient")
    assert [example.rate(epoch) for epoch in (0, 1, 3)] == [0.8, 0.4, 0.2]
    (_, skips), (_, plain_skips) = example.network(in_backward=True), example.network(in_backward=False)
    a = np.random.default_rng(1).standard_normal((1, 2, 2, 192))
    for path in ("7", "12"):
        skip, other = skips[path], plain_skips[path]
        y, cache = skip.forward(a)
        dy = np.random.default_rng(2).standard_normal(y.shape)
        expected = skip.body.backward(dy, cache[0]) + 0.8 * dy
        np.testing.assert_array_equal(skip.backward(dy, cache), expected)
        np.testing.assert_array_equal(example.dilated(other, dy, other.forward(a)[1]), expected)


def test_dilated_gradient_says_what_is_wrong_before_it_works(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("kept")
    assert status_of("dilated_gradient.py", ["--quick", "--out", tmp_path / "file"], monkeypatch) == 1
    assert f"error: [Errno 17] File exists: '{tmp_path / 'file'}'" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert status_of("dilated_gradient.py", ["--quick", "--out", tmp_path / "new"], monkeypatch) == 1
    printed = capsys.readouterr()
    assert "error: the drawing needs matplotlib: pip install 'allconv[plot]'" in printed.err
    assert not printed.out
    assert not (tmp_path / "new").exists()


# accumulate_and_average.py


@pytest.mark.scripts
def test_the_average_is_better_than_the_last_weights_in_most_epochs(tmp_path):
    printed = run("accumulate_and_average.py", cwd=tmp_path)
    error = re.match(r"gradient of 60 images in 4 parts: differs from the whole's by (\S+) of its norm\n", printed)[1]
    assert 0 < float(error) < 1e-5
    pairs = [(float(a), float(b)) for a, b in re.findall(r"last weights (0\.\d+), averaged (0\.\d+)", printed)]
    assert len(pairs) == 10
    assert sum(averaged > last for last, averaged in pairs) >= 7
    assert pairs[-1][1] > 0.8
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("parts", [1, 3, 10])
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
    assert example.accumulate(model, loss, x, labels, parts) == pytest.approx(loss(model(x), labels)[0], rel=1e-12)
    np.testing.assert_allclose(weight.grad, expected, rtol=1e-6, atol=1e-9)


def test_the_average_follows_the_weights():
    example = load("accumulate_and_average")
    model, average = (ac.Linear(2, 1, dtype=np.float64) for _ in range(2))
    average.weight.value = a = np.array([[5.0], [-3.0]])
    for step, share in ((1, 2 / 11), (2, 3 / 12), (10**6, 0.99)):  # of what it was before
        model.weight.value = w = np.array([[1.0 + step], [0.5]])
        example.follow(average, model, step)
        a = share * a + (1 - share) * w
        np.testing.assert_allclose(average.weight.value, a, rtol=1e-12)


# own_images.py


@pytest.fixture
def pictures(tmp_path):
    """A folder of drawn pictures: discs, stripes and a class with a name of more than one word."""
    image = pytest.importorskip("PIL.Image")
    dataset = ac.data.shapes(120, seed=0)
    for label, name in ((0, "disc"), (6, "Äpfel und Birnen"), (9, "stripes")):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number, pixels in enumerate(dataset.images[dataset.labels == label]):
            image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{number}.png")
    return tmp_path / "pictures"


@pytest.mark.scripts
def test_own_images_learns_saves_and_predicts(pictures, tmp_path):
    files = sorted(pictures.glob("*/*.png"))
    (pictures / ".hidden").mkdir()  # such as .ipynb_checkpoints
    (pictures / "disc" / ".DS_Store").write_text("no picture")
    (pictures / "notes.txt").write_text("no class")
    lines = run("own_images.py", pictures, "--out", "new/out", "--predict", *files, cwd=tmp_path).splitlines()
    assert lines[29].startswith("epoch 29 ")
    assert float(re.search(r"  accuracy ([\d.]+)", lines[29])[1]) > 0.95
    predictions = lines[30:]
    right = [line.startswith(f"{path}: {path.parent.name} (") for path, line in zip(files, predictions, strict=True)]
    assert np.mean(right) > 0.85
    assert run("own_images.py", "--out", "new/out", "--predict", *files, cwd=tmp_path).splitlines() == predictions

    names = ["disc", "stripes", "Äpfel und Birnen"]
    out, example = tmp_path / "new" / "out", load("own_images")
    assert json.loads((out / "classes.json").read_text(encoding="utf-8")) == names
    model = example.build(3)
    ac.load_weights(model, out / "weights.npz")
    scores = model(np.stack([example.read(path) for path in files]).astype(np.float32) / 255)
    shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    expected = [f"{path}: {names[row.argmax()]} ({row.max():.1%})" for path, row in zip(files, shares, strict=True)]
    assert predictions == expected


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_own_images_reads_every_mode(mode, tmp_path):
    image = pytest.importorskip("PIL.Image")
    path = tmp_path / ("white.jpg" if mode == "CMYK" else "white.png")
    options = {"transparency": bytes([255] * 256)} if mode == "P" else {}  # Pillow warns of these, unless by RGBA
    image.new("RGB", (40, 50), (255, 255, 255)).convert(mode).save(path, **options)
    pixels = load("own_images").read(path)
    assert (pixels.shape, pixels.dtype) == ((32, 32, 3), np.uint8)
    assert pixels.min() > 250


def test_own_images_crops_the_middle_and_turns_upright(tmp_path):
    image = pytest.importorskip("PIL.Image")
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:, :16, 0] = pixels[:, 48:, 0] = 255  # red margins, to be cropped
    pixels[:16, 16:48, 1] = 255  # the upper half is green
    exif = image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees to the right to see it upright
    image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(load("own_images").read(tmp_path / "turned.png"), np.rot90(pixels, -1)[16:48])


def deep(path):
    from PIL import Image

    Image.fromarray(np.full((8, 8), 1000, np.uint16)).save(path)


NO_CLASSES = "must have a subfolder for each of two classes or more, got"
BAD_FOLDERS = {
    "a folder that is not there": (lambda f: f.rename(f.with_name("gone")), "No such file or directory: '.*pictures'"),
    "a file": (lambda f: (f.rename(f.with_name("gone")), f.write_text("")), "Not a directory: '.*pictures'"),
    "no class": (lambda f: (f.rename(f.with_name("gone")), f.mkdir()), f"{NO_CLASSES} 0"),
    "one class": (lambda f: [(f / name).rename(f.parent / name) for name in ("disc", "stripes")], f"{NO_CLASSES} 1"),
    "a class of four": (lambda f: [(f / "disc" / f"{k}.png").unlink() for k in range(8)], "disc must hold .* got 4"),
    "hidden files": (lambda f: [p.rename(p.with_name("." + p.name)) for p in (f / "disc").iterdir()], "five .* got 0"),
    "a text": (lambda f: (f / "disc" / "a.txt").write_text("a"), r"a\.txt must be a picture .* got UnidentifiedImage"),
    "half a picture": (lambda f: (f / "disc" / "3.png").write_bytes((f / "disc" / "3.png").read_bytes()[:200]),
                       r"3\.png must be a picture .* got OSError"),
    "a folder in a class": (lambda f: (f / "disc" / "more").mkdir(), "more must be a picture .* got IsADirectoryError"),
    "16 bits": (lambda f: deep(f / "disc" / "0.png"), r"0\.png must be a picture of 8 bits .* got ValueError"),
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
    assert [(path.name, path.read_text()) for path in out.iterdir()] == [("weights.npz", "the last network")]


def test_own_images_says_what_is_missing(pictures, tmp_path, monkeypatch, capsys):
    picture, out = pictures / "disc" / "0.png", tmp_path / "out"

    def refusal(*options):
        return status_of("own_images.py", options, monkeypatch)

    assert re.match("error: .*No such file or directory: '.*classes.json'", refusal("--predict", picture, "--out", out))
    (tmp_path / "file").write_text("kept")
    assert re.match("error: .*File exists: '.*file'", refusal(pictures, "--quick", "--out", tmp_path / "file"))
    assert refusal() == 2
    assert "give a folder to train on, or --predict FILE" in capsys.readouterr().err

    out.mkdir()
    (out / "classes.json").write_text('["a", "b"]')
    ac.save_weights(load("own_images").build(3), out / "weights.npz")
    assert "weights.npz: state does not fit the model: " in refusal("--predict", picture, "--out", out)
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert refusal("--predict", picture, "--out", out) == 2
    assert "Pillow is missing: pip install 'allconv[plot]'" in capsys.readouterr().err
