"""The files of CIFAR-10 turned into data sets: checked, and read without trusting them.

Two official layouts hold the same six batches of 10,000 images: binary files, each record one label byte and then
the red, green and blue planes of 32x32 pixels, row by row; and pickled dicts with ``labels`` and ``data``,
(10000, 3072) uint8. The binary one needs no pickle and is preferred.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from allconv.data.cifar.archive import read_members, size_rule
from allconv.data.cifar.find import BATCHES, SUFFIXES, find_cifar10, locate_given, missing_files, usual_places
from allconv.data.cifar.unpickle import loads
from allconv.data.dataset import Dataset
from allconv.typing import Array
from allconv.validation import describe

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

_RECORDS = 10_000  # images in a batch
_PIXELS = 3 * 32 * 32
_MAX_PICKLE = 128 << 20  # protocol 0 writes up to four characters a byte


def cifar10(path: str | os.PathLike[str] | None = None) -> tuple[Dataset, Dataset]:
    """Read CIFAR-10: 50,000 training and 10,000 test images in ten classes.

    Parameters
    ----------
    path : path, optional
        A folder ``cifar-10-batches-bin`` or ``cifar-10-batches-py``, the folder that holds it, or a .tar.gz of either,
        which is read without extracting it. By default what `find_cifar10` finds.

    Returns
    -------
    train : Dataset
        The 50,000 training images (N, 32, 32, 3) uint8, their labels (N,) int64 in 0..9, and the names of the classes.
    test : Dataset
        The 10,000 test images, likewise.

    Raises
    ------
    FileNotFoundError
        If there is nothing to read, or one of the six batches is missing.
    ValueError
        If a file is cut, damaged, of another size or shape, holds a label outside 0..9, or code. Files are not
        compared with the official checksums: re-encoded copies are as welcome.

    Notes
    -----
    Krizhevsky (2009), Learning multiple layers of features from tiny images, chapter 3. Pickled batches are read by
    a reader that cannot run code.

    Examples
    --------
    >>> cifar10("no/such/folder")
    Traceback (most recent call last):
    FileNotFoundError: path must be a folder or .tar.gz of CIFAR-10, got no/such/folder, which does not exist
    """
    source = find_cifar10() if path is None else locate_given(path)
    if source is None:
        raise FileNotFoundError(
            "path must be given where CIFAR-10 is in none of the usual places, got None; looked in "
            f"{', '.join(map(str, usual_places()))}; allconv.data.download_cifar10() downloads it (170 MB)"
        )
    images = np.empty((len(BATCHES), _RECORDS, 32, 32, 3), np.uint8)
    labels = np.empty((len(BATCHES), _RECORDS), np.int64)
    for index, name, contents in _read_archive(source) if source.is_file() else _read_folder(source):
        planes, labels[index] = (
            _parse_binary(name, contents) if name.endswith(".bin") else _parse_pickle(name, contents)
        )
        images[index] = planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    train = Dataset(images[:-1].reshape(-1, 32, 32, 3), labels[:-1].reshape(-1), names=CLASSES)
    return train, Dataset(images[-1], labels[-1], names=CLASSES)


def _sizes(suffix: str) -> range:
    """Return how many bytes a batch of the layout with this suffix may have."""
    binary = _RECORDS * (1 + _PIXELS)
    return range(binary, binary + 1) if suffix else range(_RECORDS * _PIXELS, _MAX_PICKLE + 1)


def _read_folder(folder: Path) -> Iterator[tuple[int, str, bytes]]:
    """Yield index, name and contents of each batch."""
    suffix = "" if missing_files(folder, ".bin") else ".bin"
    for index, batch in enumerate(BATCHES):
        file = folder / (batch + suffix)
        size = file.stat().st_size
        if size not in _sizes(suffix):
            raise ValueError(f"{file} must have {size_rule(_sizes(suffix))}, got {size:,}")
        yield index, str(file), file.read_bytes()


def _read_archive(path: Path) -> Iterator[tuple[int, str, bytes]]:
    """Yield index, name and contents of each batch, of the layout whose batch comes first."""
    sizes = {f"{folder}/{batch}{suffix}": _sizes(suffix) for folder, suffix in SUFFIXES.items() for batch in BATCHES}
    layout = ""
    missing = set(BATCHES)
    for name, contents in read_members(path, sizes):
        folder, file = name.split("/")
        layout = layout or folder
        if folder == layout:
            batch = file.removesuffix(SUFFIXES[folder])
            missing.remove(batch)
            yield BATCHES.index(batch), f"{path}: {name}", contents
    if missing:
        raise ValueError(
            f"{path} must hold the six batches of CIFAR-10 under cifar-10-batches-bin or cifar-10-batches-py, "
            f"got no {', '.join(sorted(missing))}"
        )


def _parse_binary(name: str, contents: bytes) -> tuple[Array, Array]:
    """Return pixels, (N, 3072) uint8, and labels, (N,)."""
    records = np.frombuffer(contents, np.uint8).reshape(_RECORDS, 1 + _PIXELS)
    return records[:, 1:], _check_labels(name, records[:, 0].tolist())


def _parse_pickle(name: str, contents: bytes) -> tuple[Array, Array]:
    """Return pixels, (N, 3072) uint8, and labels, (N,)."""
    batch = loads(contents, name)
    data, labels = batch.get("data"), batch.get("labels")
    if not isinstance(data, np.ndarray) or data.shape != (_RECORDS, _PIXELS):
        raise ValueError(f"{name} must hold data, a uint8 array of shape {(_RECORDS, _PIXELS)}, got {_brief(data)}")
    if isinstance(labels, np.ndarray):
        labels = labels.tolist()
    if not isinstance(labels, list) or len(labels) != _RECORDS:
        raise ValueError(f"{name} must hold labels, a list of {_RECORDS:,} ints, got {_brief(labels)}")
    return data, _check_labels(name, labels)


def _check_labels(name: str, labels: list[Any]) -> Array:
    for record, label in enumerate(labels):
        if type(label) is not int or not 0 <= label < len(CLASSES):
            value = label if type(label) is int else _brief(label)
            raise ValueError(f"{name} must hold labels in 0..9, got {value} in record {record:,}")
    return np.array(labels, np.int64)


def _brief(value: object) -> str:
    """Say what a file holds without repeating it: a hostile value may be long, or deep."""
    if isinstance(value, np.ndarray):
        return describe(value)
    return f"{type(value).__name__} of length {len(value)}" if isinstance(value, list) else type(value).__name__
