"""What `to_onnx` writes predicts in ONNX Runtime what the model predicts."""

import numpy as np
import pytest
from helpers.onnx_files import NETS, run, stirred
from helpers.registry import LAYERS

import allconv as ac
from allconv.interop import to_onnx

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

RNG = np.random.default_rng(0)


def check(model, path, shape, layout="NHWC", **options):
    """Check that the file gives the outputs of the model, for batches of two sizes."""
    to_onnx(model, path, shape, layout=layout, **options)
    for count in (1, 3):
        x = RNG.standard_normal((count, *shape)).astype(np.float32)
        wanted = model(x)
        turn = layout == "NCHW"
        found = run(path, x.transpose(0, 3, 1, 2) if turn and x.ndim == 4 else x)
        wanted = wanted.transpose(0, 3, 1, 2) if turn and wanted.ndim == 4 else wanted
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * max(1, np.abs(wanted).max()))


@pytest.mark.parametrize("opset", [17, 22])
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_in_all_its_variants(tmp_path, name, opset):
    row = LAYERS[name]
    for options in row.variants:
        layer = stirred(row.build(**options | ({"dtype": np.float32} if "dtype" in row.given else {})))
        # Of images of 7 x 6, since no window of one size gives 3 x 3 or 5 x 9:
        if getattr(layer, "output_size", None) in [None, (1, 6)]:
            check(layer, tmp_path / "a.onnx", row.shape[1:], opset=opset)
            continue
        with pytest.raises(ValueError, match=r"must pool \(7, 6\) to a divisor of it for ONNX, got AdaptiveAverage"):
            to_onnx(layer, tmp_path / "a.onnx", row.shape[1:])


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize(("net", "shape"), NETS.values(), ids=NETS)
def test_networks_in_both_layouts(tmp_path, net, shape, layout):
    check(stirred(net()), tmp_path / "a.onnx", shape, layout)


@pytest.mark.parametrize("shape", [(5, 8), (8, 8), (2, 3, 5, 8)])
@pytest.mark.parametrize(
    "layer",
    [ac.GroupNorm(2, 8), ac.LayerNorm(8), ac.PReLU(8), ac.Softmax(), ac.Flatten(), ac.Branches(ac.ReLU(), ac.Tanh())],
    ids=repr,
)
def test_arrays_that_are_neither_rows_nor_images(tmp_path, layer, shape):
    check(stirred(layer), tmp_path / "a.onnx", shape)


def test_the_oldest_opset_and_the_names_of_the_weights(tmp_path):
    model = stirred(ac.Sequential(ac.Conv2D(3, 4, 3), ac.BatchNorm(4), ac.ReLU6(), ac.GlobalAveragePool2D()))
    check(model, tmp_path / "a.onnx", (5, 5, 3), opset=13)
    file = onnx.load(tmp_path / "a.onnx")
    assert {name for name, _ in model.named_parameters()} <= {weight.name for weight in file.graph.initializer}
    assert [(opset.domain, opset.version) for opset in file.opset_import] == [("", 13)]


def test_a_missed_permutation_is_caught(tmp_path, monkeypatch):
    """Were the numbers of an image flattened as they lie in the graph, the outputs would be far apart."""
    from allconv.interop import onnx_layers

    plain = lambda graph, _layer, _path, x: graph.add("Flatten", x.name, axis=1)  # noqa: E731
    monkeypatch.setitem(onnx_layers._WRITERS, ac.Flatten, plain)
    with pytest.raises(AssertionError):
        check(stirred(NETS["flatten"][0]()), tmp_path / "a.onnx", (7, 6, 3))


def test_a_layer_that_onnx_lacks_is_named_and_nothing_is_written(tmp_path):
    class Square(ac.Layer):
        """A layer of the user's."""

    with pytest.raises(ValueError, match=r"^model must have layers that ONNX knows, got .*Square.* at '1\.body'$"):
        to_onnx(ac.Sequential(ac.ReLU(), ac.Skip(Square())), tmp_path / "a.onnx", (4,))
    with pytest.raises(ValueError, match=r"^opset must be at least 17 for LayerNorm\(4\)"):
        to_onnx(ac.LayerNorm(4), tmp_path / "a.onnx", (4,), opset=16)
    assert list(tmp_path.iterdir()) == []
