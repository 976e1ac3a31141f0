"""Filters of a first convolution that whiten the patches of the images."""

import numpy as np

from allconv.parallel.blas import single_threaded_blas
from allconv.parallel.pool import slices
from allconv.typing import Array
from allconv.validation import check_images, check_int, check_positive, describe, quiet

# Both bound the patches that are in memory at the same time, but for those of a single image. The elements take 134 MB.
_BLOCK_IMAGES = 500
_BLOCK_ELEMENTS = 1 << 24


def whitening_filters(images: Array, size: int = 2, *, eps: float = 5e-4) -> Array:
    r"""Return the weight of a convolution whose outputs are uncorrelated and of one size.

    .. math:: M = \frac{1}{P} \sum_p x_p x_p^T = E \Lambda E^T, \qquad w_k = e_k / \sqrt{\lambda_k + \varepsilon}

    The :math:`x_p` are all P patches of ``size`` by ``size`` pixels, as vectors of :math:`D = \text{size}^2 C` values.
    The filters are :math:`w_1, \dots, w_D`, in the order of falling eigenvalues, and then :math:`-w_1, \dots, -w_D`,
    since an activation function treats the two signs differently.

    Parameters
    ----------
    images : array of a floating dtype, shape (N, H, W, C)
        The images, normalized as in training; some thousand are enough.
    size : int, default 2
        The height and width of a patch, at most those of the images.
    eps : float, default 5e-4
        The number :math:`\varepsilon`, above 0, which keeps directions of little but noise small.

    Returns
    -------
    array of float32, shape (size, size, C, 2 D)
        The weight, for a `Conv2D` whose weight stays as it is: ``trainable=False``.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    Notes
    -----
    The mean of the patches is not subtracted. Jordan (2024), 94% on CIFAR-10 in 3.29 seconds on a single GPU, section
    3.2; the idea is Page's (2019), How to train your ResNet 8. The sums are computed in float64.

    Examples
    --------
    >>> images = np.random.default_rng(0).normal(size=(200, 8, 8, 1)).cumsum(axis=1)
    >>> filters = whitening_filters(images)
    >>> filters.shape
    (2, 2, 1, 8)
    >>> from allconv.layers.conv import Conv2D
    >>> layer = Conv2D(1, 8, 2, padding="valid", bias=False)
    >>> layer.weight.value = filters
    >>> outputs = layer(images.astype(np.float32)).reshape(-1, 8)
    >>> np.abs(outputs[:, :4].T @ outputs[:, :4] / len(outputs)).round(2)
    array([[1., 0., 0., 0.],
           [0., 1., 0., 0.],
           [0., 0., 1., 0.],
           [0., 0., 0., 1.]], dtype=float32)
    """
    images, size, eps = check_images("images", images), check_int("size", size), check_positive("eps", eps)
    if size > min(images.shape[1:3]):
        raise ValueError(f"size must be at most the height and width of the images, got {size} for {describe(images)}")
    count, height, width, channels = images.shape
    moments = np.zeros((size * size * channels,) * 2)
    patches_of_image = (height - size + 1) * (width - size + 1)
    block = min(_BLOCK_IMAGES, max(1, _BLOCK_ELEMENTS // (patches_of_image * len(moments))))
    # NumPy's BLAS on one thread gives the same bits for any number of cores.
    with single_threaded_blas(), quiet():
        for part in slices(count, block):
            moments += _products(images[part], size)
        if not np.isfinite(moments).all():
            raise ValueError(f"images must be finite, and so must the sums of their squares, got {describe(images)}")
        eigenvalues, vectors = np.linalg.eigh(moments / (count * patches_of_image))
    filters = vectors[:, ::-1] / np.sqrt(np.maximum(eigenvalues[::-1], 0) + eps)
    both = np.concatenate([filters, -filters], axis=1).astype(np.float32)
    return both.reshape(size, size, channels, -1)


def _products(images: Array, size: int) -> Array:
    """Return the sum of x x^T over all patches x of the images, (D, D) in float64."""
    windows = np.lib.stride_tricks.sliding_window_view(images, (size, size), axis=(1, 2))
    patches = np.ascontiguousarray(windows.transpose(0, 1, 2, 4, 5, 3), np.float64)
    patches = patches.reshape(-1, size * size * images.shape[-1])
    products: Array = patches.T @ patches
    return products
