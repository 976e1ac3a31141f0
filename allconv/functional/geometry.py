"""The sizes of a convolution: what is the same for forward and both gradients."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

from allconv.functional.padding import Padding, Pads, output_size, resolve_padding
from allconv.typing import Pair


@dataclass(frozen=True)
class Geometry:
    """The sizes of one convolution.

    Attributes
    ----------
    x_shape : tuple of int
        (N, H, W, C).
    kernel, stride, dilation : pair of int
        (vertical, horizontal).
    out_channels : int
        O.
    pads : pair of pairs of int
        Rows and columns of zeros, ((top, bottom), (left, right)).
    groups : int
        Divides C and O.
    """

    x_shape: tuple[int, int, int, int]
    kernel: Pair
    out_channels: int
    stride: Pair
    pads: Pads
    dilation: Pair
    groups: int

    @property
    def in_channels(self) -> int:
        """The number C of input channels."""
        return self.x_shape[3]

    @property
    def channels(self) -> Pair:
        """The numbers of input and of output channels, (C, O)."""
        return self.in_channels, self.out_channels

    @cached_property
    def out(self) -> Pair:
        """The height and the width of the output, (H_out, W_out)."""
        return output_size(self.x_shape[1:3], self.pads, self.kernel, self.stride, self.dilation)

    @cached_property
    def y_shape(self) -> tuple[int, int, int, int]:
        """The output's shape (N, H_out, W_out, O)."""
        return (self.x_shape[0], *self.out, self.out_channels)


@lru_cache(maxsize=256)
def geometry_of(
    x_shape: tuple[int, ...], weight_shape: tuple[int, ...], stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> Geometry:
    """Return the sizes of a convolution.

    Parameters
    ----------
    x_shape : tuple of int
        (N, H, W, C).
    weight_shape : tuple of int
        (kh, kw, C / groups, O).
    stride : pair of int
        (vertical, horizontal).
    padding : {"same", "same_lower", "valid"}, int, pair or four of int
        See `resolve_padding`.
    dilation : pair of int
        (vertical, horizontal).
    groups : int

    Returns
    -------
    Geometry

    Notes
    -----
    The size of the output is computed when it is first read, and raises ValueError where not even one window fits.

    Examples
    --------
    >>> geometry_of((50, 32, 32, 3), (3, 3, 3, 96), (2, 2), "same", (1, 1), 1).y_shape
    (50, 16, 16, 96)
    """
    n, height, width, channels = x_shape
    kh, kw, _, out_channels = weight_shape
    pads = resolve_padding(padding, (height, width), (kh, kw), stride, dilation)
    return Geometry((n, height, width, channels), (kh, kw), out_channels, stride, pads, dilation, groups)
