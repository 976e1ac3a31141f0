"""The places where people keep CIFAR-10, and the names that its files have there.

Two official layouts hold the same six batches of 10,000 images: a folder ``cifar-10-batches-bin`` of binary files, and
a folder ``cifar-10-batches-py`` of pickled dicts. Either may still be packed in its .tar.gz.
"""

import os
from pathlib import Path

import platformdirs

from allconv.validation import check_path

BATCHES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch")
# The folder of each layout, and how its files' names end.
SUFFIXES = {"cifar-10-batches-bin": ".bin", "cifar-10-batches-py": ""}
DOWNLOADED = "cifar-10-binary.tar.gz"  # what `download_cifar10` fetches: to read this layout needs no pickle
# The official archives, and what Keras 2 and Keras 3 call the second.
_ARCHIVES = (DOWNLOADED, "cifar-10-python.tar.gz", "cifar-10-batches-py.tar.gz", "cifar-10-batches-py-target_archive")


def data_folder() -> Path:
    """Return the folder of downloads: ``ALLCONV_DATA``, or else allconv's folder in the platform's cache.

    Returns
    -------
    Path
        The folder, which need not exist.
    """
    chosen = os.environ.get("ALLCONV_DATA")
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("allconv")


def find_cifar10() -> Path | None:
    """Return the first folder or archive of CIFAR-10 in the places where people keep it.

    These are ``ALLCONV_DATA``; allconv's folder in the platform's cache; ``data`` and the current folder, as users of
    torchvision have it; the folder of Keras 2 and 3, in ``KERAS_HOME`` or ``~/.keras``; ``../data``, ``datasets``,
    ``~/data`` and ``~/datasets``.

    Returns
    -------
    Path or None
        A folder that holds all six batches, or a .tar.gz, as `data.cifar10` takes it. None if no place has one.

    Examples
    --------
    >>> source = find_cifar10()
    >>> source is None or source.exists()
    True
    """
    return next((found for place in usual_places() if (found := locate(place)) is not None), None)


def usual_places() -> list[Path]:
    """Return the places in which `find_cifar10` looks, in its order."""
    try:
        home = [Path.home()]
    except RuntimeError:  # a user without a home
        home = []
    keras_home = os.environ.get("KERAS_HOME")
    keras = [Path(keras_home).expanduser()] if keras_home else [folder / ".keras" for folder in home]
    places = [data_folder(), platformdirs.user_cache_path("allconv"), Path("data"), Path()]
    for folder in keras:
        places += [folder / "datasets", folder / "datasets" / "cifar-10-batches-py-target"]
    places += [Path("../data"), Path("datasets"), *(folder / name for folder in home for name in ("data", "datasets"))]
    return list(dict.fromkeys(places))


def locate(path: Path) -> Path | None:
    """Return the complete folder of batches, or else the archive, that is `path` or lies in it; None without one."""
    if _is_file(path):
        return path
    for folder in (path, *(path / name for name in SUFFIXES)):
        if any(not missing_files(folder, suffix) for suffix in SUFFIXES.values()):
            return folder
    return next((path / name for name in _ARCHIVES if _is_file(path / name)), None)


def locate_given(path: object) -> Path:
    """Return what `locate` finds at a path that the caller gave.

    Raises
    ------
    TypeError
        If `path` is not a path.
    FileNotFoundError
        If nothing can be read there; the message says what is missing.
    """
    given = check_path("path", path).expanduser()
    found = locate(given)
    if found is not None:
        return found
    if not given.exists():
        raise FileNotFoundError(f"path must be a folder or .tar.gz of CIFAR-10, got {given}, which does not exist")
    for folder in (given, *(given / name for name in SUFFIXES)):
        for suffix in SUFFIXES.values():
            missing = missing_files(folder, suffix)
            if len(missing) < len(BATCHES):
                raise FileNotFoundError(f"{folder} must hold the six batches of CIFAR-10, got no {', '.join(missing)}")
    raise FileNotFoundError(
        f"path must be a folder or .tar.gz of CIFAR-10, got {given}, which holds neither data_batch_1.bin "
        f"nor data_batch_1, nor any of {', '.join((*SUFFIXES, *_ARCHIVES))}"
    )


def missing_files(folder: Path, suffix: str) -> list[str]:
    """Return the names of the batches that `folder` lacks, in the layout whose names end in `suffix`."""
    return [batch + suffix for batch in BATCHES if not _is_file(folder / (batch + suffix))]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # in a folder that we may not enter
        return False
