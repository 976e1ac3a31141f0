"""One trainer at a time in a folder."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from allconv.checkpoint.atomic import make_folder, naming
from allconv.validation import check_path


@contextmanager
def lock(folder: str | Path) -> Iterator[None]:
    """Keep `folder` to the ``with`` block while it runs: whoever else locks it gets an error.

    The operating system ends the lock with the process, however that ends, so a killed run leaves none behind. The
    empty file ``lock`` stays. Some network file systems know no locks between machines.

    Parameters
    ----------
    folder : path
        Is made if it is missing.

    Yields
    ------
    None
        While the block runs, the folder is locked.

    Raises
    ------
    RuntimeError
        Another process holds the lock, or another block of this one.
    OSError
        The folder cannot be made or written to.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with lock(folder):
    ...         pass  # train, and save into the folder
    """
    folder = check_path("folder", folder)
    path = folder / "lock"
    with naming(path):
        make_folder(folder)
        file = path.open("ab")
    try:
        if not _try_lock(file):
            raise RuntimeError(f"folder {folder} is in use already, by another training process or by this one")
        yield
    finally:
        # A close that fails gives the lock back all the same, and its error would hide the one of the block.
        with suppress(OSError, MemoryError):
            file.close()


if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: BinaryIO) -> bool:
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(file: BinaryIO) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
