"""ONNX files that are damaged, hostile or beyond the layers here: refused by name, reason and within bounds."""

import numpy as np
import pytest
from helpers.onnx_files import graph_of, numbers
from helpers.refusal import check_refusal

from allconv.interop import from_onnx

onnx = pytest.importorskip("onnx")
for name in ("onnx.reference.ops._op_list", "scipy.special"):
    pytest.importorskip(name)  # loaded now, since a refusal must not import anything

KERNEL, MATRIX = numbers(2, 3, 3, 3), numbers(2, 6)


def external(location, offset="0"):
    """Return a graph whose weight lies in another file."""
    model = graph_of([("MatMul", ["x", "w"], ["y"], {})], {"w": MATRIX.T}, (1, 6))
    (tensor,) = model.graph.initializer
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset)):
        tensor.external_data.add(key=key, value=value)
    return model


def lying(**fields):
    """Return a graph whose weight has other dims than numbers."""
    model = graph_of([("MatMul", ["x", "w"], ["y"], {})], {"w": MATRIX.T}, (1, 6))
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend(fields["dims"])
    return model


def whole_numbers():
    """Return a graph whose input has a dtype that no layer takes."""
    model = graph_of([("Relu", ["x"], ["y"], {})], {}, (1, 3, 4, 5))
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    return model


X = ["x"]
GROUPS = {"num_groups": 3}
REFUSED = {
    "an operator": (
        lambda: graph_of([("LSTM", ["x", "w"], ["y"], {"hidden_size": 2})], {"w": KERNEL}),
        "node 'LSTM0' (LSTM) is an operator",
    ),
    "a curve": (
        lambda: graph_of([("Exp", X, ["a"], {}), ("Flatten", ["a"], ["y"], {})], {}),
        "node 'Exp0' (Exp) begins a function of elements that no layer here computes",
    ),
    **{
        f"{operator} with {limits}": (
            lambda operator=operator, limits=limits: graph_of(
                [("Relu", X, ["a"], {}), (operator, ["a", *limits], ["b"], {}), ("Relu", ["b"], ["y"], {})],
                {name: np.float32(limit) for name, limit in limits.items()},
            ),
            f"node '{operator}1' ({operator}) begins a function of elements that no layer here computes",
        )
        for operator, limits in [
            ("Clip", {"low": 0, "high": 20}),
            ("Clip", {"low": -10, "high": 10}),
            ("Min", {"high": 100}),
            ("Min", {"high": 1e30}),
            ("Max", {"low": 12}),
        ]
    },
    "a curve in a circle": (
        lambda: graph_of([("Exp", X, ["y"], {}), ("Exp", ["y"], ["y"], {})], {}),
        "node 'Exp1' (Exp) begins a function",
    ),
    "a curve that overflows": (
        lambda: graph_of(
            [("Neg", X, ["a"], {}), ("Exp", ["a"], ["b"], {}), ("Clip", ["b", "low"], ["y"], {})],
            {"low": np.float32(0)},
        ),
        "node 'Neg0' (Neg) begins a function",
    ),
    "a domain": (
        lambda: graph_of([("Relu", X, ["y"], {"domain": "com.microsoft"})], {}),
        "is of the domain 'com.microsoft'",
    ),
    "a circle": (
        lambda: graph_of([("Add", ["x", "b"], ["a"], {}), ("Relu", ["a"], ["b"], {})], {}, outputs=["b"]),
        "takes 'b', which is missing",
    ),
    "a missing weight": (
        lambda: graph_of([("Conv", ["x", "w"], ["y"], {})], {}),
        "node 'Conv0' (Conv) takes 'w', which is missing",
    ),
    "weights of another shape": (
        lambda: graph_of([("Conv", ["x", "w"], ["y"], {})], {"w": numbers(2, 4, 3, 3)}),
        "node 'Conv0' (Conv): ",
    ),
    "a weight that lies": (lambda: lying(dims=[1 << 40, 2]), "weight 'w' "),
    "a weight outside": (lambda: external("../secret"), "weight 'w' lies in '../secret', which is no plain file name"),
    "a weight at an absolute path": (lambda: external("/etc/passwd"), "weight 'w' lies in '/etc/passwd', which is no"),
    "a link that leads out": (lambda: external("link"), "weight 'w' lies in 'link', which is no plain file name"),
    "a pointer of Git LFS beside": (lambda: external("pointer"), "is a pointer of Git LFS"),
    "an offset outside": (lambda: external("beside", "64"), "weight 'w' "),
    "a bomb": (
        lambda: graph_of(
            [("ConstantOfShape", ["s"], ["a"], {}), ("Add", ["x", "a"], ["y"], {})], {"s": np.array([1 << 20, 1 << 20])}
        ),
        "(ConstantOfShape) is an operator",
    ),
    "two branches that share": (
        lambda: graph_of(
            [
                ("Relu", X, ["a"], {}),
                ("Tanh", ["a"], ["b"], {}),
                ("Add", ["a", "x"], ["c"], {}),
                ("Add", ["b", "c"], ["y"], {}),
            ],
            {},
        ),
        "node 'Relu0' is part of two branches",
    ),
    "groups of NHWC images": (
        lambda: graph_of(
            [("Transpose", X, ["a"], {"perm": [0, 2, 3, 1]}), ("GroupNormalization", ["a", "g", "g"], ["y"], GROUPS)],
            {"g": numbers(3)},
            shape=(1, 3, 3, 5),
            opset=21,
        ),
        "node 'GroupNormalization1' (GroupNormalization) has other channels, or rows",
    ),
    "groups of a flattened image": (
        lambda: graph_of(
            [("Flatten", X, ["a"], {}), ("GroupNormalization", ["a", "g", "g"], ["y"], GROUPS)],
            {"g": numbers(60)},
            opset=21,
        ),
        "node 'GroupNormalization1' (GroupNormalization) has other channels, or rows",
    ),
    "groups of signals": (
        lambda: graph_of([("GroupNormalization", ["x", "g", "g"], ["y"], GROUPS)], {"g": numbers(3)}, (1, 3, 3)),
        "node 'GroupNormalization0' (GroupNormalization) has other channels, or rows",
    ),
    "numbers of other groups": (
        lambda: graph_of([("GroupNormalization", ["x", "g", "g"], ["y"], GROUPS)], {"g": numbers(2)}, (1, 6, 3, 5)),
        "has numbers of shape (2,), not (3,) or (6,)",
    ),
    "a flattened image in groups": (
        lambda: graph_of(
            [
                ("Flatten", X, ["a"], {}),
                ("Reshape", ["a", "s"], ["b"], {}),
                ("InstanceNormalization", ["b", "g", "g"], ["y"], {}),
            ],
            {"s": np.array([0, 6, -1]), "g": numbers(6)},
        ),
        "node 'Reshape1' (Reshape) has a new shape (1, 6, 10)",
    ),
    "numbers cut off": (
        lambda: graph_of([("Cast", X, ["a"], {"to": 7}), ("Cast", ["a"], ["y"], {"to": 1})], {}),
        "node 'Cast0' (Cast) has the type 7, which is none of floating numbers",
    ),
    "a bias by example": (
        lambda: graph_of([("Gemm", ["x", "w", "b"], ["y"], {})], {"w": MATRIX.T, "b": numbers(2, 1)}, (2, 6)),
        "node 'Gemm0' (Gemm) has a bias of shape (2, 1)",
    ),
    "a sum of shapes": (
        lambda: graph_of([("GlobalAveragePool", X, ["a"], {}), ("Add", ["a", "x"], ["y"], {})], {}),
        "node 'Add1' (Add) has summands",
    ),
    "two outputs": (
        lambda: graph_of([("Relu", X, ["y"], {}), ("Tanh", X, ["z"], {})], {}, outputs=["y", "z"]),
        "has 2 outputs",
    ),
    "open sizes": (
        lambda: graph_of([("Relu", X, ["y"], {})], {}, shape=(1, 3, None, None)),
        "leaves sizes open, (0, 0, 3); state input_shape",
    ),
    "a flattened image as the output": (
        lambda: graph_of([("Flatten", X, ["y"], {})], {}),
        "returns a flattened NCHW image as 'y'",
    ),
    "constants without end": (
        lambda: graph_of(
            [("Neg", ["w" if k == 0 else f"w{k}"], [f"w{k + 1}"], {}) for k in range(1001)], {"w": MATRIX}
        ),
        "is one of more than 1000 that compute constants",
    ),
    "joins without end": (
        lambda: graph_of(
            [("Sigmoid", [f"a{k}" if k else "x"], [f"a{k + 1}"], {}) for k in range(2000)]
            + [("Add", ["a2000", f"b{k}" if k else "x"], [f"b{k + 1}"], {}) for k in range(2000)],
            {},
            outputs=["b2000"],
        ),
        "more than 1000000 steps",
    ),
    "whole numbers": (whole_numbers, "of shape (1, 3, 4, 5) and type 7 is no batch of floating numbers"),
    "one dimension": (lambda: graph_of([("Relu", X, ["y"], {})], {}, shape=(3,)), "is no batch of floating numbers"),
}


@pytest.mark.parametrize(("make", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_is_refused_by_name(tmp_path, make, reason):
    (tmp_path / "beside").write_bytes(bytes(60))
    (tmp_path / "pointer").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 48\n")
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "a.onnx").write_bytes(make().SerializeToString())
    check_refusal(from_onnx, tmp_path / "a.onnx", reason)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "a.onnx"
    for content, reason in [
        (b"", "holds no ONNX graph"),
        (b"\x7fELF" * 9, "is no message of protobuf"),
        (b"\x3a\xff\xff\x03" * 9, "a field leads out of it"),
        (b"\x08" + b"\xff" * 9, "a number has no end"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS"),
    ]:
        path.write_bytes(content)
        check_refusal(from_onnx, path, reason)


def test_weights_beside_the_file_and_open_sizes(tmp_path):
    (tmp_path / "beside").write_bytes(bytes(8) + MATRIX.T.tobytes())
    onnx.save(external("beside", "8"), tmp_path / "a.onnx")
    x = numbers(2, 6)
    np.testing.assert_allclose(from_onnx(tmp_path / "a.onnx")(x), x @ MATRIX.T, atol=1e-6)
    onnx.save(graph_of([("Relu", ["x"], ["y"], {})], {}, shape=(None, 3, None, None)), tmp_path / "b.onnx")
    assert from_onnx(tmp_path / "b.onnx", input_shape=(5, 6, 3))(numbers(2, 4, 4, 3)).shape == (2, 4, 4, 3)
