"""The published code's faults: each switch is what the record says, and the page has what the script measures."""

import numpy as np
import pytest
from helpers.programs import ROOT, load, run

import allconv as ac
from allconv.rules import override_backward


@pytest.fixture(scope="module")
def example():
    return load("published_faults")


def send_back(layer, rule, x, dy):
    _, cache = layer.forward(x)
    with override_backward(layer, {type(layer): rule}):
        return layer.backward(dy, cache)


def test_the_derivative_of_elu_is_the_published_one():
    x = np.array([-2.0, -0.5, -1e-9, 0.0, 1e-9, 0.5, 3.0])
    dy = np.array([1.0, -2.0, 3.0, -4.0, 5.0, -6.0, 7.0])
    published = (x > 0) + np.expm1(np.minimum(x, 0)) + 1
    np.testing.assert_allclose(send_back(ac.ELU(), ac.article.elu_twice, x, dy), published * dy, rtol=1e-15)
    assert published[-1] == 2
    assert published[0] == pytest.approx(np.exp(-2.0))


def test_the_averages_are_not_divided():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 8, 8, 3))
    dy = rng.standard_normal((2, 3))
    dx = send_back(ac.GlobalAveragePool2D(), ac.article.average_undivided, x, dy)
    np.testing.assert_allclose(dx, np.broadcast_to(dy[:, None, None], x.shape), rtol=1e-14)
    dy = rng.standard_normal((2, 4, 4, 3))
    dx = send_back(ac.MeanPool2D(2), ac.article.pool_undivided, x, dy)
    np.testing.assert_allclose(dx, dy.repeat(2, axis=1).repeat(2, axis=2), rtol=1e-14)


@pytest.mark.parametrize("options", [{}, {"count_padding": True}, {"ceil_mode": True, "padding": 1, "stride": 2}])
def test_a_mean_at_a_padded_edge_is_not_divided_either(options):
    pool = ac.MeanPool2D(3, **{"stride": 1, "padding": "same"} | options)
    x = np.zeros((1, 4, 4, 1))
    y, _ = pool.forward(x)
    for index in np.ndindex(y.shape):
        dy = np.zeros_like(y)
        dy[index] = 1.0
        dx = send_back(pool, ac.article.pool_undivided, x, dy)
        np.testing.assert_allclose(dx, pool.backward(dy, pool.forward(x)[1]) > 0, rtol=1e-15)
    with pytest.raises(ValueError, match="dy must"):
        ac.article.pool_undivided(pool, np.ones((1, 1, 1, 1)), pool.forward(x)[1])


def test_a_subclass_has_the_fault_of_its_class():
    class Scaled(ac.ELU):
        pass

    assert ac.article.rules_for(ac.Sequential(Scaled()), "ELU") == {ac.ELU: ac.article.elu_twice}
    assert ac.article.rules_for(ac.Sequential(ac.ReLU()), "ELU") is None


def test_a_fault_that_a_network_lacks_is_no_fault_of_it():
    model = ac.models.article_net("allcnn")
    assert ac.article.rules_for(model, "mean pool") is None
    assert set(ac.article.rules_for(model, "all")) == {ac.ELU, ac.GlobalAveragePool2D}
    assert set(ac.article.rules_for(ac.models.article_net("convpool"), "all")) == set(ac.article.FAULTS["all"])


def tables():
    text = (ROOT / "docs" / "experiment" / "faults.md").read_text(encoding="utf-8")
    part = text.partition("<!-- faults: begin")[2].partition("<!-- faults: end")[0]
    blocks = [block.splitlines() for block in part.split("\n\n") if block.startswith("| ")]
    return [[[cell.strip() for cell in line.strip("|").split("|")] for line in block] for block in blocks]


@pytest.mark.scripts
@pytest.mark.parametrize(("index", "kind"), [(0, "convpool"), (1, "allcnn")])
def test_the_page_has_what_is_measured(example, index, kind):
    (_, *faults), _, *rows = tables()[index]
    found = example.measure(kind, 50)
    assert faults == list(found)
    assert [row[0] for row in rows] == [str(k) for k in range(1, 10)]
    for column, fault in enumerate(faults, start=1):
        stated = [[float(text) for text in row[column].split(",")] for row in rows]
        np.testing.assert_allclose([c for c, _ in stated], [c for c, _ in found[fault]], atol=1e-3, err_msg=fault)
        np.testing.assert_allclose([r for _, r in stated], [r for _, r in found[fault]], rtol=2e-3, err_msg=fault)
    ratios = {fault: [ratio for _, ratio in found[fault]] for fault in faults}
    np.testing.assert_allclose(ratios["global average"], 64, rtol=1e-5)
    np.testing.assert_allclose(ratios["summed loss"], 50, rtol=1e-5)
    product = 64 * 50 * np.array(ratios["ELU"])
    if kind == "convpool":
        np.testing.assert_allclose(ratios["mean pool"], [16] * 3 + [4] * 3 + [1] * 3, rtol=1e-5)
        product *= ratios["mean pool"]
    np.testing.assert_allclose(ratios["all"], product, rtol=1e-4)
    elu = np.array([cosine for cosine, _ in found["ELU"]])
    assert (np.diff(elu) > 0).all(), "it turns the gradient further with each layer further down"
    assert elu[-1] < 0.999


@pytest.mark.scripts
def test_the_page_has_what_the_check_says(example):
    _, _, *rows = tables()[2]
    assert [row[0] for row in rows] == [fault for fault in ac.article.FAULTS if fault != "all"]
    cells = {fault: (alone, convpool, allcnn) for fault, alone, convpool, allcnn in rows}
    for fault, (alone, *_) in cells.items():
        notes = [row.note for row in example.check_alone(fault).failures if row.check == "elements"]
        assert [note.partition(";")[0] for note in notes] == [alone]

    def paths(kind, *layers):
        found = [f"`{path}`" for path, layer in ac.models.article_net(kind).named_layers() if isinstance(layer, layers)]
        return f"starts in {', '.join(found)}"

    for fault, layer in (("ELU", ac.ELU), ("global average", ac.GlobalAveragePool2D)):
        assert cells[fault][1:] == (paths("convpool", layer), paths("allcnn", layer))
    assert cells["mean pool"][1:] == (paths("convpool", ac.MeanPool2D), "-")
    assert cells["summed loss"][1:] == ("-", "-")
    assert example.check_network("allcnn", "global average").starts == ("18",)


@pytest.mark.scripts
def test_a_file_without_the_place_for_the_tables_is_left_alone(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("kept")
    errors = run("published_faults.py", "--write", page, cwd=tmp_path, status=1)
    assert "page.md must have the lines <!-- faults: begin" in errors
    assert page.read_text() == "kept"
