"""Images and their labels in memory."""

from collections.abc import Sequence

import numpy as np

from allconv.typing import Array
from allconv.validation import check_array, check_int, describe


def check_uint8_images(name: str, value: object) -> Array:
    """Return `value` as an array of uint8 images, (N, H, W, C), in which no axis has the length 0."""
    images = check_array(name, value)
    if images.dtype != np.uint8:
        raise TypeError(f"{name} must be uint8 images (N, H, W, C) with values 0..255, got {describe(value)}")
    if images.ndim != 4 or images.size == 0:
        raise ValueError(f"{name} must be at least one image, (N, H, W, C), got {describe(images)}")
    return images


class Dataset:
    """Images with one class label each.

    Parameters
    ----------
    images : array of uint8, shape (N, H, W, C)
        The images, at least one. They are not copied.
    labels : array of int, shape (N,)
        The label of each image, from 0 to classes - 1.
    classes : int, optional
        The number of classes. The default is the number of names, or the largest label plus 1 if there are no names.
    names : sequence of str, optional
        The name of each class.

    Attributes
    ----------
    images : array of uint8, shape (N, H, W, C)
        The images.
    labels : array of int64, shape (N,)
        The labels.
    classes : int
        The number of classes.
    names : tuple of str
        The names, or an empty tuple if the classes have no names.

    Raises
    ------
    TypeError
        If the images are not uint8 or the labels not integers.
    ValueError
        If shapes, lengths, the range of the labels or the number of names are wrong.

    Examples
    --------
    >>> dataset = Dataset(np.zeros((6, 32, 32, 3), np.uint8), np.array([0, 1, 2, 0, 1, 2]))
    >>> len(dataset), dataset.classes, len(dataset[:4])
    (6, 3, 4)
    """

    def __init__(
        self, images: Array, labels: Array, *, classes: int | None = None, names: Sequence[str] | None = None
    ) -> None:
        self.images = check_uint8_images("images", images)
        self.labels = _check_labels(labels, len(self.images))
        self.names = _check_names(names)
        default = len(self.names) or int(self.labels.max()) + 1
        self.classes = default if classes is None else check_int("classes", classes)
        if self.names and len(self.names) != self.classes:
            raise ValueError(f"names must hold one name per class, {self.classes}, got {len(self.names)}")
        if self.labels.max() >= self.classes:
            raise ValueError(f"labels must be in 0..{self.classes - 1}, got {self.labels.max()}")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, part: slice) -> "Dataset":
        """Return the examples of a slice, such as ``dataset[:100]``, as a Dataset on the same memory."""
        if not isinstance(part, slice):
            raise TypeError(f"a Dataset is indexed by a slice, such as dataset[:100], got {describe(part)}")
        return Dataset(self.images[part], self.labels[part], classes=self.classes, names=self.names or None)

    def __repr__(self) -> str:
        shape = "x".join(str(length) for length in self.images.shape[1:])
        return f"Dataset({len(self)} images {shape}, {self.classes} classes)"


def _check_labels(value: object, count: int) -> Array:
    labels = check_array("labels", value)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels must be integers, got {describe(value)}")
    if labels.shape != (count,):
        raise ValueError(f"labels must have shape (N,) = ({count},), one for each image, got {describe(labels)}")
    if labels.min() < 0:
        raise ValueError(f"labels must be in 0.., got {labels.min()}")
    if labels.max() > np.iinfo(np.int64).max:
        raise ValueError(f"labels must be in 0..{np.iinfo(np.int64).max}, got {labels.max()}")
    return labels.astype(np.int64)


def _check_names(names: Sequence[str] | None) -> tuple[str, ...]:
    if names is None:
        return ()
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"names must be a sequence of str, got {describe(names)}")
    return tuple(names)
