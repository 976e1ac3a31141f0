"""The sizes of a convolution: what is the same for forward and both gradients."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

from allconv.functional.padding import Padding, Pads, output_size, resolve_padding
from allconv.typing import Pair


@dataclass(frozen=True)
class Geometry:
    """The sizes of one convolution."""

    x_shape: tuple[int, int, int, int]  # (N, H, W, C)
    kernel: Pair
    out_channels: int
    stride: Pair
    pads: Pads
    dilation: Pair
    groups: int

    @property
    def in_channels(self) -> int:
        """C."""
        return self.x_shape[3]

    @cached_property
    def out(self) -> Pair:
        """(H_out, W_out)."""
        return output_size(self.x_shape[1:3], self.pads, self.kernel, self.stride, self.dilation)

    @cached_property
    def y_shape(self) -> tuple[int, int, int, int]:
        """The output's shape (N, H_out, W_out, O)."""
        return (self.x_shape[0], *self.out, self.out_channels)


@lru_cache(maxsize=256)
def geometry_of(
    x_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
) -> Geometry:
    """Return the sizes of a convolution of x (N, H, W, C) with a weight (kh, kw, C / groups, O)."""
    n, height, width, channels = x_shape
    kh, kw, _, out_channels = weight_shape
    pads = resolve_padding(padding, (height, width), (kh, kw), stride, dilation)
    return Geometry((n, height, width, channels), (kh, kw), out_channels, stride, pads, dilation, groups)
