"""An ONNX file as a model of this library."""

from pathlib import Path

from allconv.interop.files import reading
from allconv.interop.nesting import Node, nest
from allconv.interop.onnx_graph import onnx_package
from allconv.interop.onnx_operators import read_node
from allconv.interop.onnx_reader import FLOATING, NCHW, Act, Reader
from allconv.interop.protobuf import check_fields
from allconv.layers.sequential import Sequential
from allconv.layers.shapes import check_shape
from allconv.validation import check_path

_OF_NCHW = {
    *("Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool", "BatchNormalization"),
    *("InstanceNormalization", "GroupNormalization", "Resize", "Upsample"),
}
_FIELDS = 200_000  # bounds the fields of a file, and with them the memory: an empty one takes 200 bytes when parsed
_NODES = 8_000  # bounds the nodes of a graph, and with them the time
_INPUTS = 40_000  # bounds what all nodes together take
_SIZE = 1 << 31  # bounds a file, in bytes: protobuf holds no more


def from_onnx(path: str | Path, *, input_shape: tuple[int, ...] | None = None) -> Sequential:
    """Return the model that an ONNX file describes, with its weights as trainable parameters.

    Parameters
    ----------
    path : path
        The file. Weights that it keeps in other files must lie in the same folder.
    input_shape : tuple of int, optional
        The shape of an example as this library has it, (H, W, C) or (D,). It is needed if the file leaves the height
        or the width of its images open.

    Returns
    -------
    Sequential
        The network, which takes NHWC batches and returns images as NHWC too, however they lie in the file. What lies
        side by side in the graph becomes `Skip` and `Branches`. Numbers by channel become part of the layer before,
        or a `BatchNorm`.

    Raises
    ------
    ImportError
        The package onnx is missing; the message names the extra.
    TypeError
        An argument is of another type.
    ValueError
        The file is damaged, or its graph has an operator, or a form of one, that no layer here computes; the message
        names file, node and reason. Nothing in the file is executed.
    OSError
        The file, or another with its weights, cannot be read.

    Notes
    -----
    The file of an export is for prediction. Dropout is left out of most, and BatchNorm is often folded into the
    convolution before.

    Examples
    --------
    >>> import tempfile
    >>> from allconv.interop import to_onnx
    >>> from allconv.models import lenet
    >>> with tempfile.TemporaryDirectory() as folder:  # doctest: +SKIP
    ...     to_onnx(lenet(), f"{folder}/lenet.onnx", (28, 28, 1))
    ...     model = from_onnx(f"{folder}/lenet.onnx")
    """
    path = check_path("path", path)
    shape = None if input_shape is None else check_shape(input_shape, "input_shape")
    onnx = onnx_package()
    with reading(path) as (file, size):
        if size >= _SIZE:
            raise ValueError(f"has {size} bytes, more than an ONNX file can have")
        check_fields(file, size, onnx.ModelProto.DESCRIPTOR, _FIELDS)
        model = onnx.load_model_from_string(file.read())
        if not 0 < len(model.graph.node) <= _NODES:
            raise ValueError(f"holds no ONNX graph of 1 to {_NODES} nodes, but one of {len(model.graph.node)}")
        reader = Reader(model, path.parent)
        if reader.uses.total() > _INPUTS:
            raise ValueError(f"has nodes that take more than {_INPUTS} inputs together")
        _input(reader, shape)
        reader.nodes["start"] = Node("input", [])
        if len(model.graph.output) != 1:
            raise ValueError(f"has {len(model.graph.output)} outputs, where a model here has one")
        for node in model.graph.node:
            reader.node = node
            try:
                read_node(reader)
            except OSError:
                raise
            except Exception as error:
                named = reader.describe() in str(error)
                raise ValueError(str(error) if named else f"{reader.describe()}: {error!r}") from error
        end = reader.act(reader.value(model.graph.output[0].name))
        if end.flattened > 1:
            raise ValueError(
                f"returns a flattened NCHW image as {model.graph.output[0].name!r}, whose order is another here"
            )
        return nest(reader.nodes, end.node)


def _input(reader: Reader, shape: tuple[int, ...] | None) -> str:
    """Set what the graph's input stands for, and return its name."""
    inputs = [value for value in reader.graph.input if value.name not in reader.weights]
    if len(inputs) != 1:
        raise ValueError(f"has {len(inputs)} inputs, where a model here has one")
    name = str(inputs[0].name)
    there = [item.dim_value if item.HasField("dim_value") else 0 for item in inputs[0].type.tensor_type.shape.dim]
    kind = inputs[0].type.tensor_type.elem_type
    if kind not in FLOATING or len(there) < 2:
        raise ValueError(f"input {name!r} of shape {tuple(there)} and type {kind} is no batch of floating numbers")
    is_nchw = len(there) == 4 and not _is_nhwc(reader, name, there)
    axes = NCHW if is_nchw else tuple(range(len(there)))
    here = [0] * len(there)
    for axis, length in zip(axes, there, strict=True):
        here[axis] = length
    if shape is not None:
        if len(shape) != len(here) - 1 or any(ours != n for ours, n in zip(shape, here[1:], strict=True) if n > 0):
            raise ValueError(f"input {name!r} is of shape {tuple(here[1:])}, not of input_shape {shape}")
        here[1:] = shape
    if min(here[1:]) < 1:
        raise ValueError(f"input {name!r} leaves sizes open, {tuple(here[1:])}; state input_shape")
    here[0] = max(here[0], 1)
    reader.values[name] = Act("start", tuple(here), axes)
    return name


def _is_nhwc(reader: Reader, name: str, there: list[int]) -> bool:
    """Tell whether images come as NHWC: the first operator that knows axes tells, or else the axis that is short."""
    for node in reader.graph.node:  # each after what it takes
        if name not in node.input:
            continue
        if node.op_type == "Transpose":
            return [list(item.ints) for item in node.attribute if item.name == "perm"] == [[0, 3, 1, 2]]
        if node.op_type in _OF_NCHW:
            return False
        name = node.output[0]
    return there[3] in (1, 3, 4) and there[1] not in (1, 3, 4)
