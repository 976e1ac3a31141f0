"""Augmentation by imgaug, the package of the 2018 article; the extra ``augment`` installs it."""

import importlib
from typing import Any

import numpy as np

from allconv.data.augment import check_call
from allconv.typing import Array
from allconv.validation import check_int, describe


def import_imgaug() -> Any:
    """Return the module imgaug, also on NumPy 2, where a plain ``import imgaug`` fails.

    imgaug 0.4.0 of 2020, its last release, reads ``np.sctypes`` during its import, and NumPy 2 lacks that name. This
    function provides the name for the time of the import. The maintained fork imaug has the same import name, and
    works too.

    Returns
    -------
    module
        The module imgaug.

    Raises
    ------
    ImportError
        If imgaug, or a library that imgaug needs, is not installed.

    Examples
    --------
    >>> import_imgaug().__version__ >= "0.4"
    True
    """
    missing = not hasattr(np, "sctypes")
    if missing:
        vars(np)["sctypes"] = {
            "float": [np.float16, np.float32, np.float64, np.longdouble],
            "int": [np.int8, np.int16, np.int32, np.int64],
            "uint": [np.uint8, np.uint16, np.uint32, np.uint64],
        }
    try:
        return importlib.import_module("imgaug")
    except ImportError as error:
        raise ImportError(
            f"augmentation by imgaug needs the extra 'augment', pip install 'allconv[augment]': {error}"
        ) from error
    finally:
        if missing:
            del vars(np)["sctypes"]


class Imgaug:
    """Wrap an augmenter of imgaug as an augmenter of this library, which draws from the passed Generator.

    Parameters
    ----------
    augmenter : imgaug.augmenters.Augmenter
        The augmenter, which must keep the shape of the images as a whole. In between it may change the shape, as in a
        padding that a random crop follows. Each call seeds it anew, with all its children.

    Raises
    ------
    ImportError
        If imgaug is not installed.
    TypeError, ValueError
        If `augmenter` is not an augmenter of imgaug; from a call, if the images are not uint8 images, `rng` is no
        Generator, or the augmenter changed the shape or dtype of the images.

    Examples
    --------
    >>> iaa = import_imgaug().augmenters
    >>> augment = Imgaug(iaa.Sequential([iaa.Fliplr(1.0), iaa.Multiply(2.0)]))
    >>> augment(np.arange(3, dtype=np.uint8).reshape(1, 1, 3, 1), np.random.default_rng(0)).ravel()
    array([4, 2, 0], dtype=uint8)
    """

    def __init__(self, augmenter: Any) -> None:
        if not isinstance(augmenter, import_imgaug().augmenters.Augmenter):
            raise TypeError(f"augmenter must be an augmenter of imgaug, got {describe(augmenter)}")
        self.augmenter = augmenter

    def __call__(self, images: Array, rng: np.random.Generator) -> Array:
        """Return the augmented images, (N, H, W, C) uint8."""
        images, rng = check_call(images, rng)
        # The argument `seed` of imgaug's Sequential does not reach its children, but the method seed_ does.
        self.augmenter.seed_(int(rng.integers(2**31)))
        result = self.augmenter(images=images)
        # imgaug returns a list of images after an augmenter that may give each image another size.
        if isinstance(result, list) and len({np.shape(image) for image in result}) == 1:
            result = np.stack(result)
        if not isinstance(result, np.ndarray) or (result.shape, result.dtype) != (images.shape, images.dtype):
            raise ValueError(f"augmenter must keep the images' shape {images.shape}, got {describe(result)}")
        return result

    def __repr__(self) -> str:
        return f"Imgaug({self.augmenter!r})"


def imgaug_article_augment(size: int = 32) -> Imgaug:
    """Return the augmenter of the 2018 article, built of imgaug's operators.

    `article_augment` does the same in NumPy.

    Parameters
    ----------
    size : int, default 32
        The width and height of the images in pixels. imgaug 0.2, which the article used, rounded a translation in per
        cent to whole pixels, and imgaug 0.4 does not. So translations are drawn in pixels here.

    Returns
    -------
    Imgaug
        The augmenter.

    Raises
    ------
    ImportError
        If imgaug is not installed.
    TypeError, ValueError
        If `size` is not a positive int.

    Examples
    --------
    >>> imgaug_article_augment()(np.zeros((4, 32, 32, 3), np.uint8), np.random.default_rng(0)).shape
    (4, 32, 32, 3)
    """
    reach = 0.2 * check_int("size", size)
    imgaug = import_imgaug()
    iaa, iap = imgaug.augmenters, imgaug.parameters
    shift = iap.Discretize(iap.Uniform(-reach, reach))
    return Imgaug(
        iaa.Sequential(
            [
                iaa.Fliplr(1.0),
                iaa.Sometimes(0.1, iaa.Affine(translate_px={"x": shift, "y": shift})),
                iaa.Sometimes(0.1, iaa.Affine(rotate=(-25, 25))),
                iaa.Sometimes(0.1, iaa.Affine(scale={"x": (0.8, 1.2), "y": (0.8, 1.2)})),
            ],
            random_order=True,
        )
    )
