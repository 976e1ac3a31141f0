"""What is constant in an ONNX graph: its weights, in the file or beside it, and what operators make of them."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from allconv.interop.files import reading
from allconv.interop.onnx_graph import onnx_package
from allconv.typing import Array

_SMALL = 4096  # bounds the elements of a shape and the like, which operators of other kinds may make
# Operators whose result has no more elements than the largest of their inputs, which is checked for the second row.
_RESHAPING = {"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Cast", "Identity", "Flatten"}
_ELEMENTWISE = {"Add", "Sub", "Mul", "Div", "Sqrt", "Neg", "Reciprocal", "Pow"}
# Operators by which exporters compute a shape or a padding.
_OF_SHAPES = {
    *("Shape", "Gather", "Concat", "Slice", "ConstantOfShape", "ReduceProd", "Floor", "Ceil", "Equal", "Where", "Mod"),
    *("Size", "Min", "Max", "Split"),
}


def array_of(tensor: Any, folder: Path) -> Array:
    """Return a TensorProto as an array; ValueError names it where it lies about its size or leads out of `folder`."""
    onnx = onnx_package()
    try:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            return np.asarray(onnx.numpy_helper.to_array(tensor))
        return _outside(tensor, {entry.key: entry.value for entry in tensor.external_data}, folder)
    except OSError:
        raise
    except Exception as error:
        raise ValueError(f"weight {tensor.name!r} {error}") from error


def _outside(tensor: Any, entries: dict[str, str], folder: Path) -> Array:
    """Return a TensorProto whose numbers lie in another file of the same folder."""
    dtype = np.dtype(onnx_package().helper.tensor_dtype_to_np_dtype(tensor.data_type))
    needed, offset = math.prod(tensor.dims) * dtype.itemsize, int(entries.get("offset", 0))
    place = folder / entries["location"]
    if Path(entries["location"]).name != entries["location"] or place.is_symlink():
        raise ValueError(f"lies in {entries['location']!r}, which is no plain file name")
    with reading(place) as (file, size):
        if min(tensor.dims, default=0) < 0 or not 0 <= offset <= size - needed:
            raise ValueError(f"declares {needed} bytes at {offset}, and the file has {size}")
        file.seek(offset)
        data = np.frombuffer(file.read(needed), dtype.newbyteorder("<"))
    return data.reshape(tuple(tensor.dims)).astype(dtype)


def folded(node: Any, inputs: list[Array | None], opset: int) -> list[Array] | None:
    """Return the outputs of a node whose inputs are all constant, or None if it is not of a kind that is folded."""
    given = [array for array in inputs if array is not None]
    largest = max([array.size for array in given], default=0)
    if node.op_type in _ELEMENTWISE:
        if math.prod(np.broadcast_shapes(*(array.shape for array in given))) > max(largest, _SMALL):
            return None
    elif node.op_type in _OF_SHAPES:
        asked = math.prod(given[0].ravel().tolist()) if node.op_type == "ConstantOfShape" else 0
        if (largest > _SMALL and node.op_type != "Shape") or asked > _SMALL:
            return None
    elif node.op_type not in _RESHAPING:
        return None
    import onnx.reference

    make = onnx.helper
    feeds = {name: array for name, array in zip(node.input, inputs, strict=True) if array is not None}
    ends = [
        make.make_tensor_value_info(name, make.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in feeds.items()
    ]
    outputs = [make.make_tensor_value_info(name, onnx.TensorProto.UNDEFINED, None) for name in node.output]
    graph = make.make_graph([node], "constant", ends, outputs)
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", opset)])
    return [np.asarray(output) for output in onnx.reference.ReferenceEvaluator(model).run(None, feeds)]
