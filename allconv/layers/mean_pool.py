"""Mean pooling."""

from allconv.functional.padding import Padding
from allconv.functional.pool import mean_pool, mean_pool_input_grad
from allconv.layers.joining import Overwriting, overwritten
from allconv.layers.pool import Pool2D
from allconv.layers.precision import for_sums
from allconv.typing import Array, Cache, Pair
from allconv.validation import check_bool, check_gradient_shape, check_images


class MeanPool2D(Pool2D):
    r"""Mean pooling: the output holds the mean of each window.

    .. math:: y_{n,i,j,c} = \frac{1}{D_{i,j}} \sum_{u,v} x_{n,\; i s + u - p,\; j s + v - p,\; c}

    with stride s and padding p. The sum is over the positions (u, v) of the window that lie on the input, and
    :math:`D_{i,j}` is their number.

    Parameters
    ----------
    kernel_size : int or pair of int
        The height and the width of a window, (K_h, K_w).
    stride : int or pair of int, optional
        The distance between windows. The default is `kernel_size`, so that the windows tile the input.
    padding : {"valid", "same", "same_lower"}, int, pair or four of int, default "valid"
        The rows and columns around the input. "valid" adds none. "same" gives ceil(H / stride) x ceil(W / stride)
        outputs and puts an odd row or column at the bottom or right, as TensorFlow does; "same_lower" puts it at the
        top or left. A pair is (vertical, horizontal); four numbers are (top, left, bottom, right).
    count_padding : bool, default False
        Whether D counts the positions on the padding too, which then acts as zeros. PyTorch counts them by default.
    ceil_mode : bool, default False
        Whether a last window may hang over the end of the padded input, where rows or columns are left that fill no
        window. D never counts the overhang. A window that would start in the padding at the end is dropped.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range; from `forward` and `output_shape`, if no window fits the input or a window
        would hold padding only; from `forward`, if x is not floating images (N, H, W, C).

    Notes
    -----
    Input ``(N, H, W, C)``, output ``(N, H_out, W_out, C)``. Sums of float16 are made in float32. LeCun et al. (1998),
    Gradient-based learning applied to document recognition, section II.B, where each map also has a trainable factor
    and bias.

    Examples
    --------
    >>> MeanPool2D(2)(np.arange(4.0).reshape(1, 2, 2, 1))
    array([[[[1.5]]]])
    """

    def __init__(
        self,
        kernel_size: int | Pair,
        *,
        stride: int | Pair | None = None,
        padding: Padding = "valid",
        count_padding: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride=stride, padding=padding, ceil_mode=ceil_mode)
        self.count_padding = check_bool("count_padding", count_padding)

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:  # noqa: ARG002
        """Return y for x of shape ``(N, H, W, C)``."""
        x = check_images("x", x)
        windows = self._windows(x.shape[1:3])
        y = mean_pool(for_sums(x), windows, count_padding=self.count_padding).astype(x.dtype, copy=False)
        return y, (windows, y.shape, y.dtype)

    def backward(self, dy: Array, cache: Cache) -> Array:
        r"""Return dL/dx: each input gets dL/dy / D from every window that it lies in."""
        windows, shape, dtype = cache
        dy = check_gradient_shape(dy, shape, dtype)
        return mean_pool_input_grad(for_sums(dy), windows, count_padding=self.count_padding).astype(dtype, copy=False)

    def backward_with(
        self,
        dy: Array,
        cache: Cache,
        activation: Overwriting,
        y: Array,
        *,
        release: bool = False,  # noqa: ARG002
    ) -> Array:
        """Return the gradient at the input of the activation before."""
        return overwritten(self.backward(dy, cache), activation, y)
