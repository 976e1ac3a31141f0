"""What the pooling layers with windows share."""

from allconv.functional.padding import Padding, check_padding, resolve_padding
from allconv.functional.windows import PoolWindows, pool_windows
from allconv.layers.joining import Finishing
from allconv.layers.shapes import check_image_shape
from allconv.layers.short import short_pair
from allconv.typing import Pair
from allconv.validation import check_bool, check_pair


class Pool2D(Finishing):
    """The base of `MeanPool2D` and `MaxPool2D`: it checks and keeps the arguments that say where the windows lie."""

    def __init__(
        self,
        kernel_size: int | Pair,
        *,
        stride: int | Pair | None = None,
        padding: Padding = "valid",
        dilation: int | Pair = 1,
        ceil_mode: bool = False,
    ) -> None:
        self.kernel_size = check_pair("kernel_size", kernel_size)
        self.stride = self.kernel_size if stride is None else check_pair("stride", stride)
        self.padding = check_padding("padding", padding)
        self.dilation = check_pair("dilation", dilation)
        self.ceil_mode = check_bool("ceil_mode", ceil_mode)

    def _windows(self, size: Pair) -> PoolWindows:
        pads = resolve_padding(self.padding, size, self.kernel_size, self.stride, self.dilation)
        return pool_windows(size, self.kernel_size, self.stride, pads, self.dilation, self.ceil_mode)

    def output_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return (H_out, W_out, C) for (H, W, C)."""
        height, width, channels = check_image_shape(in_shape)
        return (*self._windows((height, width)).out, channels)

    def __repr__(self) -> str:
        text = f"{short_pair(self.kernel_size)}"
        text += "" if self.stride == self.kernel_size else f", stride={short_pair(self.stride)}"
        text += "" if self.padding == "valid" else f", padding={self.padding!r}"
        text += "" if self.dilation == (1, 1) else f", dilation={short_pair(self.dilation)}"
        text += ", count_padding=True" if getattr(self, "count_padding", False) else ""
        text += ", ceil_mode=True" if self.ceil_mode else ""
        return f"{type(self).__name__}({text})"
