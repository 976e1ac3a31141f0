"""What is written of an ONNX graph: nodes, weights, and the names between them."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from allconv.parameter import Parameter
from allconv.typing import Array


def onnx_package() -> Any:
    """Return the package onnx; ImportError names the extra where it is missing."""
    try:
        import onnx
        import onnx.checker
        import onnx.helper
        import onnx.numpy_helper
    except ImportError as error:
        raise ImportError(f"ONNX needs the extra 'onnx', pip install 'allconv[onnx]': {error}") from error
    return onnx


@dataclass(frozen=True)
class Value:
    """An array in the graph.

    Attributes
    ----------
    name : str
        Its name.
    shape : tuple of int
        The shape of an example in this library, (H, W, C) for an image. The graph has images as NCHW.
    """

    name: str
    shape: tuple[int, ...]


@dataclass
class Graph:
    """Nodes and weights, in the order in which they were added."""

    onnx: Any
    opset: int
    path: str = ""  # The layer at this path is being written.
    nodes: list[Any] = field(default_factory=list)
    weights: dict[str, Any] = field(default_factory=dict)

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output, and return the output's name."""
        name = f"{self.path or 'model'}/{operator}_{len(self.nodes)}"
        node = self.onnx.helper.make_node(operator, list(inputs), [name], name=name, **attributes)
        self.nodes.append(node)
        return name

    def weight(self, parameter: Parameter, array: Array | None = None) -> str:
        """Add a parameter, as `array` where the graph has it in another layout, and return its name."""
        name = parameter.name or "parameter"
        array = parameter.value if array is None else array
        if name in self.weights and tuple(self.weights[name].dims) != array.shape:
            name = f"{self.path}/{name}"  # a shared layer that stands before images and before rows
        self.weights[name] = self.onnx.numpy_helper.from_array(np.ascontiguousarray(array, np.float32), name)
        return name

    def constant(self, value: Any, dtype: str = "float32") -> str:
        """Add a constant, and return its name."""
        name = f"constant_{len(self.weights)}"
        self.weights[name] = self.onnx.numpy_helper.from_array(np.asarray(value, dtype), name)
        return name
