"""A model of this library as an ONNX file."""

from pathlib import Path

from allconv.checkpoint.atomic import atomic_write
from allconv.interop.onnx_graph import Graph, Value, onnx_package
from allconv.interop.onnx_layers import TO_NCHW, TO_NHWC, add_layer
from allconv.layers.base import Layer
from allconv.layers.shapes import check_shape
from allconv.validation import check_choice, check_instance, check_int, check_path

OLDEST, NEWEST = 13, 22  # the opsets between which the operators in use mean what they are written for


def to_onnx(
    model: Layer, path: str | Path, input_shape: tuple[int, ...], *, layout: str = "NHWC", opset: int = 17
) -> None:
    """Write `model` to an ONNX file, which predicts what the model predicts.

    Parameters
    ----------
    model : Layer
        The network, composed of the layers of this library. It is written as it predicts: Dropout is left out, and
        BatchNorm uses its running statistics. Weights are written as float32.
    path : path
        The file appears whole or not at all, and replaces one that is there.
    input_shape : tuple of int
        The shape of an example, without the batch axis: (H, W, C) or (D,). The file has this shape fixed, and the size
        of a batch free. It is (H, W, C) for both layouts.
    layout : {"NHWC", "NCHW"}, default "NHWC"
        How images of the file's input and output lie.
    opset : int, default 17
        The version of ONNX' operators, 13 to 22. LayerNorm needs 17.

    Raises
    ------
    ImportError
        The package onnx is missing; the message names the extra.
    TypeError, ValueError
        An argument is out of its range, `input_shape` does not fit the model, or ONNX has no operator for a layer,
        which the message names.
    OSError
        The file could not be written; `path` is as it was.

    Examples
    --------
    >>> import tempfile
    >>> from allconv.models import lenet
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     to_onnx(lenet(), f"{folder}/lenet.onnx", (28, 28, 1))  # doctest: +SKIP
    """
    check_instance("model", model, Layer)
    path = check_path("path", path)
    shape = check_shape(input_shape, "input_shape")
    check_choice("layout", layout, ("NHWC", "NCHW"))
    if not OLDEST <= check_int("opset", opset) <= NEWEST:
        raise ValueError(f"opset must be from {OLDEST} to {NEWEST}, got {opset}")
    onnx = onnx_package()
    graph = Graph(onnx, opset)
    list(model.named_parameters())  # so that each parameter has its name
    has_images = len(shape) == 3
    name = "input"
    if has_images and layout == "NHWC":
        name = graph.add("Transpose", name, perm=TO_NCHW)
    output = add_layer(graph, model, "", Value(name, shape))
    if len(output.shape) == 3 and layout == "NHWC":
        graph.add("Transpose", output.name, perm=TO_NHWC)
    else:
        graph.add("Identity", output.name)
    graph.nodes[-1].output[0] = "output"
    floats = onnx.TensorProto.FLOAT
    ends = [
        onnx.helper.make_tensor_value_info(end, floats, ["N", *_as(layout, lengths)])
        for end, lengths in (("input", shape), ("output", output.shape))
    ]
    body = onnx.helper.make_graph(graph.nodes, "allconv", ends[:1], ends[1:], list(graph.weights.values()))
    opsets = [onnx.helper.make_opsetid("", opset)]
    version = onnx.helper.find_min_ir_version_for(opsets)
    written = onnx.helper.make_model(body, opset_imports=opsets, ir_version=version, producer_name="allconv")
    onnx.checker.check_model(written, full_check=True)
    with atomic_write(path) as file:
        file.write(written.SerializeToString())


def _as(layout: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of an example in a layout."""
    return (shape[2], *shape[:2]) if layout == "NCHW" and len(shape) == 3 else shape
