"""Two-dimensional convolution."""

import numpy as np
from numpy.typing import DTypeLike

from allconv.functional import conv
from allconv.functional.choice import check_algorithm, choose
from allconv.functional.geometry import Geometry, geometry_of
from allconv.functional.padding import Padding, check_padding, output_size, resolve_padding
from allconv.initializers import he_normal
from allconv.layers.joining import Finishing, Overwriting
from allconv.layers.shapes import check_image_shape
from allconv.layers.short import short_pair
from allconv.layers.weight import initial_weight
from allconv.parameter import Parameter
from allconv.typing import Array, Cache, Initializer, Pair
from allconv.validation import (
    check_bool,
    check_dtype,
    check_generator,
    check_gradient,
    check_gradient_shape,
    check_images,
    check_int,
    check_pair,
    describe,
    is_int,
)


# Longer than 150 lines because its docstrings hold the contract and the equations; the code is short.
class Conv2D(Finishing):
    r"""Two-dimensional convolution, computed as a cross-correlation, as is usual in the field.

    .. math:: y_{n,i,j,o} = b_o + \sum_{u,v,c} x_{n,\; i s + u d - p,\; j s + v d - p,\; c}\; W_{u,v,c,o}

    with stride s, dilation d and padding p; x is zero outside the image. With G groups, an output channel sees only
    the C / G input channels of its own group.

    Parameters
    ----------
    in_channels, out_channels : int
        The numbers of input channels C and of output channels O.
    kernel_size : int or pair of int
        The height and the width of the kernel, (K_h, K_w).
    stride : int or pair of int, default 1
        The step from one output position to the next. A stride of 2 halves the maps without a pooling layer.
    padding : {"same", "same_lower", "valid"}, int, pair or four of int, default "same"
        The rows and columns of zeros around x. "same" gives ceil(H / stride) x ceil(W / stride) outputs and puts an odd
        row or column at the bottom or right, as TensorFlow does; "same_lower" puts it at the top or left. "valid" adds
        none. A pair is (vertical, horizontal); four numbers are (top, left, bottom, right).
    dilation : int or pair of int, default 1
        The distance between the taps of the kernel (a-trous convolution).
    groups : int, default 1
        The number of groups G, which divides both channel counts. ``groups=in_channels`` is a depthwise convolution.
    bias : bool, default True
        Whether the layer adds a bias b.
    initializer : callable, default he_normal
        The function ``(rng, shape, dtype) -> array`` that draws the weight; see `allconv.initializers`. The bias starts
        at zero.
    dtype : float32 or float64, default float32
        The dtype of the parameters, and so of the computation.
    rng : numpy.random.Generator, optional
        The generator that draws the weight. The default is a new, unseeded one.
    algorithm : {"auto", "im2col", "banded", "winograd"}, default "auto"
        The algorithm that computes the convolution. "auto" takes the one with the lowest cost, which follows from the
        shapes alone. "im2col" is a matrix product over gathered columns. "banded" is im2col with several outputs to a
        row, for narrow layers; it needs one group and no horizontal dilation. "winograd" needs a kernel from 3x3 to
        7x7, stride 1 or 2, dilation 1 and one group; in float32 it loses digits, see the notes.

    Attributes
    ----------
    weight : Parameter, shape (K_h, K_w, C / groups, O)
        The kernel W.
    bias : Parameter, shape (O,), or None
        The bias b.
    algorithm : str
        The argument `algorithm`, which may be assigned at any time.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range; from `forward`, if x is not floating images (N, H, W, C); from `backward`,
        if dy has another shape than y.

    Notes
    -----
    Input ``(N, H, W, C)``, output ``(N, H_out, W_out, O)``. Springenberg et al. (2015), Striving for
    simplicity: the all convolutional net, section 2, equation 2.

    In float32, the error of "im2col" stayed below 1e-6 of the largest number of a result, for independent inputs and
    weights with mean 0. The table has the bound of "winograd" for such numbers, for the larger of C and O channels, the
    output and all gradients. Where outputs are small differences of large terms, both errors are larger.

    ==================  ======  ===========  ===========  ===================
    kernel              stride  16 channels  96 channels  256 channels, more
    ==================  ======  ===========  ===========  ===================
    3x3                 1       3.1e-6       4.9e-6       6.8e-6
    4x4                 1       1.2e-5       5.6e-6       6.0e-6
    5x5                 1       1.3e-5       1.4e-5       5.1e-6
    7x7                 1       2.4e-5       2.4e-5       2.4e-5
    3x3, 4x4 and 5x5    2       4.7e-6       7.4e-6       1.0e-5
    7x7                 2       1.2e-5       5.6e-6       6.0e-6
    ==================  ======  ===========  ===========  ===================

    "auto" takes "winograd" only where the bound is at most 1.5e-5. A pixel that is an outlier v disturbs all outputs of
    the tiles that read it, up to 8x8 of them, also those whose windows do not hold the pixel. "winograd" adds an error
    of up to the bound times v times the largest weight to each of them. An infinity, a NaN or a pixel near the end of
    the range spreads to the same outputs. "im2col" does neither: prefer it for inputs with pixels a thousand times as
    large as the others.

    Examples
    --------
    >>> layer = Conv2D(3, 8, 3, stride=2, rng=np.random.default_rng(0))
    >>> layer(np.ones((1, 32, 32, 3), np.float32)).shape
    (1, 16, 16, 8)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        *,
        stride: int | Pair = 1,
        padding: Padding = "same",
        dilation: int | Pair = 1,
        groups: int = 1,
        bias: bool = True,
        initializer: Initializer = he_normal,
        dtype: DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
        algorithm: str = "auto",
    ) -> None:
        self.in_channels = check_int("in_channels", in_channels)
        self.out_channels = check_int("out_channels", out_channels)
        self.kernel_size = check_pair("kernel_size", kernel_size)
        self.stride = check_pair("stride", stride)
        self.padding = check_padding("padding", padding)
        self.dilation = check_pair("dilation", dilation)
        self.groups = check_int("groups", groups)
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"groups must divide in_channels and out_channels, got {groups} for {in_channels} and {out_channels}"
            )
        self.algorithm = algorithm
        kind = check_dtype("dtype", dtype)
        shape = (*self.kernel_size, self.in_channels // self.groups, self.out_channels)
        with_bias = check_bool("bias", bias)
        self.weight = Parameter(initial_weight(initializer, check_generator("rng", rng), shape, kind))
        self.bias = Parameter(np.zeros(self.out_channels, kind)) if with_bias else None

    @property
    def algorithm(self) -> str:
        """The algorithm that computes the convolution: "auto", "im2col", "banded" or "winograd"."""
        return self._algorithm

    @algorithm.setter
    def algorithm(self, value: str) -> None:
        self._algorithm = check_algorithm(value, self.kernel_size, self.stride, self.dilation, self.groups)

    def geometry(self, x_shape: tuple[int, ...]) -> Geometry:
        """Return the sizes of the convolution of a batch.

        Parameters
        ----------
        x_shape : tuple of int
            The shape of the batch, (N, H, W, C).

        Returns
        -------
        Geometry
            The shapes of input and output, the stride, the padding and the dilation.

        Raises
        ------
        TypeError, ValueError
            If `x_shape` is no such shape.
        """
        rule = f"x_shape must be the shape of a batch, (N, H, W, {self.in_channels})"
        if not isinstance(x_shape, tuple | list) or not all(is_int(size) for size in x_shape):
            raise TypeError(f"{rule}, got {describe(x_shape)}")
        if len(x_shape) != 4 or min(x_shape) < 1 or x_shape[3] != self.in_channels:
            raise ValueError(f"{rule}, got {describe(x_shape)}")
        shape = tuple(int(size) for size in x_shape)
        return geometry_of(shape, self.weight.value.shape, self.stride, self.padding, self.dilation, self.groups)

    def chosen_algorithm(self, x_shape: tuple[int, ...], *, backward: bool = False) -> str:
        """Return the name of the algorithm that computes a pass of a batch.

        Parameters
        ----------
        x_shape : tuple of int
            The shape of the batch, (N, H, W, C).
        backward : bool, default False
            Whether the backward pass is meant.

        Returns
        -------
        str
            The name: "im2col", "banded", "winograd" or "depthwise".

        Raises
        ------
        TypeError, ValueError
            If an argument is out of its range.
        """
        return choose(self.geometry(x_shape), self.algorithm, backward=check_bool("backward", backward))

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:  # noqa: ARG002
        """Return y = conv(x, W) + b for x of shape ``(N, H, W, C)``."""
        return self._convolve(x)

    def forward_with(self, x: Array, activation: Overwriting, *, training: bool = False) -> tuple[Array, Cache]:  # noqa: ARG002
        """Return the activation of conv(x, W) + b."""
        return self._convolve(x, lambda block: activation.write(block, block))

    def _convolve(self, x: Array, activation: conv.Activation | None = None) -> tuple[Array, Cache]:
        weight = self.weight.value
        x = check_images("x", x, weight.dtype, self.in_channels)
        bias = None if self.bias is None else self.bias.value
        geometry = self.geometry(x.shape)
        return conv.conv2d(x, weight, geometry, bias, algorithm=self.algorithm, activation=activation), x

    def backward(self, dy: Array, cache: Cache) -> Array:
        r"""Return dL/dx, and add dL/dW and dL/db.

        .. math::

            dx_{n,h,w,c} &= \sum_{i s + u d - p = h,\; j s + v d - p = w,\; o} dy_{n,i,j,o}\; W_{u,v,c,o} \\
            dW_{u,v,c,o} &= \sum_{n,i,j} x_{n,\; i s + u d - p,\; j s + v d - p,\; c}\; dy_{n,i,j,o} \\
            db_o &= \sum_{n,i,j} dy_{n,i,j,o}
        """
        return self._input_grad(dy, cache)

    def backward_with(
        self,
        dy: Array,
        cache: Cache,
        activation: Overwriting,
        y: Array,
        *,
        release: bool = False,  # noqa: ARG002
    ) -> Array:
        """Return the gradient at the input of the activation before, and add dL/dW and dL/db."""
        check_gradient(cache, y)
        return self._input_grad(dy, cache, lambda dx, place: activation.write_gradient(dx, y[place], dx))

    def _input_grad(self, dy: Array, cache: Cache, finish: conv.ActivationGradient | None = None) -> Array:
        x, dy, geometry = self._checked(dy, cache)
        weight, algorithm = self.weight.value, self.algorithm
        with_bias = self.bias is not None and self.bias.trainable
        if self.weight.trainable:
            dx, dw, db = conv.conv2d_grads(
                x, dy, weight, geometry, algorithm=algorithm, with_bias=with_bias, activation_gradient=finish
            )
            self.weight.add_grad(dw)
        else:
            dx = conv.conv2d_input_grad(dy, weight, geometry, algorithm=algorithm, activation_gradient=finish)
            db = conv.conv2d_bias_grad(dy) if with_bias else None
        if self.bias is not None and db is not None:
            self.bias.add_grad(db)
        return dx

    def backward_parameters(self, dy: Array, cache: Cache) -> None:
        """Add dL/dW and dL/db alone."""
        x, dy, geometry = self._checked(dy, cache)
        if self.weight.trainable:
            self.weight.add_grad(conv.conv2d_weight_grad(x, dy, geometry, algorithm=self.algorithm))
        if self.bias is not None and self.bias.trainable:
            self.bias.add_grad(conv.conv2d_bias_grad(dy))

    def _checked(self, dy: Array, cache: Cache) -> tuple[Array, Array, Geometry]:
        x: Array = cache
        geometry = self.geometry(x.shape)
        return x, check_gradient_shape(dy, geometry.y_shape, x.dtype), geometry

    def output_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return (H_out, W_out, O) for (H, W, C)."""
        height, width, _ = check_image_shape(in_shape, self.in_channels)
        pads = resolve_padding(self.padding, (height, width), self.kernel_size, self.stride, self.dilation)
        return (*output_size((height, width), pads, self.kernel_size, self.stride, self.dilation), self.out_channels)

    def multiply_adds(self, in_shape: tuple[int, ...]) -> int:
        """Return H_out W_out K_h K_w (C / groups) O."""
        height, width, _ = self.output_shape(in_shape)
        return height * width * self.weight.value.size

    def __repr__(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, {short_pair(self.kernel_size)}"
        for name, default in (("stride", 1), ("dilation", 1)):
            if short_pair(getattr(self, name)) != default:
                text += f", {name}={short_pair(getattr(self, name))}"
        text += "" if self.padding == "same" else f", padding={self.padding!r}"
        text += "" if self.groups == 1 else f", groups={self.groups}"
        text += "" if self.bias is not None else ", bias=False"
        text += "" if self.algorithm == "auto" else f", algorithm={self.algorithm!r}"
        return f"Conv2D({text})"
