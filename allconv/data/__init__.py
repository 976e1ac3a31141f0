"""Data sets, loaders, augmentation and normalization."""

from typing import TYPE_CHECKING, Any

from allconv.data.augment import Affine, Fliplr, KeepOriginals, RandomShift, Sequential, Sometimes, article_augment
from allconv.data.cifar import CLASSES as CIFAR10_CLASSES
from allconv.data.cifar import cifar10, find_cifar10
from allconv.data.dataset import Dataset
from allconv.data.imgaug_adapter import Imgaug, imgaug_article_augment, import_imgaug
from allconv.data.loader import Loader
from allconv.data.normalize import Standardize, per_step
from allconv.data.patches import whitening_filters
from allconv.data.shapes import shapes
from allconv.data.splitting import split
from allconv.data.views import mirror_views, shift_views
from allconv.data.whitening import ZCA, GlobalContrast

if TYPE_CHECKING:
    from allconv.data.cifar.download import download_cifar10

__all__ = [
    "CIFAR10_CLASSES",
    "ZCA",
    "Affine",
    "Dataset",
    "Fliplr",
    "GlobalContrast",
    "Imgaug",
    "KeepOriginals",
    "Loader",
    "RandomShift",
    "Sequential",
    "Sometimes",
    "Standardize",
    "article_augment",
    "cifar10",
    "download_cifar10",
    "find_cifar10",
    "imgaug_article_augment",
    "import_imgaug",
    "mirror_views",
    "per_step",
    "shapes",
    "shift_views",
    "split",
    "whitening_filters",
]


def __getattr__(name: str) -> Any:
    # Downloads are rare, and what they import (http, tqdm) would be a sixth of the time of ``import allconv``.
    if name == "download_cifar10":
        from allconv.data.cifar.download import download_cifar10

        return download_cifar10
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
