"""A model of ours with its weights for PyTorch, translated layer by layer, and for ONNX Runtime, as an ONNX file.

PyTorch pads symmetrically. At stride 2, "same" padding adds a row at the bottom and a column at the right alone, where
its ``padding=1`` has the row at the top and the column at the left in use. The two are mirror images. So where a
network halves its images by "same" padding, images and kernels are mirrored, and PyTorch computes the same numbers
without a padding layer.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import allconv as ac
from allconv.functional.padding import resolve_padding
from allconv.typing import Array

Shape = tuple[int, ...]


def nchw(images: Array, mirrored: bool) -> Array:
    """Return images (N, H, W, C) as (N, C, H, W), and vectors (N, D) unchanged."""
    if images.ndim != 4:
        return images
    return np.ascontiguousarray((images[:, ::-1, ::-1] if mirrored else images).transpose(0, 3, 1, 2))


def to_torch(model: ac.Layer, in_shape: Shape, mirrored: bool) -> Any:
    """Return a torch.nn.Module that computes what `model` does, for the images of `nchw`."""
    return _Translation(mirrored).module(model, in_shape)


class _Translation:
    """The translation of one model; it remembers the images that a Flatten has turned into vectors."""

    def __init__(self, mirrored: bool) -> None:
        self.mirrored = mirrored
        self.flat_from: Shape | None = None

    def module(self, layer: ac.Layer, shape: Shape) -> Any:
        """Return the module of a layer whose inputs have this shape."""
        from torch import nn

        match layer:
            case ac.Sequential():
                modules = []
                for part in layer:
                    modules.append(self.module(part, shape))
                    shape = part.output_shape(shape)
                return nn.Sequential(*modules)
            case ac.Skip():
                shortcut = nn.Identity() if layer.shortcut is None else self.module(layer.shortcut, shape)
                return _sum_of(self.module(layer.body, shape), shortcut)
            case ac.Conv2D():
                return self._conv(layer, shape)
            case ac.Linear():
                return self._linear(layer)
            case ac.BatchNorm():
                # Both start from a scale of 1 and a shift of 0.
                return nn.BatchNorm2d(layer.channels, layer.eps, layer.momentum)
            case ac.MaxPool2D():
                return nn.MaxPool2d(layer.kernel_size, layer.stride, _larger_pads(layer, shape))
            case ac.MeanPool2D():
                return nn.AvgPool2d(layer.kernel_size, layer.stride)
            case ac.GlobalAveragePool2D():
                return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
            case ac.Flatten():
                self.flat_from = shape if len(shape) == 3 else None
                return nn.Flatten()
            case ac.ReLU():
                return nn.ReLU()
            case ac.ELU():
                return nn.ELU(layer.alpha)
            case ac.GELU():
                return nn.GELU()
        raise NotImplementedError(f"no translation of {layer!r}")

    def _conv(self, layer: ac.Conv2D, shape: Shape) -> Any:
        from torch import nn

        module = nn.Conv2d(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,
            layer.stride,
            _larger_pads(layer, shape),
            layer.dilation,
            layer.groups,
            bias=layer.bias is not None,
        )
        kernel = layer.weight.value[::-1, ::-1] if self.mirrored else layer.weight.value
        return _with_weights(module, kernel.transpose(3, 2, 0, 1), layer.bias)

    def _linear(self, layer: ac.Linear) -> Any:
        from torch import nn

        weight = layer.weight.value
        if self.flat_from is not None:
            by_pixel = weight.reshape(*self.flat_from, -1)
            by_pixel = by_pixel[::-1, ::-1] if self.mirrored else by_pixel
            weight, self.flat_from = by_pixel.transpose(2, 0, 1, 3).reshape(weight.shape), None
        return _with_weights(
            nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None), weight.T, layer.bias
        )


def _with_weights(module: Any, weight: Array, bias: ac.Parameter | None) -> Any:
    import torch

    module.weight = torch.nn.Parameter(torch.tensor(np.ascontiguousarray(weight)))
    if bias is not None:
        module.bias = torch.nn.Parameter(torch.tensor(bias.value))
    return module


def _sum_of(body: Any, shortcut: Any) -> Any:
    """Return the module x -> shortcut(x) + body(x)."""
    from torch import nn

    class Sum(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.body, self.shortcut = body, shortcut

        def forward(self, x: Any) -> Any:
            return self.shortcut(x) + self.body(x)

    return Sum()


def _larger_pads(layer: ac.Conv2D | ac.MaxPool2D, shape: Shape) -> tuple[int, int]:
    """Return the symmetric padding that does the same in the mirror image, where no window reads the last rows."""
    pads = resolve_padding(layer.padding, (shape[0], shape[1]), layer.kernel_size, layer.stride)
    return max(pads[0]), max(pads[1])


def onnx_runtime(model: ac.Sequential, in_shape: Shape, threads: int) -> Callable[[Array], Array]:
    """Return ONNX Runtime's prediction for images (N, C, H, W), which need no mirror: ONNX pads as we do."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        ac.interop.to_onnx(model, path, in_shape, layout="NCHW")
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def predict(images: Array) -> Array:
        scores: Array = session.run(None, {"input": images})[0]
        return scores

    return predict
