"""The pictures show what they say: colours and curves are read back from what was drawn."""

import json
import math
import sys

import numpy as np
import pytest
from helpers.programs import load

import allconv as ac

image = pytest.importorskip("matplotlib.image")


@pytest.fixture
def pictures():
    return load("article_pictures")


@pytest.fixture
def figures(pictures, monkeypatch):
    """The figures that are written, by the name of the file."""
    drawn, save = {}, pictures._save

    def kept(folder, name, figure):
        drawn[name] = figure
        save(folder, name, figure)

    monkeypatch.setattr(pictures, "_save", kept)
    return drawn


def network(activation="elu"):
    return ac.models.article_net("allcnn", dilated=True, activation=activation, rng=np.random.default_rng(0))


def observed(model):
    data = ac.data.shapes(4, seed=0)
    return ac.layer_statistics(model, ac.SoftmaxCrossEntropy(), ac.data.per_step(data.images[:, ::4, ::4]), data.labels)


def test_each_filter_has_its_colours(pictures, figures, tmp_path):
    weight = np.random.default_rng(0).standard_normal((3, 2, 3, 7)).astype(np.float32)
    weight[..., 1] *= 100
    weight[..., 2] = 0
    weight[0, 1, 2, 3] = np.nan
    weight[0, 1, 2, 4] = -np.inf
    pictures.write_filters(tmp_path / "plots", weight)
    (axes,) = figures["filters.png"].axes
    grid = axes.images[0].get_array()
    assert grid.shape == (2 * 4 - 1, 4 * 3 - 1, 3)
    for k in range(7):
        shown = grid[k // 4 * 4 :, k % 4 * 3 :][:3, :2]
        if k == 2:
            assert (shown == 0.5).all()
        elif k in (3, 4):
            assert (shown == 0).all()
        else:
            for index in np.ndindex(3, 2, 3):
                largest = max(abs(x) for x in weight[..., k].ravel().tolist())
                assert shown[index] == pytest.approx((1 + weight[(*index, k)] / largest) / 2)
    frame = np.ones(grid.shape[:2], bool)
    for k in range(7):
        frame[k // 4 * 4 :, k % 4 * 3 :][:3, :2] = False
    assert (grid[frame] == 1).all()


def test_an_entry_survives_json_and_none_stands_for_what_is_not_finite(pictures):
    rows = observed(network())
    entry = pictures.statistics_entry(3, rows)
    assert (
        json.loads(json.dumps(entry, allow_nan=False)) == entry == {"epoch": 3, "layers": [vars(row) for row in rows]}
    )
    vars(rows[0]).update(mean=math.nan, parameter_gradient_rms={"weight": math.inf})
    first = pictures.statistics_entry(3, rows)["layers"][0]
    assert (first["mean"], first["parameter_gradient_rms"]) == (None, {"weight": None})


def test_the_curves_are_the_history(pictures, figures, tmp_path):
    model, history = network("relu"), []
    model[3].weight.trainable = False
    for epoch in range(3):
        history.append(pictures.statistics_entry(epoch, observed(model)))
        model[0].weight.value[..., : epoch + 1] = 0  # one more filter dies
    history[1]["layers"][1]["mean"] = None
    pictures.write_statistics(tmp_path, history)
    panels = {axes.get_title(): axes for axes in figures["statistics.png"].axes}
    names = {
        "Outputs: mean": "mean",
        "Outputs: standard deviation": "std",
        "Outputs: share of zeros": "zeros",
        "rms of dL/d(output)": "gradient_rms",
        "rms of dL/d(weight)": "weight",
        "Dead filters": "dead",
    }
    assert set(panels) == set(names)
    paths = [path for path, layer in model.named_layers() if isinstance(layer, ac.Conv2D)]
    assert len(paths) == 9
    for title, name in names.items():
        lines = panels[title].get_lines()
        assert [line.get_label().partition(":")[0] for line in lines] == paths
        for line, path in zip(lines, paths, strict=True):
            expected = []
            for entry in history:
                place = next(k for k, layer in enumerate(entry["layers"]) if layer["path"] == path)
                conv, relu = entry["layers"][place : place + 2]
                number = conv["parameter_gradient_rms"].get("weight") if name == "weight" else relu[name]
                expected.append(math.nan if number is None else number)
            np.testing.assert_array_equal(line.get_xdata(), [0, 1, 2])
            np.testing.assert_array_equal(line.get_ydata(), expected)
    dead = panels["Dead filters"].get_lines()[0].get_ydata()
    np.testing.assert_array_equal(np.diff(dead), [1, 1])
    assert panels["rms of dL/d(weight)"].get_yscale() == "log"
    assert math.isnan(panels["Outputs: mean"].get_lines()[0].get_ydata()[1])
    gradients = np.array([line.get_ydata() for line in panels["rms of dL/d(weight)"].get_lines()])
    assert np.isnan(gradients).all(axis=1).sum() == 1, "the frozen convolution has no curve"


def test_a_convolution_without_an_activation_is_seen_by_its_own_output(pictures, figures, tmp_path):
    rng = np.random.default_rng(0)
    model = ac.Sequential(ac.Conv2D(3, 4, 3, rng=rng), ac.BatchNorm(4), ac.Conv2D(4, 10, 1, rng=rng))
    model = ac.Sequential(model, ac.GlobalAveragePool2D())
    rows = observed(model)
    pictures.write_statistics(tmp_path, [pictures.statistics_entry(0, rows)])
    lines = figures["statistics.png"].axes[1].get_lines()
    assert [line.get_ydata()[0] for line in lines] == [rows[0].std, rows[2].std]


@pytest.mark.parametrize("number", [None, 0.0])
def test_a_run_in_which_nothing_is_finite_or_all_is_zero_is_drawn(number, pictures, tmp_path):
    """A picture must not end a run; a warning would be an error here."""
    entry = pictures.statistics_entry(0, observed(network()))
    for layer in entry["layers"]:
        layer |= dict.fromkeys(("mean", "std", "gradient_rms"), number)
        layer["parameter_gradient_rms"] = dict.fromkeys(layer["parameter_gradient_rms"], number)
        layer["dead"] = None
    pictures.write_statistics(tmp_path, [entry, entry | {"epoch": 1}])
    assert (tmp_path / "statistics.png").stat().st_size > 10_000


def test_what_is_wrong_or_missing_is_refused_before_the_folder_is_made(pictures, tmp_path, monkeypatch):
    entry = pictures.statistics_entry(0, observed(network()))
    for shape in ((3, 3, 4, 8), (3, 3, 3), (3, 3, 3, 0)):
        with pytest.raises(ValueError, match=r"weight must have shape \(K_h, K_w, 3, filters\), got an array"):
            pictures.write_filters(tmp_path / "new", np.zeros(shape))
    with pytest.raises(ValueError, match="history must hold an epoch or more, got none"):
        pictures.write_statistics(tmp_path / "new", [])
    with pytest.raises(ValueError, match="history must be of a network with a convolution, got one without"):
        pictures.write_statistics(tmp_path / "new", [{"epoch": 0, "layers": []}])
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError):
        pictures.write_filters(tmp_path / "new", np.ones((3, 3, 3, 4)))
    with pytest.raises(ImportError):
        pictures.write_statistics(tmp_path / "new", [entry])
    assert not list(tmp_path.iterdir())
