"""The layers of a fused copy: frozen parameters, which BatchNorms were folded into, and weights transformed once."""

from collections.abc import Callable
from typing import Any

import numpy as np

from allconv.functional import conv, winograd
from allconv.functional.choice import choose
from allconv.functional.winograd.tiling import applies
from allconv.layers.base import Layer
from allconv.layers.conv import Conv2D
from allconv.layers.joining import Overwriting
from allconv.layers.linear import Linear
from allconv.parameter import Parameter
from allconv.typing import Array, Cache
from allconv.validation import check_images

_COMPUTED = ("transformed", "_divided")  # the attributes that follow from the weight


class FusedLinear(Linear):
    """A fully connected layer with other, frozen parameters."""

    def __init__(self, layer: Linear, weight: Array, bias: Array | None) -> None:
        _replace_parameters(self, layer, weight, bias)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over the state of a pickle or a copy, frozen like the original."""
        vars(self).update(state)
        _make_read_only(self)


class FusedConv2D(Conv2D):
    """A convolution with other, frozen parameters, and the activation that follows it.

    Attributes
    ----------
    activation : Layer or None
        The activation.
    transformed : array (a_h, a_w, C, O) or None
        The weight as Winograd's algorithm needs it, where there is one.
    """

    def __init__(self, layer: Conv2D, weight: Array, bias: Array | None, activation: Layer | None) -> None:
        _replace_parameters(self, layer, weight, bias)
        self.activation = activation
        self._transform_weight()

    def _transform_weight(self) -> None:
        bilinear = applies(self.kernel_size, self.stride, self.dilation, self.groups)
        self.transformed = winograd.transform_weight(self.weight.value, self.stride) if bilinear else None
        self._divided: dict[int, list[Array]] = {}  # by the number of parts

    def transformed_parts(self, count: int) -> list[Array]:
        """Return the transformed weight of consecutive output channels, divided among so many arrays.

        A product of few tiles waits for the memory of the kernel. It takes up to twice as long where other channels lie
        between those that it reads.
        """
        assert self.transformed is not None  # noqa: S101 - asked for only where the algorithm is Winograd's
        if count not in self._divided:
            parts = np.array_split(self.transformed, count, axis=3)
            self._divided[count] = [np.ascontiguousarray(part) for part in parts]
        return self._divided[count]

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle or a copy needs; the transformed weight, which is large, is computed again from it."""
        return {name: value for name, value in super().__getstate__().items() if name not in _COMPUTED}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over the state of a pickle or a copy, frozen like the original."""
        vars(self).update(state)
        _make_read_only(self)
        self._transform_weight()

    def chosen_algorithm(self, x_shape: tuple[int, ...], *, backward: bool = False) -> str:
        """Return the name of the algorithm, with the weight transformed beforehand."""
        transformed = self.transformed is not None
        return choose(self.geometry(x_shape), self.algorithm, backward=backward, transformed=transformed)

    def planned_algorithm(self, x_shape: tuple[int, ...]) -> str:
        """Return the name of the algorithm in a plan, which has prepared more than the weight."""
        transformed = self.transformed is not None
        return choose(self.geometry(x_shape), self.algorithm, transformed=transformed, prepared=True)

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:  # noqa: ARG002
        """Return the activation of x * W + b, and None in the place of a cache."""
        weight = self.weight.value
        x = check_images("x", x, weight.dtype, self.in_channels)
        y = conv.conv2d(
            x,
            weight,
            self.geometry(x.shape),
            None if self.bias is None else self.bias.value,
            algorithm=self.algorithm,
            transformed=self.transformed,
            activation=_in_place(self.activation),
        )
        return y, None

    def __repr__(self) -> str:
        return super().__repr__() + ("" if self.activation is None else f" + {self.activation!r}")


def _replace_parameters(fused: Conv2D | Linear, layer: Conv2D | Linear, weight: Array, bias: Array | None) -> None:
    """Give `fused` the settings of `layer`, and parameters of its own: what is computed from them must stay true."""
    vars(fused).update(layer.__getstate__())
    dtype = layer.weight.value.dtype
    fused.weight = Parameter(weight.astype(dtype))
    fused.bias = None if bias is None else Parameter(bias.astype(dtype))
    _make_read_only(fused)


def _make_read_only(layer: Conv2D | Linear) -> None:
    for parameter in layer.parameters():
        parameter.trainable = False
        parameter.value.flags.writeable = False


def _in_place(activation: Layer | None) -> Callable[[Array], object] | None:
    """Return a function that overwrites an array with its activation."""
    if activation is None:
        return None
    if isinstance(activation, Overwriting):
        return lambda block: activation.write(block, block)

    def apply(block: Array) -> None:
        for image in block:
            image[...] = activation(image)

    return apply
