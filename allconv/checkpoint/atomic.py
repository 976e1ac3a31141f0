"""Files that appear whole or not at all, whatever kills the process or fills the disk.

A file is written under another name in the same folder, and renamed when it is whole and on the disk.
"""

import contextlib
import errno
import os
import re
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from allconv.validation import check_path

_TEMPORARY = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.allconv\.tmp", re.DOTALL)


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    r"""Open a binary file that takes its place at `path` when the ``with`` block ends without an error.

    The file is written aside in the same folder, so that the last step is a rename, which is atomic. It is flushed
    and fsynced before the rename, and the folder after it, so that a power cut too leaves the old file or the new
    one. What earlier processes left behind of `path` when they were killed is removed first.

    Parameters
    ----------
    path : Path
        A regular file there is replaced, and so is a symbolic link to one, which is not followed. The new file's mode
        is the umask's.

    Yields
    ------
    file
        The open file, for writing.

    Raises
    ------
    OSError
        Of the class that fits the cause (`PermissionError`, `FileNotFoundError`, ...), with `path` as its file
        name: the disk is full, the folder is missing or not writable, a folder, a device or a FIFO is at `path`,
        memory runs out, ... Then nothing of the new file is left, and a file that was at `path` is as it was.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_write(Path(folder) / "log.csv") as file:
    ...         n = file.write(b"epoch,loss\n")
    ...     (Path(folder) / "log.csv").read_text()
    'epoch,loss\n'
    """
    path = check_path("path", path)
    with naming(path):
        _check_replaceable(path)
        remove_stale(path.parent, re.compile(re.escape(path.name)))
        # A name of its own for each writer: of two that write `path` at once, neither renames the other's half.
        temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.allconv.tmp")
        try:
            with temporary.open("xb") as file:
                yield file
                file.flush()
                _sync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):  # the first error is the one to tell; the next write tries again
                temporary.unlink()
            raise
        sync_folder(path.parent)


def _check_replaceable(path: Path) -> None:
    """Raise where `path` is something that a rename would put out of use: a folder, a device, a FIFO, a socket."""
    try:
        mode = path.stat().st_mode
    except OSError:  # nothing is there; where the reason is another, the writing will tell
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise FileExistsError(errno.EEXIST, "A device or a FIFO is there, which is not replaced")


def make_folder(folder: Path) -> None:
    """Make `folder` and the parents that are missing, so that they are still there after a power cut.

    Parameters
    ----------
    folder : Path
        It may be there already.

    Raises
    ------
    OSError
        A file is in its place (`FileExistsError`), or the folder cannot be made.
    """
    with naming(folder):
        if not folder.is_dir():
            make_folder(folder.parent)
            folder.mkdir(exist_ok=True)
            sync_folder(folder.parent)


def remove_stale(folder: Path, name: re.Pattern[str]) -> None:
    """Remove the temporary files that killed processes left in `folder`.

    Parameters
    ----------
    folder : Path
        Where they wrote.
    name : re.Pattern
        It must match the whole name of the file that was to be written.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            match = _TEMPORARY.fullmatch(entry.name)
            if match and name.fullmatch(match["name"]) and entry.is_file(follow_symlinks=False):
                remove(folder / entry.name)


def remove(path: Path) -> None:
    """Remove a file that is no longer needed. A failure is a RuntimeWarning, since no data is lost by it."""
    try:
        path.unlink(missing_ok=True)
    except (OSError, MemoryError) as error:
        warnings.warn(f"{path} is no longer needed, but could not be removed: {error}", RuntimeWarning, stacklevel=2)


def sync_folder(folder: Path) -> None:
    """Flush `folder` to the disk, so that renames in it last through a power cut. On Windows it does nothing."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _sync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems have no fsync of a folder
            raise
    finally:
        os.close(descriptor)


def _sync(descriptor: int) -> None:
    """Flush an open file or folder to the disk. In a browser there is no disk, and some Pythons there have no fsync."""
    if hasattr(os, "fsync"):
        os.fsync(descriptor)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let each OSError in the ``with`` block name `path`, where it would name a temporary file or none.

    MemoryError becomes an OSError too, so that a caller has one kind of error to handle.
    """
    try:
        yield
    except OSError as error:
        code = error.errno or errno.EIO
        raise OSError(code, error.strerror or str(error) or os.strerror(code), str(path)) from error
    except MemoryError as error:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM), str(path)) from error
