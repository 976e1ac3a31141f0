"""Augmentation by imgaug, the package of the article; the extra ``augment`` installs it."""

import importlib
from typing import Any

import numpy as np

from allconv.data.augment import check_call
from allconv.typing import Array
from allconv.validation import check_int, describe


def import_imgaug() -> Any:
    """Return the module imgaug, also on NumPy 2, where a plain ``import imgaug`` fails.

    imgaug 0.4.0, of 2020 and its last release, reads ``np.sctypes`` while it is imported, which NumPy 2 has no more:
    the name is there for as long as the import takes. The maintained fork imaug has the same import name, and works.

    Raises
    ------
    ImportError
        If imgaug, or a library that it needs, is not installed.
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
    """Let an augmenter of imgaug work as one of ours, with its randomness from the passed Generator.

    Parameters
    ----------
    augmenter : imgaug.augmenters.Augmenter
        One that keeps the images' shape. It is seeded anew at each call, with all its children.

    Raises
    ------
    ImportError
        If imgaug is not installed.

    Notes
    -----
    For example::

        iaa = import_imgaug().augmenters
        augment = Imgaug(iaa.Sequential([iaa.Fliplr(0.5), iaa.Multiply((0.8, 1.2))]))
    """

    def __init__(self, augmenter: Any) -> None:
        if not isinstance(augmenter, import_imgaug().augmenters.Augmenter):
            raise TypeError(f"augmenter must be an augmenter of imgaug, got {describe(augmenter)}")
        self.augmenter = augmenter

    def __call__(self, images: Array, rng: np.random.Generator) -> Array:
        """Return the augmented images, (N, H, W, C) uint8 as they came."""
        images, rng = check_call(images, rng)
        # The argument `seed` of imgaug's Sequential does not reach its children; seed_ does.
        self.augmenter.seed_(int(rng.integers(2**31)))
        result = self.augmenter(images=images)
        if not isinstance(result, np.ndarray) or (result.shape, result.dtype) != (images.shape, images.dtype):
            raise ValueError(f"augmenter must keep the images' shape {images.shape}, got {describe(result)}")
        return result

    def __repr__(self) -> str:
        return f"Imgaug({self.augmenter!r})"


def imgaug_article_augment(size: int = 32) -> Imgaug:
    """Return the article's augmenter built of imgaug's operators; `article_augment` is the same in NumPy.

    Parameters
    ----------
    size : int, default 32
        Width and height of the images. imgaug 0.2 rounded a translation in per cent to whole pixels, 0.4 does not:
        they are drawn in pixels here, so that they stay what the article had.

    Raises
    ------
    ImportError
        If imgaug is not installed.
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
