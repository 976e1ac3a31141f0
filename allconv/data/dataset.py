"""Examples in memory or in a memory map: inputs with their targets, and a weight for each where they have one."""

from collections.abc import Sequence

import numpy as np

from allconv.data.mapped import MappedRows, part_of
from allconv.typing import Array
from allconv.validation import check_array, check_int, check_weights, describe, items_of


def check_uint8_images(name: str, value: object) -> Array:
    """Return `value` as an array of uint8 images, (N, H, W, C), in which no axis has the length 0."""
    images = check_array(name, value)
    if images.dtype != np.uint8:
        hint = "; a Loader augments uint8 images before it scales them" if images.dtype.kind == "f" else ""
        raise TypeError(f"{name} must be uint8 images (N, H, W, C) with values 0..255, got {describe(value)}{hint}")
    _check_shape(name, images)
    return images


def check_inputs(name: str, value: object) -> Array:
    """Return uint8 images (N, H, W, C), or a floating array (N, ...), of at least one example.

    Of a memory map, or of rows of one, nothing is read.
    """
    inputs = value if isinstance(value, np.memmap | MappedRows) else check_array(name, value)
    if inputs.dtype != np.uint8 and inputs.dtype.kind != "f":
        raise TypeError(
            f"{name} must be uint8 images (N, H, W, C) or a floating array (N, ...), got {describe(value)}; "
            f"convert it first, e.g. {name}.astype(np.float32)"
        )
    _check_shape(name, inputs)
    return inputs  # type: ignore[return-value] # MappedRows has all that the library uses of the inputs.


def _check_shape(name: str, inputs: Array | MappedRows) -> None:
    if inputs.dtype != np.uint8:
        if inputs.ndim == 0 or inputs.size == 0:
            raise ValueError(f"{name} must hold at least one example, (N, ...), got {describe(inputs)}")
    elif inputs.ndim != 4 or inputs.size == 0:
        hint = ""
        if inputs.ndim == 3 and inputs.shape[2] in (1, 3, 4):
            hint = f"; this looks like one image: pass {name}[None]"
        elif inputs.ndim == 3:
            hint = f"; grey images (N, H, W) need an axis for their channel: pass {name}[..., None]"
        elif inputs.ndim == 2:
            hint = f"; features are floating: pass {name}.astype(np.float32)"
        raise ValueError(f"{name} must be at least one image, (N, H, W, C), got {describe(inputs)}{hint}")


def to_floating(inputs: Array) -> Array:
    """Return uint8 images divided by 255, as float32, and floating inputs unchanged."""
    return np.divide(inputs, 255, dtype=np.float32) if inputs.dtype == np.uint8 else inputs


class Dataset:
    """Inputs with one target each.

    Parameters
    ----------
    inputs : array, shape (N, ...)
        The inputs, at least one: uint8 images (N, H, W, C), or features or images of a floating dtype. They are not
        copied, and a memory map, as from ``np.load(path, mmap_mode="r")``, is not read.
    targets : array, shape (N, ...)
        The target of each input. Integers are labels from 0 to classes - 1: (N,), or (N, H, W) for the pixels of
        images. Floating targets are the numbers of a regression, or rows of probabilities, (N, classes).
    weights : array, shape (N,), optional
        How much each example counts in losses and means, a non-negative number. The default is 1 for all.
    classes : int, optional
        The number of classes. The default is the number of names. Without names it is the largest label plus 1, or
        None for floating targets.
    names : sequence of str, optional
        The name of each class.

    Attributes
    ----------
    inputs, targets : array
        The arguments; labels are int64. ``images`` and ``labels`` are other names for them.
    weights : array of float64, shape (N,), or None
        The weights.
    classes : int or None
        The number of classes.
    names : tuple of str
        The names, or an empty tuple if the classes have no names.

    Raises
    ------
    TypeError
        If the inputs are neither uint8 nor floating, or the targets neither integers nor floating.
    ValueError
        If shapes, lengths, the range of the labels, a weight or the number of names are wrong.

    Examples
    --------
    >>> dataset = Dataset(np.zeros((6, 32, 32, 3), np.uint8), np.array([0, 1, 2, 0, 1, 2]))
    >>> len(dataset), dataset.classes, len(dataset[:4]), len(dataset[dataset.labels == 2])
    (6, 3, 4, 2)
    >>> Dataset(np.ones((6, 13)), np.linspace(0, 1, 6))[[0, 2, 5]].targets
    array([0. , 0.4, 1. ])
    """

    def __init__(
        self,
        inputs: Array,
        targets: Array,
        *,
        weights: Array | None = None,
        classes: int | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        self.inputs = check_inputs("inputs", inputs)
        self.targets = _check_targets(targets, len(self.inputs))
        self.weights = None if weights is None else check_weights("weights", weights, len(self.inputs))
        self.names = _check_names(names)
        number = len(self.names) or None if classes is None else check_int("classes", classes)
        if self.targets.dtype.kind == "i":
            number = int(self.targets.max()) + 1 if number is None else number
            if self.targets.max() >= number:
                raise ValueError(f"targets must be in 0..{number - 1}, got {self.targets.max()}")
        elif number is not None and self.targets.shape != (len(self), number):
            raise ValueError(f"targets must have one column per class, {number}, got {describe(self.targets)}")
        if self.names and len(self.names) != number:
            raise ValueError(f"names must hold one name per class, {number}, got {len(self.names)}")
        self.classes = number

    @property
    def images(self) -> Array:
        """The inputs."""
        return self.inputs

    @property
    def labels(self) -> Array:
        """The targets."""
        return self.targets

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, part: slice | Sequence[int] | Array) -> "Dataset":
        """Return some of the examples as a Dataset.

        A slice, such as ``dataset[:100]``, keeps the memory. An array of indices or a mask copies the examples that it
        chooses. Those of a memory map are not copied, but read when a batch needs them.
        """
        index = part if isinstance(part, slice) else _check_index(part, len(self))
        return Dataset(
            part_of(self.inputs, index),  # type: ignore[arg-type]
            self.targets[index],
            weights=None if self.weights is None else self.weights[index],
            classes=self.classes,
            names=self.names or None,
        )

    def __repr__(self) -> str:
        shape = "x".join(str(length) for length in self.inputs.shape[1:])
        kind = f"{'images' if self.inputs.ndim == 4 else 'inputs'} {shape}".strip()
        targets = f"{self.classes} classes" if self.classes else f"targets of shape {self.targets.shape}"
        return f"Dataset({len(self)} {kind}, {targets})"


def _check_index(value: object, count: int) -> Array:
    """Return an array of indices, or a mask, of `count` examples."""
    rule = "a Dataset is indexed by a slice, such as dataset[:100], an array of indices or a mask"
    index = check_array("the index", value)
    if index.ndim != 1 or index.dtype.kind not in "iub":
        raise TypeError(f"{rule}, got {describe(value)}")
    if index.dtype.kind == "b" and len(index) != count:
        raise ValueError(f"{rule} of shape ({count},), got {describe(index)}")
    if index.dtype.kind != "b" and ((index < -count) | (index >= count)).any():
        raise IndexError(f"indices must be in {-count}..{count - 1}, got {index.min()}..{index.max()}")
    return index


def _check_targets(value: object, count: int) -> Array:
    """Return labels as int64, and floating targets unchanged; either must be one for each of `count` inputs."""
    targets = check_array("targets", value)
    if targets.dtype.kind == "f":
        if targets.ndim == 0 or len(targets) != count or targets.size == 0:
            raise ValueError(f"targets must have shape (N, ...) = ({count}, ...), got {describe(targets)}")
        return targets
    if targets.dtype.kind not in "iu":
        hint = "convert it first, e.g. targets.astype(np.int64)"
        if targets.dtype.kind in "USO":
            hint = "number the classes first: names, targets = np.unique(targets, return_inverse=True)"
        raise TypeError(f"targets must be integers, as labels are, or floating, got {describe(value)}; {hint}")
    if targets.shape[:1] != (count,) or targets.ndim not in (1, 3):
        hint = ""
        if targets.shape == (count, 1):
            hint = "; labels have one axis: pass targets[:, 0]; a regression takes floating targets"
        elif targets.ndim == 2:
            hint = "; probabilities and the numbers of a regression are floating: pass targets.astype(np.float32)"
        raise ValueError(
            f"targets must have shape (N,) = ({count},), one label for each input, got {describe(targets)}{hint}"
        )
    if targets.min() < 0:
        hint = "classes count from 0, and numbers of a regression are floating: targets.astype(np.float32)"
        raise ValueError(f"targets must be in 0.., got {targets.min()}; {hint}")
    if targets.max() > np.iinfo(np.int64).max:
        raise ValueError(f"targets must be in 0..{np.iinfo(np.int64).max}, got {targets.max()}")
    return targets.astype(np.int64)


def _check_names(names: Sequence[str] | None) -> tuple[str, ...]:
    if names is None:
        return ()
    listed = None if isinstance(names, str) else items_of(names)
    if listed is None or not all(isinstance(name, str) for name in listed):
        raise TypeError(f"names must be a sequence of str, got {describe(names)}")
    return tuple(listed)
