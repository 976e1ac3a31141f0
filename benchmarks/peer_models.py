"""A model of ours, translated layer by layer, with its weights, for PyTorch and ONNX Runtime.

PyTorch pads symmetrically. At stride 2, "same" padding adds a row at the bottom and a column at the right alone, where
its ``padding=1`` has the row at the top and the column at the left in use. The two are mirror images.
Images and kernels are therefore mirrored here, and the peers compute the same numbers without a padding layer.
"""

import io
from collections.abc import Callable
from typing import Any

import numpy as np

import allconv as ac
from allconv.functional.padding import resolve_padding
from allconv.typing import Array

Shape = tuple[int, ...]


def nchw(images: Array) -> Array:
    """Return images (N, H, W, C) mirrored, as (N, C, H, W); return vectors (N, D) unchanged."""
    return np.ascontiguousarray(images[:, ::-1, ::-1].transpose(0, 3, 1, 2)) if images.ndim == 4 else images


def to_torch(model: ac.Sequential, in_shape: Shape) -> Any:
    """Return a torch.nn.Sequential that computes what `model` does, for mirrored images."""
    import torch

    def tensor(array: Array) -> Any:
        return torch.nn.Parameter(torch.tensor(np.ascontiguousarray(array)))

    modules: list[Any] = []
    shape, flat_from = in_shape, None
    for layer in model:
        match layer:
            case ac.Conv2D():
                module = torch.nn.Conv2d(
                    layer.in_channels,
                    layer.out_channels,
                    layer.kernel_size,
                    layer.stride,
                    _larger_pads(layer, shape),
                    layer.dilation,
                    layer.groups,
                    bias=layer.bias is not None,
                )
                module.weight = tensor(layer.weight.value[::-1, ::-1].transpose(3, 2, 0, 1))
            case ac.Linear():
                module = torch.nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
                weight = layer.weight.value
                if flat_from is not None:
                    by_pixel = weight.reshape(*flat_from, -1)[::-1, ::-1].transpose(2, 0, 1, 3)
                    weight, flat_from = by_pixel.reshape(weight.shape), None
                module.weight = tensor(weight.T)
            case ac.MaxPool2D():
                module = torch.nn.MaxPool2d(layer.kernel_size, layer.stride, _larger_pads(layer, shape))
            case ac.MeanPool2D():
                module = torch.nn.AvgPool2d(layer.kernel_size, layer.stride)
            case ac.GlobalAveragePool2D():
                module = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
            case ac.Flatten():
                module, flat_from = torch.nn.Flatten(), shape if len(shape) == 3 else None
            case ac.ReLU():
                module = torch.nn.ReLU()
            case ac.ELU():
                module = torch.nn.ELU(layer.alpha)
            case _:
                raise NotImplementedError(f"no translation of {layer!r}")
        if isinstance(layer, ac.Conv2D | ac.Linear) and layer.bias is not None:
            module.bias = tensor(layer.bias.value)
        modules.append(module)
        shape = layer.output_shape(shape)
    return torch.nn.Sequential(*modules)


def _larger_pads(layer: ac.Conv2D | ac.MaxPool2D, shape: Shape) -> tuple[int, int]:
    """Return the symmetric padding that does the same in the mirror image, where no window reads the last rows."""
    pads = resolve_padding(layer.padding, (shape[0], shape[1]), layer.kernel_size, layer.stride)
    return max(pads[0]), max(pads[1])


def onnx_runtime(model: ac.Sequential, in_shape: Shape, threads: int) -> Callable[[Array], Array]:
    """Return ONNX Runtime's prediction for the images of `nchw`; PyTorch exports the model to ONNX."""
    import onnxruntime
    import torch

    file = io.BytesIO()
    # PyTorch's newer exporter, with dynamo=True, would need another package.
    example = torch.tensor(nchw(np.zeros((1, *in_shape), np.float32)))
    axes = {"images": {0: "N"}}
    torch.onnx.export(
        to_torch(model, in_shape), (example,), file, input_names=["images"], dynamic_axes=axes, dynamo=False
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])

    def predict(images: Array) -> Array:
        scores: Array = session.run(None, {"images": images})[0]
        return scores

    return predict
