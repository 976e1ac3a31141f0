"""Data sets, loaders, augmentation and normalization."""

from allconv.data.augment import Affine, Fliplr, KeepOriginals, Sequential, Sometimes, article_augment
from allconv.data.dataset import Dataset
from allconv.data.loader import Loader
from allconv.data.normalize import Standardize, per_step

__all__ = [
    "Affine",
    "Dataset",
    "Fliplr",
    "KeepOriginals",
    "Loader",
    "Sequential",
    "Sometimes",
    "Standardize",
    "article_augment",
    "per_step",
]
