"""Data sets, loaders, augmentation and normalization."""

from allconv.data.augment import Affine, Fliplr, KeepOriginals, Sequential, Sometimes, article_augment
from allconv.data.cifar import cifar10, find_cifar10
from allconv.data.dataset import Dataset
from allconv.data.download import download_cifar10
from allconv.data.imgaug_adapter import Imgaug, imgaug_article_augment, import_imgaug
from allconv.data.loader import Loader
from allconv.data.normalize import Standardize, per_step
from allconv.data.shapes import shapes

__all__ = [
    "Affine",
    "Dataset",
    "Fliplr",
    "Imgaug",
    "KeepOriginals",
    "Loader",
    "Sequential",
    "Sometimes",
    "Standardize",
    "article_augment",
    "cifar10",
    "download_cifar10",
    "find_cifar10",
    "imgaug_article_augment",
    "import_imgaug",
    "per_step",
    "shapes",
]
