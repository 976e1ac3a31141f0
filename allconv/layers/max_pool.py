"""Max pooling."""

from allconv.functional.max_pool import max_pool_input_grad, max_pool_with_choices
from allconv.functional.pool import max_pool
from allconv.layers.joining import Overwriting, overwritten
from allconv.layers.pool import Pool2D
from allconv.layers.precision import for_sums
from allconv.typing import Array, Cache
from allconv.validation import check_bool, check_gradient_shape, check_images


class MaxPool2D(Pool2D):
    r"""Max pooling: the output holds the maximum of each window.

    .. math:: y_{n,i,j,c} = \max_{u,v} x_{n,\; i s + u d - p,\; j s + v d - p,\; c}

    with stride s, dilation d and padding p; the padding holds :math:`-\infty`.
    The maximum of a window with a NaN is NaN.

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
    dilation : int or pair of int, default 1
        The distance between the positions of a window.
    ceil_mode : bool, default False
        Whether a last window may hang over the end of the padded input, where rows or columns are left that fill no
        window. A window that would start in the padding at the end is dropped.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range; from `forward` and `output_shape`, if no window fits the input or a window
        would hold padding only; from `forward`, if x is not floating images (N, H, W, C).

    Notes
    -----
    Input ``(N, H, W, C)``, output ``(N, H_out, W_out, C)``. Riesenhuber and Poggio (1999),
    Hierarchical models of object recognition in cortex. Scherer et al. (2010), Evaluation of pooling operations in
    convolutional architectures for object recognition.

    Examples
    --------
    >>> MaxPool2D(2)(np.arange(4.0).reshape(1, 2, 2, 1))
    array([[[[3.]]]])
    """

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:
        """Return y for x of shape ``(N, H, W, C)``; in training the cache holds where the maxima lie, else x."""
        x, training = check_images("x", x), check_bool("training", training)
        windows = self._windows(x.shape[1:3])
        if training:
            y, choices = max_pool_with_choices(x, windows)
            return y, (windows, y.shape, y.dtype, None, choices)
        y = max_pool(x, windows)
        return y, (windows, y.shape, y.dtype, x, None)

    def backward(self, dy: Array, cache: Cache) -> Array:
        """Return dL/dx: each dL/dy goes to the maximum of its window, of equal ones to the first, row by row."""
        windows, shape, dtype, x, choices = cache
        dy = check_gradient_shape(dy, shape, dtype)
        if choices is None:
            _, choices = max_pool_with_choices(x, windows)
        return max_pool_input_grad(for_sums(dy), choices, windows).astype(dtype, copy=False)

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
