"""ONNX files in the forms in which exporters of ten years have written them, made by tf2onnx and by hand."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers.onnx_files import agree, graph_of, numbers, run

from allconv.interop import from_onnx

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

KERNEL = numbers(2, 3, 3, 3)
FORMS = {
    "tf2onnx: NHWC, turned for each convolution, the bias an Add": (
        [("Transpose", ["x"], ["a"], {"perm": [0, 3, 1, 2]}),
         ("Conv", ["a", "w"], ["b"], {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
         ("Transpose", ["b"], ["c"], {"perm": [0, 2, 3, 1]}), ("Add", ["c", "bias"], ["d"], {}),
         ("Relu", ["d"], ["e"], {}), ("Reshape", ["e", "shape"], ["f"], {}), ("MatMul", ["f", "m"], ["g"], {}),
         ("Add", ["g", "n"], ["y"], {})],
        {"w": numbers(4, 3, 3, 3), "bias": numbers(4), "shape": np.array([-1, 24]), "m": numbers(24, 2)}
        | {"n": numbers(2)},
        (1, 4, 5, 3), 13,
    ),
    "keras2onnx: the Flatten of NHWC in a graph of NCHW": (
        [("Conv", ["x", "w"], ["a"], {"auto_pad": "VALID"}), ("Transpose", ["a"], ["b"], {"perm": [0, 2, 3, 1]}),
         ("Flatten", ["b"], ["c"], {}), ("Gemm", ["c", "m", "n"], ["y"], {"transB": 1, "beta": 2.0, "alpha": 0.5})],
        {"w": KERNEL, "m": numbers(4, 12), "n": numbers(4)}, (1, 3, 4, 5), 11,
    ),
    "keras2onnx: NHWC around each operator, as its code has it": (
        [("Transpose", ["x"], ["a"], {"perm": [0, 3, 1, 2]}),
         ("Conv", ["a", "w", "bias"], ["b"], {"auto_pad": "SAME_UPPER", "group": 1, "strides": [2, 2]}),
         ("Transpose", ["b"], ["c"], {"perm": [0, 2, 3, 1]}), ("PRelu", ["c", "slope"], ["d"], {}),
         ("Transpose", ["d"], ["e"], {"perm": [0, 3, 1, 2]}),
         ("BatchNormalization", ["e", "g", "h", "zero", "one"], ["f"], {"epsilon": 1e-6, "momentum": 0.99}),
         ("Transpose", ["f"], ["i"], {"perm": [0, 2, 3, 1]}), ("Sigmoid", ["i"], ["j"], {}),
         ("Mul", ["i", "j"], ["k"], {}), ("Transpose", ["k"], ["l"], {"perm": [0, 3, 1, 2]}),
         ("GlobalMaxPool", ["l"], ["m"], {}), ("Transpose", ["m"], ["n"], {"perm": [0, 2, 3, 1]}),
         ("Reshape", ["n", "flat"], ["o"], {}), ("Identity", ["o"], ["p"], {}), ("MatMul", ["p", "q"], ["r"], {}),
         ("Add", ["r", "s"], ["t"], {}), ("Identity", ["t"], ["y"], {})],
        {"w": numbers(4, 3, 3, 3), "bias": numbers(4), "slope": numbers(1, 1, 4), "g": numbers(4), "h": numbers(4)}
        | {"zero": np.zeros(4, np.float32), "one": np.ones(4, np.float32), "flat": np.array([0, -1])}
        | {"q": numbers(4, 2), "s": numbers(2)}, (1, 4, 5, 3), 11,
    ),
    "keras2onnx: PReLU from operators of TensorFlow": (
        [("Relu", ["x"], ["a"], {}), ("Abs", ["x"], ["b"], {}), ("Sub", ["x", "b"], ["c"], {}),
         ("Mul", ["slope", "c"], ["d"], {}), ("Mul", ["d", "half"], ["e"], {}), ("Add", ["a", "e"], ["y"], {})],
        {"slope": numbers(3, 1, 1), "half": np.float32(0.5)}, (1, 3, 4, 5), 11,
    ),
    "CNTK: attributes that say what is the default, pooling at an odd size": (
        [("Conv", ["x", "w"], ["a"], {"auto_pad": "SAME_UPPER", "group": 1, "kernel_shape": [3, 3], "dilations": [1, 1],
                                      "strides": [1, 1]}),
         ("BatchNormalization", ["a", "g", "h", "h", "v"], ["b"], {"epsilon": 1e-5, "momentum": 0.0}),
         ("LeakyRelu", ["b"], ["c"], {"alpha": 0.1}),
         ("MaxPool", ["c"], ["d"], {"auto_pad": "NOTSET", "kernel_shape": [2, 2], "pads": [0] * 4, "strides": [2, 2]}),
         ("Reshape", ["d", "flat"], ["e"], {}), ("Gemm", ["e", "m", "n"], ["y"], {"beta": 1.0, "alpha": 1.0})],
        {"w": KERNEL, "g": numbers(2), "h": numbers(2), "v": np.float32([0.5, 2])}
        | {"flat": np.array([1, 8]), "m": numbers(8, 3), "n": numbers(1, 3)}, (1, 3, 4, 5), 7,
    ),
    "PyTorch 0.4: the batch looked up by Slice, a weight turned in the graph": (
        [("Conv", ["x", "w"], ["a"], {"dilations": [1, 1], "group": 1, "kernel_shape": [3, 3], "pads": [1, 1, 1, 1],
                                      "strides": [1, 1]}),
         ("Add", ["bias", "a"], ["b"], {}), ("Shape", ["b"], ["c"], {}),
         ("Slice", ["c"], ["d"], {"axes": [0], "starts": [0], "ends": [1]}), ("Squeeze", ["d"], ["e"], {"axes": [0]}),
         ("Constant", [], ["f"], {"value": onnx.numpy_helper.from_array(np.array(-1))}),
         ("Unsqueeze", ["e"], ["g"], {"axes": [0]}), ("Unsqueeze", ["f"], ["h"], {"axes": [0]}),
         ("Concat", ["g", "h"], ["i"], {"axis": 0}), ("Reshape", ["b", "i"], ["j"], {}),
         ("Transpose", ["m"], ["k"], {"perm": [1, 0]}), ("MatMul", ["j", "k"], ["l"], {}),
         ("Add", ["l", "n"], ["y"], {})],
        {"w": KERNEL, "bias": numbers(1, 2, 1, 1), "m": numbers(3, 40), "n": numbers(3)}, (1, 3, 4, 5), 9,
    ),
    "opset 18: axes as inputs, numbers by channel at the start": (
        [("Mul", ["x", "scale"], ["a"], {}), ("Add", ["a", "shift"], ["b"], {}),
         ("Pad", ["b", "pads", "", "two"], ["c"], {}),
         ("ReduceMean", ["c", "places"], ["d"], {"keepdims": 1}), ("Squeeze", ["d", "places"], ["y"], {})],
        {"scale": numbers(1, 3, 1, 1), "shift": numbers(3, 1, 1), "pads": np.array([1, 0, 0, 2])}
        | {"two": np.array([2, 3]), "places": np.array([-2, -1])}, (1, 3, 4, 5), 18,
    ),
    "weights as float16 that the graph casts, a Flatten with a negative axis": (
        [("Cast", ["w"], ["a"], {"to": 1}), ("Conv", ["x", "a"], ["b"], {}), ("Flatten", ["b"], ["c"], {"axis": -3}),
         ("Cast", ["c"], ["d"], {"to": 1}), ("Identity", ["m"], ["e"], {}), ("MatMul", ["d", "e"], ["y"], {})],
        {"w": KERNEL.astype(np.float16), "m": numbers(12, 2)}, (1, 3, 4, 5), 13,
    ),
    "CNTK: weights reshaped in the graph, the bias as (C, 1, 1)": (
        [("Conv", ["x", "w"], ["a"], {"pads": [1, 1, 1, 1], "kernel_shape": [3, 3]}), ("Add", ["a", "bias"], ["b"], {}),
         ("Reshape", ["b", "flat"], ["c"], {}), ("Reshape", ["m", "shape"], ["d"], {}),
         ("MatMul", ["c", "d"], ["e"], {}), ("Add", ["e", "n"], ["y"], {})],
        {"w": KERNEL, "bias": numbers(2, 1, 1), "m": numbers(2, 4, 5, 3), "n": numbers(1, 3)}
        | {"shape": np.array([40, 3]), "flat": np.array([-1, 40])},
        (1, 3, 4, 5), 9,
    ),
    "MATLAB: a mean image of one color subtracted, a full convolution as Linear": (
        [("Sub", ["x", "mean"], ["a"], {}), ("Conv", ["a", "w", "n"], ["b"], {"kernel_shape": [4, 5]}),
         ("Flatten", ["b"], ["c"], {"axis": 1}), ("Softmax", ["c"], ["y"], {"axis": 1})],
        {"mean": numbers(1, 3, 1, 1), "w": numbers(6, 3, 4, 5), "n": numbers(6)}, (1, 3, 4, 5), 9,
    ),
    "opset 6: attributes in the place of inputs, and axes of a broadcast": (
        [("Conv", ["x", "w"], ["a"], {"pads": [1, 1, 1, 1]}),
         ("Add", ["a", "bias"], ["b"], {"broadcast": 1, "axis": 1}),
         ("Clip", ["b"], ["c"], {"min": 0.0, "max": 6.0}), ("Dropout", ["c"], ["d"], {"ratio": 0.5}),
         ("Pad", ["d"], ["e"], {"pads": [0, 0, 1, 0, 0, 0, 0, 1], "mode": "constant"}),
         ("AveragePool", ["e"], ["f"], {"kernel_shape": [5, 6]}), ("Squeeze", ["f"], ["y"], {"axes": [2, 3]})],
        {"w": KERNEL, "bias": numbers(2)}, (1, 3, 4, 5), 6,
    ),
    "an unfolded batch normalization, computed in the graph": (
        [("Conv", ["x", "w"], ["a"], {}), ("Sub", ["a", "mean"], ["b"], {}), ("Add", ["var", "eps"], ["v"], {}),
         ("Sqrt", ["v"], ["s"], {}), ("Div", ["b", "s"], ["c"], {}), ("Mul", ["gamma", "c"], ["d"], {}),
         ("Add", ["beta", "d"], ["e"], {}), ("GlobalMaxPool", ["e"], ["f"], {}), ("Flatten", ["f"], ["y"], {})],
        {"w": KERNEL, "eps": np.float32([1e-3]), "var": np.float32([[[0.5]], [[2]]])}
        | {name: numbers(2, 1, 1) for name in ("mean", "gamma", "beta")}, (1, 3, 4, 5), 13,
    ),
    "a scaled shortcut, a mean by axes, a negated difference, Max as LeakyRelu": (
        [("Conv", ["x", "w"], ["a"], {"pads": [1, 1, 1, 1]}), ("Mul", ["x", "half"], ["b"], {}),
         ("Add", ["a", "b"], ["c"], {}), ("Mul", ["c", "tenth"], ["d"], {}), ("Max", ["c", "d"], ["e"], {}),
         ("Sub", ["half", "e"], ["f"], {}), ("ReduceMean", ["f"], ["y"], {"axes": [2, 3], "keepdims": 0})],
        {"w": numbers(3, 3, 3, 3), "half": np.float32(0.5), "tenth": np.float32(0.1)}, (1, 3, 4, 5), 13,
    ),
    "GELU in five operators, Constant nodes": (
        [("Constant", [], ["root"], {"value_float": 2**0.5}), ("Constant", [], ["one"], {"value_float": 1.0}),
         ("Div", ["x", "root"], ["a"], {}), ("Erf", ["a"], ["b"], {}), ("Add", ["b", "one"], ["c"], {}),
         ("Mul", ["x", "c"], ["d"], {}), ("Mul", ["d", "half"], ["y"], {})],
        {"half": np.float32(0.5)}, (1, 6), 13,
    ),
    "Tanh in operators that overflow far from zero, limits that no number exceeds": (
        [("Exp", ["x"], ["a"], {}), ("Neg", ["x"], ["n"], {}), ("Exp", ["n"], ["b"], {}),
         ("Sub", ["a", "b"], ["c"], {}), ("Add", ["a", "b"], ["d"], {}), ("Div", ["c", "d"], ["e"], {}),
         ("Clip", ["e", "low", "high"], ["y"], {})],
        {"low": np.float32(0), "high": np.finfo(np.float32).max}, (1, 6), 13,
    ),
    "newer operators, a transposed convolution, Reshape to (0, -1)": (
        [("ConvTranspose", ["x", "w"], ["a"], {"strides": [2, 2], "output_padding": [1, 1]}),
         ("GroupNormalization", ["a", "g", "b"], ["c"], {"num_groups": 2, "epsilon": 1e-3}),
         ("Gelu", ["c"], ["d"], {"approximate": "tanh"}), ("MaxPool", ["d"], ["e"], {"kernel_shape": [2, 2]}),
         ("Reshape", ["e", "shape"], ["f"], {}), ("Gemm", ["f", "m"], ["y"], {})],
        {"w": numbers(3, 4, 3, 3), "g": numbers(4), "b": numbers(4), "shape": np.array([0, -1]), "m": numbers(396, 2)},
        (1, 3, 4, 5), 21,
    ),
    "a convolution whose output is used twice keeps its bias apart": (
        [("Conv", ["x", "w"], ["a"], {"pads": [1, 1, 1, 1]}), ("Add", ["a", "bias"], ["b"], {}),
         ("Concat", ["a", "b"], ["y"], {"axis": 1})],
        {"w": KERNEL, "bias": numbers(2, 1, 1)}, (1, 3, 4, 5), 13,
    ),
}  # fmt: skip
OLD_NODES, OLD_WEIGHTS, *_ = FORMS["opset 6: attributes in the place of inputs, and axes of a broadcast"]
MODERN = (
    [
        OLD_NODES[0],
        ("Add", ["a", "bias"], ["b"], {}),
        ("Clip", ["b", "low", "high"], ["d"], {}),
        ("Pad", ["d", "pads"], ["e"], {}),
        OLD_NODES[5],
        ("Squeeze", ["f", "axes"], ["y"], {}),
    ],
    OLD_WEIGHTS
    | {"bias": OLD_WEIGHTS["bias"].reshape(2, 1, 1), "low": np.float32(0), "high": np.float32(6)}
    | {"pads": np.array([0, 0, 1, 0, 0, 0, 0, 1]), "axes": np.array([2, 3])},
)


TORCH_03 = (  # with the attributes of Caffe2, which later opsets lack
    [("Conv", ["x", "w", "h"], ["a"], {"pads": [1, 1, 1, 1]}),
     ("BatchNormalization", ["a", "g", "h", "h", "v"], ["b"], {"is_test": 1, "consumed_inputs": [0] * 5, "spatial": 1}),
     ("PRelu", ["b", "slope"], ["c"], {}), ("Dropout", ["c"], ["d", "mask"], {"is_test": 1}),
     ("MaxPool", ["d"], ["e"], {"kernel_shape": [2, 2], "strides": [2, 2]}), ("Flatten", ["e"], ["f"], {}),
     ("Gemm", ["f", "m", "n"], ["y"], {"transB": 1, "broadcast": 1})],
    {"w": KERNEL, "g": numbers(2), "h": numbers(2), "v": np.float32([0.5, 2]), "slope": numbers(2)}
    | {"m": numbers(3, 8), "n": numbers(3)},
)  # fmt: skip


@pytest.mark.parametrize("opset", range(6, 23))
def test_one_network_at_every_opset(tmp_path, opset):
    """With the weights among the inputs too, as up to IR version 3, and judged by ONNX Runtime at opset 13."""
    nodes, weights = TORCH_03
    newer = [(kind, inputs, outputs[:1], {name: value for name, value in more.items()
              if name not in ("is_test", "consumed_inputs", "spatial", "broadcast")})
             for kind, inputs, outputs, more in nodes]  # fmt: skip
    modern = weights | {"slope": weights["slope"].reshape(2, 1, 1)}
    onnx.save(graph_of(newer, modern, opset=13), tmp_path / "modern.onnx")
    model = graph_of(*(TORCH_03 if opset == 6 else (newer, modern)), opset=opset)
    for name, array in weights.items():
        model.graph.input.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, array.shape))
    onnx.save(model, tmp_path / "a.onnx")
    x = numbers(1, 3, 4, 5)
    agree(from_onnx(tmp_path / "a.onnx"), x.transpose(0, 2, 3, 1), run(tmp_path / "modern.onnx", x))


@pytest.fixture(scope="module")
def of_tf2onnx(tmp_path_factory):
    """Return the folder with the files that `make_tf2onnx_files` has made."""
    folder = tmp_path_factory.mktemp("tf2onnx")
    with zipfile.ZipFile(Path(__file__).with_name("tf2onnx_files.zip")) as archive:
        archive.extractall(folder)
    return folder


@pytest.mark.parametrize("layout", ["", "_nchw"])
@pytest.mark.parametrize("opset", [8, 11, 17])
@pytest.mark.parametrize("net", ["row", "graph"])
def test_files_of_tf2onnx_have_the_outputs_that_keras_computes(of_tf2onnx, net, opset, layout):
    with np.load(of_tf2onnx / f"{net}.npz") as kept:
        agree(from_onnx(of_tf2onnx / f"{net}_{opset}{layout}.onnx"), kept["x"], kept["y"])


@pytest.mark.parametrize(("nodes", "weights", "shape", "opset"), FORMS.values(), ids=FORMS)
def test_forms_of_other_exporters(tmp_path, nodes, weights, shape, opset):
    """Judged by ONNX Runtime, which must get the form of opset 6 in a newer one."""
    model = graph_of(nodes, weights, shape, opset=opset)
    onnx.save(model, tmp_path / "a.onnx")
    x = numbers(*shape)
    if opset < 7:
        onnx.save(graph_of(*MODERN, shape), tmp_path / "modern.onnx")
    wanted = run(tmp_path / ("a.onnx" if opset > 6 else "modern.onnx"), x)
    here = x.transpose(0, 2, 3, 1) if x.ndim == 4 and shape[3] != 3 else x
    agree(from_onnx(tmp_path / "a.onnx"), here, wanted)


def test_a_missed_permutation_is_caught(tmp_path, monkeypatch):
    """Were the rows behind a Flatten of NCHW left as they are, the outputs would be far apart."""
    from allconv.interop import onnx_weights

    nodes, weights, shape, opset = FORMS["CNTK: weights reshaped in the graph, the bias as (C, 1, 1)"]
    onnx.save(graph_of(nodes, weights, shape, opset=opset), tmp_path / "a.onnx")
    x = numbers(*shape)
    monkeypatch.setattr(onnx_weights, "from_channels_first", lambda array, channels: array)
    assert np.abs(from_onnx(tmp_path / "a.onnx")(x.transpose(0, 2, 3, 1)) - run(tmp_path / "a.onnx", x)).max() > 0.1
