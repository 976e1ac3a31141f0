"""Global contrast normalization and ZCA whitening: the preprocessing of the paper "Striving for Simplicity"."""

import math
from typing import Any

import numpy as np

from allconv.data.dataset import check_uint8_images
from allconv.parallel.threads import run, single_threaded_blas, slices
from allconv.typing import Array
from allconv.validation import check_floating, check_images, check_positive, describe

_MIN_DIVISOR = 1e-8  # pylearn2's: what an image is never divided by less than
_LARGEST = 64 * 64 * 3  # values of an image: their covariance then takes 1.2 GB, its eigenvectors as much again
_SLICE_IMAGES = 64  # whitened by one task: enough that reading the matrix is little beside the product with it
_BLOCK_IMAGES = 512  # of which the covariance takes the products at a time
_BAND = 192  # rows of the covariance that one task sums


class GlobalContrast:
    r"""Subtract from each image its mean, and scale what is left to the norm `scale`.

    .. math:: y_n = s \, \frac{x_n - \bar x_n}{\lVert x_n - \bar x_n \rVert}, \qquad
        \bar x_n = \frac{1}{H W C} \sum_{hwc} x_{nhwc}

    where the norm is that of all :math:`H W C` values of the image. Each image is normalized by itself, so there is
    nothing to fit. An image whose norm, divided by :math:`s`, is under 1e-8 has no contrast, and is not divided.

    Parameters
    ----------
    scale : float, default 55.0
        :math:`s`, positive. For images of 32x32x3 values the default makes the mean square of a value 0.98.

    Notes
    -----
    pylearn2's ``global_contrast_normalize(X, scale=55., sqrt_bias=0., min_divisor=1e-8)``, in pylearn2/expr/
    preprocessing.py; 55 is what pylearn2/scripts/datasets/make_cifar10_gcn_whitened.py takes. Goodfellow et al. (2013),
    Maxout networks, whose preprocessing the paper follows (its section 3.1).

    Examples
    --------
    >>> images = np.array([1, 3, 7, 7], np.uint8).reshape(2, 1, 2, 1)
    >>> GlobalContrast(np.sqrt(2))(images).reshape(2, 2)
    array([[-1.,  1.],
           [ 0.,  0.]], dtype=float32)
    """

    def __init__(self, scale: float = 55.0) -> None:
        self.scale = check_positive("scale", scale)

    def __call__(self, images: Array) -> Array:
        """Return the normalized images (N, H, W, C), uint8 or floating, as float32."""
        images = _check(images)
        y = np.empty(images.shape, np.float32)
        rows, parts = y.reshape(len(y), -1), slices(len(images), _SLICE_IMAGES)

        def task(index: int) -> None:
            rows[parts[index]] = _rows(images[parts[index]], self)

        run(task, len(parts))
        return y

    def __repr__(self) -> str:
        return f"GlobalContrast({self.scale:g})"


class ZCA:
    r"""Decorrelate the values of an image, and bring each direction to about the same variance.

    .. math:: y = P (x - \mu), \qquad P = E (\Lambda + \varepsilon I)^{-1/2} E^T, \qquad
        \Sigma = \frac{1}{N} \sum_n (x_n - \mu)(x_n - \mu)^T = E \Lambda E^T

    with images as vectors of :math:`D = H W C` values. The covariance of the result is :math:`P \Sigma P`, with the
    eigenvalues :math:`\lambda / (\lambda + \varepsilon)`: 1 in the directions where the images vary by much more than
    :math:`\varepsilon`, and less where there is little but noise, which is not blown up. Of all matrices that whiten
    so, the symmetric :math:`P` leaves the images closest to what they were: they still look like images.

    Parameters
    ----------
    mean : (H, W, C)
        :math:`\mu`, finite.
    matrix : (D, D)
        :math:`P`, finite.
    contrast : GlobalContrast, optional
        What is applied to the images first. By default nothing is.

    Attributes
    ----------
    mean, matrix : float32 arrays
    contrast : GlobalContrast or None

    Notes
    -----
    Bell and Sejnowski (1997), The "independent components" of natural scenes are edge filters. The bias, its default
    and the division by N are those of ``ZCA(filter_bias=0.1)`` in pylearn2/datasets/preprocessing.py.

    Examples
    --------
    Fitted on the training images alone, it is the `normalize` of a Loader:

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
    def fit(cls, images: Array, *, bias: float = 0.1, contrast: GlobalContrast | None = None) -> "ZCA":
        r"""Return the whitening of `images`.

        Sums and eigenvectors are float64. The images are gone through twice, a block at a time, so that beside them
        only a few matrices (D, D) need memory: 75 MB each for 32x32x3 values.

        Parameters
        ----------
        images : (N, H, W, C) uint8 or floating
            The training images, at most 12,288 values each. Fewer images than values will do: the directions in which
            none of them varies are scaled by :math:`\varepsilon^{-1/2}`.
        bias : float, default 0.1
            :math:`\varepsilon`, positive.
        contrast : GlobalContrast, optional
            Applied first, here and to all images whitened later.

        Raises
        ------
        TypeError, ValueError
            For an argument outside its range.
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
        # NumPy's BLAS at one thread gives the same bits whatever the number of cores; LAPACK's work is done once.
        with single_threaded_blas():
            variances, directions = np.linalg.eigh(covariance, UPLO="U")
            variances = np.maximum(variances, 0)  # rounding may leave -1e-15 where none of the images varies
            matrix = (directions / np.sqrt(variances + bias)) @ directions.T
        return cls(mean.reshape(shape), matrix, contrast=contrast)

    def __call__(self, images: Array) -> Array:
        """Return the whitened images (N, H, W, C), uint8 or floating, as float32."""
        images = _check(images)
        if images.shape[1:] != self.mean.shape:
            raise ValueError(f"images must have the fitted shape {self.mean.shape}, got {describe(images)}")
        y = np.empty(images.shape, np.float32)
        rows, mean, parts = y.reshape(len(y), -1), self.mean.ravel(), slices(len(images), _SLICE_IMAGES)

        def task(index: int) -> None:
            x = _rows(images[parts[index]], self.contrast)
            np.matmul((x - mean).astype(np.float32), self.matrix.T, out=rows[parts[index]])

        run(task, len(parts))
        return y

    def state(self) -> dict[str, Any]:
        """Return all there is to save, as arrays and plain values; ``ZCA.from_state(state)`` is the same again."""
        scale = None if self.contrast is None else self.contrast.scale
        return {"mean": self.mean, "matrix": self.matrix, "contrast_scale": scale}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "ZCA":
        """Return the whitening that `state` described.

        Raises
        ------
        ValueError
            The state lacks a part, and the message says which; or one of them is wrong.
        """
        missing = [key for key in ("mean", "matrix", "contrast_scale") if key not in state]
        if missing:
            raise ValueError(f"state must be that of a ZCA, got one without {', '.join(missing)}")
        scale = state["contrast_scale"]
        return cls(state["mean"], state["matrix"], contrast=None if scale is None else GlobalContrast(scale))

    def __repr__(self) -> str:
        return f"ZCA(images of shape {self.mean.shape}, contrast={self.contrast!r})"


def _add_products(covariance: Array, x: Array) -> None:
    """Add x^T x to the upper triangle of `covariance`, which is all that its eigenvectors need."""
    bands = slices(len(covariance), _BAND)

    def task(index: int) -> None:
        band = bands[index]
        covariance[band, band.start :] += x[:, band].T @ x[:, band.start :]

    run(task, len(bands))


def _rows(images: Array, contrast: GlobalContrast | None) -> Array:
    """Return the images as rows (N, D) of float64, with their contrast normalized if it is to be."""
    x = images.reshape(len(images), -1).astype(np.float64)
    if contrast is not None:
        x -= x.mean(axis=1, keepdims=True)
        divisor = np.sqrt(np.einsum("nd,nd->n", x, x)) / contrast.scale
        divisor[divisor < _MIN_DIVISOR] = 1
        x /= divisor[:, None]
    return x


def _check(value: object) -> Array:
    """Return images (N, H, W, C), uint8 or floating and finite."""
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
