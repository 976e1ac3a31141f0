"""Files that appear whole or not at all, whatever kills the process or fills the disk.

A file is written under another name in the same folder, and renamed when it is whole and on the disk.
"""

import contextlib
import errno
import os
import platform
import re
import stat
import time
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from allconv.validation import check_path

_HOST = f"{zlib.crc32(platform.node().encode()):08x}"  # this machine, among those that share a folder
_TEMPORARY = re.compile(
    r"\.(?P<name>.+)\.(?P<host>[0-9a-f]{8})-(?P<pid>[0-9]{1,9})-[0-9a-f]{8}\.allconv\.tmp", re.DOTALL
)
# The names of the temporary files that threads of this process write at the moment.
_being_written: set[str] = set()
# Bounds how long another process may write one file, in seconds, where nothing tells whether that process still runs.
_DAY = 86_400


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    r"""Open a binary file that takes its place at `path` when the ``with`` block ends without an error.

    The file is written aside in the same folder, so that the last step is a rename, which is atomic. It is flushed
    and fsynced before the rename, and the folder after it, so that a power cut too leaves the old file or the new
    one. What earlier processes left behind of `path` when they were killed is removed first. Where several threads or
    processes write `path` at once, the last rename wins.

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
        memory runs out, ... Then nothing of the new file is left, and a file that was at `path` is as it was. An
        OSError of the block that names another file passes as it is.

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
        temporary = path.with_name(temporary_name(path.name))
    _being_written.add(temporary.name)
    try:
        with naming(path):
            file = temporary.open("xb")
        with naming(path, others=False), file:
            yield file
            file.flush()
            _sync(file.fileno())
        with naming(path):
            temporary.replace(path)
    except BaseException:
        # The first error is the one to tell; the next write tries to remove the file again.
        with contextlib.suppress(OSError, MemoryError):
            temporary.unlink()
        raise
    finally:
        _being_written.discard(temporary.name)
    with naming(path):
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


def temporary_name(name: str) -> str:
    """Return a name of its own for each writer of the file `name`: neither renames nor removes the other's half."""
    return f".{name}.{_HOST}-{os.getpid()}-{os.urandom(4).hex()}.allconv.tmp"


def remove_stale(folder: Path, name: re.Pattern[str]) -> None:
    """Remove the temporary files that killed processes left in `folder`, and none that is being written.

    Those of another machine, and on Windows those of another process, are left alone for a day.

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
            if match and name.fullmatch(match["name"]) and _is_stale(entry, match):
                remove(folder / entry.name)


def _is_stale(entry: os.DirEntry[str], match: re.Match[str]) -> bool:
    """Tell whether `entry`, whose name has the parts of `match`, is a file that no process writes any more."""
    if not entry.is_file(follow_symlinks=False):
        return False
    pid = int(match["pid"])
    if match["host"] == _HOST and pid == os.getpid():
        return entry.name not in _being_written
    if match["host"] == _HOST and not _runs(pid):
        return True
    try:
        return time.time() - entry.stat(follow_symlinks=False).st_mtime > _DAY
    except OSError:  # another process has renamed or removed it a moment ago
        return False


def _runs(pid: int) -> bool:
    """Tell whether a process of this machine runs; on Windows, where there is no harmless signal, say that it does."""
    if os.name == "nt":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # it is another user's
    return True


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
def naming(path: Path, *, others: bool = True) -> Iterator[None]:
    """Let each OSError in the ``with`` block name `path`, where it would name a temporary file or none.

    With ``others=False``, one that names a file already passes as it is. MemoryError becomes an OSError too, so that a
    caller has one kind of error to handle.
    """
    try:
        yield
    except OSError as error:
        if error.filename is not None and not others:
            raise
        code = error.errno or errno.EIO
        raise OSError(code, error.strerror or str(error) or os.strerror(code), str(path)) from error
    except MemoryError as error:
        raise OSError(errno.ENOMEM, str(error) or os.strerror(errno.ENOMEM), str(path)) from error
