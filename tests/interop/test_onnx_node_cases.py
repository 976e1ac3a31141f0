"""ONNX' own node tests of the operators that `from_onnx` reads: each passes, or is refused for a reason below."""

import re
import warnings
from collections import Counter, defaultdict

import numpy as np
import pytest

from allconv.interop import from_onnx
from allconv.interop.curves import BINARY, UNARY
from allconv.interop.onnx_operators import _READERS

onnx = pytest.importorskip("onnx")

# How many cases pass, by operator; of the others none but for the reasons that follow.
PASSED = {
    "AveragePool": 12, "BatchNormalization": 2, "Clip": 1, "Conv": 6, "ConvTranspose": 6, "Dropout": 5, "Elu": 2,
    "Gelu": 2, "Gemm": 8, "GlobalAveragePool": 2, "GlobalMaxPool": 2, "GroupNormalization": 2, "Identity": 1,
    "InstanceNormalization": 2, "LayerNormalization": 4, "LeakyRelu": 2, "LogSoftmax": 6, "MatMul": 1, "MaxPool": 12,
    "PRelu": 1, "Relu": 1, "Reshape": 1, "Resize": 2, "Sigmoid": 1, "Softmax": 6, "Tanh": 1, "Upsample": 1,
}  # fmt: skip
REASONS = re.compile(
    "is no batch of floating numbers"  # whole numbers, and arrays without a batch axis
    "|which layers here do not have|that no layer here computes"  # a form of the operator, or a function of elements
    "|works along other axes than those of images|works on channels in groups"  # one or three dimensions
    "|has a constant|in_shape must be|could not be broadcast|needs a constant"  # two arrays that differ in shape
    "|returns a flattened NCHW image"
)


def cases():
    """Yield (case, the batch, the output) for each node test of one node with a layer here."""
    from onnx.backend.test.loader import load_model_tests

    known = {*_READERS, *UNARY, *BINARY}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's, of cases that divide by zero on purpose
        for case in load_model_tests(kind="node"):
            nodes, ((inputs, outputs), *_) = case.model.graph.node, case.data_sets
            is_known = len(nodes) == 1 and not nodes[0].domain and nodes[0].op_type in known
            if is_known and all(isinstance(array, np.ndarray | np.generic) for array in inputs):
                yield case, map(np.asarray, inputs), outputs[0]


def test_every_case_passes_or_is_refused_for_a_reason(tmp_path):
    found, failed = defaultdict(Counter), []
    for case, (x, *rest), wanted in cases():
        graph = case.model.graph
        weights = [
            onnx.numpy_helper.from_array(array, end.name) for end, array in zip(graph.input[1:], rest, strict=True)
        ]
        del graph.input[1:], graph.output[1:]
        graph.initializer.extend(weights)
        onnx.save(case.model, tmp_path / "a.onnx")
        operator = graph.node[0].op_type
        try:
            model = from_onnx(tmp_path / "a.onnx")
        except ValueError as error:
            found[operator]["refused"] += 1
            failed += [] if REASONS.search(str(error)) else [f"{case.name}: {error}"]
            continue
        y = model(x.transpose(0, 2, 3, 1) if x.ndim == 4 else x)
        y = y.transpose(0, 3, 1, 2) if y.ndim == 4 else y
        if y.shape == wanted.shape and np.allclose(y, wanted, rtol=1e-3, atol=1e-5):
            found[operator]["passed"] += 1
        else:
            failed.append(f"{case.name}: another output")
    assert failed == []
    assert {operator: counts["passed"] for operator, counts in found.items() if counts["passed"]} == PASSED
