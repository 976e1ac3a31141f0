"""Upsampling of images."""

from allconv.functional.upsample import upsample, upsample_input_grad
from allconv.layers.base import Layer
from allconv.layers.precision import for_sums
from allconv.layers.shapes import check_image_shape
from allconv.layers.short import short_pair
from allconv.typing import Array, Cache, Pair
from allconv.validation import check_choice, check_gradient_shape, check_images, check_pair


class Upsample2D(Layer):
    r"""Upsampling by a whole factor: each input becomes s x s outputs.

    .. math:: y_{n,h,w,c} = \sum_{i,j} a_{h,i}\, a_{w,j}\, x_{n,i,j,c}

    For "nearest", :math:`a_{h,i}` is 1 where :math:`i = \lfloor h / s \rfloor`, and 0 elsewhere. For "bilinear" it is

    .. math:: a_{h,i} = \max(0,\; 1 - |p_h - i|), \qquad p_h = \frac{h + 1/2}{s} - \frac12

    where a place :math:`p_h` beyond the first or the last input counts as that input.

    Parameters
    ----------
    factor : int or pair of int
        The factor s by which the rows and the columns become more, (vertical, horizontal).
    mode : {"nearest", "bilinear"}, default "nearest"
        Whether inputs are repeated, or mixed with their neighbours.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range; from `forward`, if x is not floating images (N, H, W, C); from `backward`,
        if dy has another shape than y.

    Notes
    -----
    Input ``(N, H, W, C)``, output ``(N, s H, s W, C)``. Sums of float16 are made in float32. Places are those of the
    pixels' centres, as in TensorFlow 2 and with PyTorch's ``align_corners=False``. Odena et al. (2016), Deconvolution
    and checkerboard artifacts, section "Better Upsampling", put a convolution behind it, in the place of a
    `ConvTranspose2D`.

    Examples
    --------
    >>> Upsample2D((1, 2), "bilinear")(np.array([0.0, 4.0]).reshape(1, 1, 2, 1)).ravel()
    array([0., 1., 3., 4.])
    """

    def __init__(self, factor: int | Pair, mode: str = "nearest") -> None:
        self.factor = check_pair("factor", factor)
        self.mode = check_choice("mode", mode, ("nearest", "bilinear"))

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:  # noqa: ARG002
        """Return y for x of shape ``(N, H, W, C)``."""
        x = check_images("x", x)
        y = upsample(for_sums(x), self.factor, self.mode).astype(x.dtype, copy=False)
        return y, (y.shape, y.dtype)

    def backward(self, dy: Array, cache: Cache) -> Array:
        r"""Return :math:`dL/dx_{n,i,j,c} = \sum_{h,w} a_{h,i}\, a_{w,j}\, dy_{n,h,w,c}`, with forward's weights."""
        shape, dtype = cache
        dy = check_gradient_shape(dy, shape, dtype)
        return upsample_input_grad(for_sums(dy), self.factor, self.mode).astype(dtype, copy=False)

    def output_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return (s H, s W, C) for (H, W, C)."""
        height, width, channels = check_image_shape(in_shape)
        return (height * self.factor[0], width * self.factor[1], channels)

    def __repr__(self) -> str:
        return f"Upsample2D({short_pair(self.factor)}{'' if self.mode == 'nearest' else f', {self.mode!r}'})"
