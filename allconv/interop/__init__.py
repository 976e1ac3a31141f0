"""In and out: weights and models of other frameworks.

- `safetensors`: the exchange format of weights (`save_safetensors`, `load_safetensors`)
- `torch_file`: files of PyTorch (`load_torch`); `torch_pickle`: the pickle in them, without code
- `assigning`: arrays put into a model (`assign`); `matching`: which goes where; `flattening`: rows behind Flatten
- `onnx_writing`: ONNX files (`to_onnx`); `onnx_layers`: the nodes of each layer; `onnx_graph`: what is being written
- `onnx_reading`: models of ONNX files (`from_onnx`); `onnx_operators`: the layers of each operator; `onnx_reader`:
  what is known while a graph is read; `onnx_constants`: weights and folding; `curves`: activations by their values
- `keras_file`: weights of Keras (`load_keras`); `keras_reading`: models (`from_keras`); `keras_layers`: each layer
- `nesting`: a graph of layers as Sequential, Skip and Branches; `building`: layers with given weights
- `files`: how every file from elsewhere is opened, and how its errors are told
"""

from allconv.interop.assigning import Assignment, assign
from allconv.interop.keras_file import load_keras
from allconv.interop.keras_reading import from_keras
from allconv.interop.onnx_reading import from_onnx
from allconv.interop.onnx_writing import to_onnx
from allconv.interop.safetensors import load_safetensors, save_safetensors
from allconv.interop.torch_file import load_torch

__all__ = [
    "Assignment",
    "assign",
    "from_keras",
    "from_onnx",
    "load_keras",
    "load_safetensors",
    "load_torch",
    "save_safetensors",
    "to_onnx",
]
