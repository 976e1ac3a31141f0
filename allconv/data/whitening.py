"""Global contrast normalization and ZCA whitening: the preprocessing of the paper "Striving for Simplicity"."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from allconv.data.dataset import check_uint8_images
from allconv.parallel.blas import single_threaded_blas
from allconv.parallel.pool import run, slices
from allconv.typing import Array
from allconv.validation import check_floating, check_images, check_positive, describe, quietly

# The least divisor of an image, as in pylearn2. An image with a smaller one is not divided.
MIN_DIVISOR = 1e-8
# The largest number of values of an image. Its covariance takes 1.2 GB, and the eigenvectors take as much again.
_LARGEST = 64 * 64 * 3
# The number of images that one task whitens. It is large enough that reading the matrix takes little time beside the
# product with it.
_SLICE_IMAGES = 64
# The number of images whose products are added to the covariance at a time.
_BLOCK_IMAGES = 512
# The number of rows of the covariance that one task sums.
_BAND = 192


class GlobalContrast:
    r"""Global contrast normalization: subtract from each image its mean, and scale the rest to the norm `scale`.

    .. math:: y_n = s \, \frac{x_n - \bar x_n}{\lVert x_n - \bar x_n \rVert}, \qquad
        \bar x_n = \frac{1}{H W C} \sum_{hwc} x_{nhwc}

    where the norm is the Euclidean norm of all :math:`H W C` values of the image. Each image is normalized by itself,
    so there is nothing to fit. An image whose norm, divided by :math:`s`, is below 1e-8 has no contrast, and is not
    divided.

    Parameters
    ----------
    scale : float, default 55.0
        The norm :math:`s`, above 0. For images of 32x32x3 values the default makes the mean square of a value 0.98.

    Raises
    ------
    TypeError, ValueError
        If `scale` is not a positive number; from a call, if the images are neither uint8 nor finite floating images.

    Notes
    -----
    The function is pylearn2's ``global_contrast_normalize(X, scale=55., sqrt_bias=0., min_divisor=1e-8)``, in
    pylearn2/expr/preprocessing.py, and 55 is the scale in pylearn2/scripts/datasets/make_cifar10_gcn_whitened.py.
    Springenberg et al. (2015), section 3.1, follow the preprocessing of Goodfellow et al. (2013), Maxout networks.

    Examples
    --------
    >>> images = np.array([1, 3, 7, 7], np.uint8).reshape(2, 1, 2, 1)
    >>> GlobalContrast(np.sqrt(2))(images).reshape(2, 2)
    array([[-1.,  1.],
           [ 0.,  0.]], dtype=float32)
    """

    def __init__(self, scale: float = 55.0) -> None:
        self.scale = check_positive("scale", scale)

    @quietly
    def __call__(self, images: Array) -> Array:
        """Return the normalized images (N, H, W, C), uint8 or floating, as float32."""
        return _transformed(_check(images), lambda part: _rows(part, self))

    def __repr__(self) -> str:
        return f"GlobalContrast({self.scale:g})"


class ZCA:
    r"""ZCA whitening: decorrelate the values of an image, and bring each direction to about the same variance.

    .. math:: y = P (x - \mu), \qquad P = E (\Lambda + \varepsilon I)^{-1/2} E^T, \qquad
        \Sigma = \frac{1}{N} \sum_n (x_n - \mu)(x_n - \mu)^T = E \Lambda E^T

    with images as vectors of :math:`D = H W C` values. The covariance of the result is :math:`P \Sigma P`, with the
    eigenvalues :math:`\lambda / (\lambda + \varepsilon)`. They are near 1 in directions where the images vary by much
    more than :math:`\varepsilon`. They are smaller in directions of little but noise, so that noise is not amplified.
    Of all matrices that whiten like this, the symmetric :math:`P` changes the images least: they still look like
    images.

    Parameters
    ----------
    mean : array, shape (H, W, C)
        The mean image :math:`\mu`, with finite values.
    matrix : array, shape (D, D)
        The matrix :math:`P`, with finite values.
    contrast : GlobalContrast, optional
        The normalization that is applied to the images first. The default is none.

    Attributes
    ----------
    mean, matrix : array of float32
        The arguments, rounded to float32.
    contrast : GlobalContrast or None
        The argument `contrast`.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range; from a call, if the images are neither uint8 nor finite floating images, or
        have another shape than the mean.

    Notes
    -----
    Bell and Sejnowski (1997), The "independent components" of natural scenes are edge filters. The bias, its default
    and the division by N agree with ``ZCA(filter_bias=0.1)`` in pylearn2/datasets/preprocessing.py.

    Examples
    --------
    A whitening that is fitted on the training images alone serves as the `normalize` of a Loader:

    >>> images = np.random.default_rng(0).integers(0, 256, (500, 4, 4, 3), dtype=np.uint8)
    >>> normalize = ZCA.fit(images, contrast=GlobalContrast())
    >>> white = normalize(images).reshape(500, -1)
    >>> bool(np.abs(white.T @ white / 500 - np.eye(48)).max() < 0.1)
    True
    """

    def __init__(self, mean: Array, matrix: Array, *, contrast: GlobalContrast | None = None) -> None:
        self.mean = _check_finite("mean", check_floating("mean", mean, np.float32))
        if self.mean.ndim != 3 or self.mean.size == 0:
            raise ValueError(f"mean must have shape (H, W, C), got {describe(mean)}")
        self.matrix = _check_finite("matrix", check_floating("matrix", matrix, np.float32))
        if self.matrix.shape != (self.mean.size, self.mean.size):
            raise ValueError(f"matrix must have shape {(self.mean.size,) * 2}, as mean has it, got {describe(matrix)}")
        self.contrast = _check_contrast(contrast)

    @classmethod
    @quietly
    def fit(cls, images: Array, *, bias: float = 0.1, contrast: GlobalContrast | None = None) -> "ZCA":
        r"""Return the whitening of `images`.

        Sums and eigenvectors are computed in float64. The code reads the images twice, a block at a time. So the only
        other memory it needs is a few matrices (D, D), of 75 MB each for 32x32x3 values.

        Parameters
        ----------
        images : array of uint8 or a floating dtype, shape (N, H, W, C)
            The training images, with at most 12,288 values each. N may be smaller than D: directions in which no image
            varies are scaled by :math:`\varepsilon^{-1/2}`.
        bias : float, default 0.1
            The number :math:`\varepsilon`, above 0.
        contrast : GlobalContrast, optional
            The normalization that is applied first, to these images and to all images whitened later.

        Returns
        -------
        ZCA
            The whitening.

        Raises
        ------
        TypeError, ValueError
            If an argument is out of its range.
        """
        images, bias, contrast = _check(images), check_positive("bias", bias), _check_contrast(contrast)
        count, *shape = images.shape
        if math.prod(shape) > _LARGEST:
            raise ValueError(f"images must have at most {_LARGEST} values each, got {describe(images)}")
        parts = slices(count, _BLOCK_IMAGES)
        mean = sum(run(lambda index: _rows(images[parts[index]], contrast).sum(axis=0), len(parts))) / count
        covariance = np.zeros((mean.size, mean.size))
        for part in parts:
            _add_products(covariance, _rows(images[part], contrast) - mean)
        covariance /= count
        # NumPy's BLAS on one thread gives the same bits for any number of cores. The loss of time is small, since the
        # eigenvectors are computed once.
        with single_threaded_blas():
            variances, directions = np.linalg.eigh(covariance, UPLO="U")
            variances = np.maximum(variances, 0)  # Rounding may leave -1e-15 where no image varies.
            matrix = (directions / np.sqrt(variances + bias)) @ directions.T
        return cls(mean.reshape(shape), matrix, contrast=contrast)

    @quietly
    def __call__(self, images: Array) -> Array:
        """Return the whitened images (N, H, W, C), uint8 or floating, as float32."""
        images = _check(images)
        if images.shape[1:] != self.mean.shape:
            raise ValueError(f"images must have the fitted shape {self.mean.shape}, got {describe(images)}")

        def whitened(part: Array) -> Array:
            centred: Array = _rows(part, self.contrast) - self.mean.ravel()
            return centred.astype(np.float32) @ self.matrix.T

        return _transformed(images, whitened)

    def state(self) -> dict[str, Any]:
        """Return all there is to save, as a dict of arrays and plain values that `from_state` takes."""
        scale = None if self.contrast is None else self.contrast.scale
        return {"mean": self.mean, "matrix": self.matrix, "contrast_scale": scale}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "ZCA":
        """Return the whitening that a state describes.

        Parameters
        ----------
        state : dict
            The value that the method `state` returned.

        Returns
        -------
        ZCA
            The whitening, equal to the one that returned the state.

        Raises
        ------
        TypeError, ValueError
            If an entry is missing, which the message names, or out of its range.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"state must be a dict as from state(), got {describe(state)}")
        missing = [key for key in ("mean", "matrix", "contrast_scale") if key not in state]
        if missing:
            raise ValueError(f"state must be that of a ZCA, got one without {', '.join(missing)}")
        scale = state["contrast_scale"]
        return cls(state["mean"], state["matrix"], contrast=None if scale is None else GlobalContrast(scale))

    def __repr__(self) -> str:
        return f"ZCA(images of shape {self.mean.shape}, contrast={self.contrast!r})"


def _add_products(covariance: Array, x: Array) -> None:
    """Add x^T x to the upper triangle of `covariance`; its eigenvectors need no more than that triangle."""
    bands = slices(len(covariance), _BAND)

    def task(index: int) -> None:
        band = bands[index]
        covariance[band, band.start :] += x[:, band].T @ x[:, band.start :]

    run(task, len(bands))


def _transformed(images: Array, transform: Callable[[Array], Array]) -> Array:
    """Return float32 images whose rows are ``transform(part)`` for slices of the images, which the threads share."""
    y = np.empty(images.shape, np.float32)
    rows, parts = y.reshape(len(y), -1), slices(len(images), _SLICE_IMAGES)

    def task(index: int) -> None:
        rows[parts[index]] = transform(images[parts[index]])

    run(task, len(parts))
    return y


def _rows(images: Array, contrast: GlobalContrast | None) -> Array:
    """Return the images as rows (N, D) of float64, normalized by `contrast` unless that is None."""
    x = images.reshape(len(images), -1).astype(np.float64)
    if contrast is not None:
        x -= x.mean(axis=1, keepdims=True)
        divisor = np.sqrt(np.einsum("nd,nd->n", x, x)) / contrast.scale
        divisor[divisor < MIN_DIVISOR] = 1
        x /= divisor[:, None]
    return x


def _check(value: object) -> Array:
    """Return `value`, which must be images (N, H, W, C), uint8 or floating and finite."""
    if getattr(value, "dtype", None) == np.uint8:
        return check_uint8_images("images", value)
    return _check_finite("images", check_images("images", value))


def _check_contrast(value: object) -> GlobalContrast | None:
    if value is not None and not isinstance(value, GlobalContrast):
        raise TypeError(f"contrast must be a GlobalContrast or None, got {describe(value)}")
    return value


def _check_finite(name: str, array: Array) -> Array:
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got {describe(array)} with NaN or infinity")
    return array
