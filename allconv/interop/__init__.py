"""In and out: weights of other frameworks.

- `safetensors`: the exchange format of weights (`save_safetensors`, `load_safetensors`)
- `torch_file`: files of PyTorch (`load_torch`); `torch_pickle`: the pickle in them, without code
- `assigning`: arrays put into a model (`assign`); `matching`: which goes where; `flattening`: rows behind Flatten
- `onnx_writing`: ONNX files (`to_onnx`); `onnx_layers`: the nodes of each layer; `onnx_graph`: what is being written
- `files`: how every file from elsewhere is opened, and how its errors are told
"""

from allconv.interop.assigning import Assignment, assign
from allconv.interop.onnx_writing import to_onnx
from allconv.interop.safetensors import load_safetensors, save_safetensors
from allconv.interop.torch_file import load_torch

__all__ = ["Assignment", "assign", "load_safetensors", "load_torch", "save_safetensors", "to_onnx"]
