"""A folder of checkpoints: save a state, load the newest, keep two and the best.

The folder holds ``checkpoint-00000500.npz``, numbered after ``state["step"]``, and ``best.npz``. Each file is in the
format of `allconv.checkpoint.format`.
"""

import functools
import re
import warnings
from pathlib import Path
from typing import Any

from allconv.checkpoint import format as storage
from allconv.checkpoint.atomic import make_folder, naming, remove, remove_stale
from allconv.checkpoint.errors import CheckpointError
from allconv.validation import check_bool, check_instance, check_int, check_path

_FILE = re.compile(r"checkpoint-(\d{8,})\.npz", re.ASCII)
_BEST = "best.npz"
_OURS = re.compile(rf"{_FILE.pattern}|{re.escape(_BEST)}", re.ASCII)


def save(folder: str | Path, state: dict[str, Any], *, keep: int = 2, best: bool = False) -> Path:
    """Write `state` to a new file in `folder`, then remove all but the newest `keep` whole checkpoints there.

    A file that is there is never written to. So whenever the process is killed or the power fails, the folder still
    holds the last checkpoint whole. A step that is not above those in the folder (a run that went back, or a second
    save of one step) gets the next free number, so that `load` returns what was saved last in any case.

    Parameters
    ----------
    folder : path
        It is made if it is missing.
    state : dict
        A nested dict with str keys; values are arrays or plain (``allconv.checkpoint.format.write`` says which).
        ``state["step"]``, a non-negative int, numbers the file; without it the files count from 0.
    keep : int, default 2
        How many whole checkpoints there are afterwards, at least 1; damaged files do not count. Two, so that one
        remains should a disk damage the other.
    best : bool, default False
        Write the state to ``best.npz`` too, which replaces the one before and is never removed.

    Returns
    -------
    Path
        The new file.

    Raises
    ------
    TypeError, ValueError
        `state` holds something else, or `keep` is not a positive int. No checkpoint is written or removed.
    OSError
        The checkpoint could not be written; the error names the file. Those in the folder are as they were.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save(folder, {"step": 500, "model": {"0.weight": np.ones(2)}})
    ...     path.name, load(folder)
    ('checkpoint-00000500.npz', {'step': 500, 'model': {'0.weight': array([1., 1.])}})
    """
    folder, keep = check_path("folder", folder), check_int("keep", keep)
    check_bool("best", best)
    check_instance("state", state, dict)
    step = check_int('state["step"]', state.get("step", 0), minimum=0)
    with naming(folder):
        make_folder(folder)
        remove_stale(folder, _OURS)
        older = files(folder)
    number = max(step, older[0][0] + 1 if older else 0)
    path = folder / f"checkpoint-{number:08d}.npz"
    storage.write(path, state)
    if best:
        storage.write(folder / _BEST, state)
    for old in _superfluous(older, keep - 1):
        remove(old)
    return path


def load(folder: str | Path, *, best: bool = False) -> dict[str, Any]:
    """Return the state that was saved last in `folder`.

    Should that file be damaged, the newest whole one is loaded, and a RuntimeWarning says what is wrong with the
    newer ones. Nothing in a file is ever executed, and no value that differs from what was saved is returned.

    Parameters
    ----------
    folder : path
        A folder of checkpoints, or one checkpoint's own file, as `save` returns it.
    best : bool, default False
        Load the state that was last saved as the best instead. It has no meaning for a file.

    Returns
    -------
    dict
        The state.

    Raises
    ------
    CheckpointError
        The folder is missing, holds no such checkpoint, or only damaged ones: the message says which and why.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     first = save(folder, {"step": 500})
    ...     second = save(folder, {"step": 1000})
    ...     load(folder), load(first)
    ({'step': 1000}, {'step': 500})
    """
    folder = check_path("folder", folder)
    check_bool("best", best)
    if folder.exists() and not folder.is_dir():
        return storage.read(folder)
    if best:
        if not (folder / _BEST).is_file():
            raise CheckpointError(f"folder {folder} holds no best checkpoint")
        return storage.read(folder / _BEST)
    damage: list[str] = []
    for _, path in files(folder):
        try:
            state = storage.read(path)
        except (CheckpointError, OSError) as error:  # an OSError here: no permission, or removed a moment ago
            damage.append(str(error))
            continue
        if damage:
            warnings.warn(f"loaded {path}, since newer ones are damaged: {'; '.join(damage)}", RuntimeWarning, 2)
        return state
    if damage:
        raise CheckpointError(f"folder {folder} holds no checkpoint that is whole: {'; '.join(damage)}")
    raise CheckpointError(f"folder {folder} {'holds no checkpoint' if folder.is_dir() else 'is missing'}")


def exists(folder: str | Path) -> bool:
    """Tell whether `folder` holds a checkpoint, whole or damaged.

    Parameters
    ----------
    folder : path
        It need not be there.

    Returns
    -------
    bool
        False where there is no folder, too.

    Raises
    ------
    TypeError, ValueError
        `folder` is no path, or an empty one.

    Examples
    --------
    >>> exists("no/such/folder")
    False
    """
    return bool(files(check_path("folder", folder)))


def files(folder: Path) -> list[tuple[int, Path]]:
    """Return number and path of each checkpoint in `folder`, the newest first; none where there is no folder."""
    with naming(folder):
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    matches = (match for name in names if (match := _FILE.fullmatch(name)))
    return sorted(((int(match[1]), folder / match[0]) for match in matches), reverse=True)


def _superfluous(older: list[tuple[int, Path]], keep: int) -> list[Path]:
    """Return which of the `older` files need not be kept, so that `keep` whole ones are.

    A damaged file does not count as one that is kept: should the newest be damaged next, nothing would be left.
    """
    if len(older) <= keep:
        return []
    for index, (_, path) in enumerate(older):
        if keep == 0:
            return [path for _, path in older[index:] if path.is_file()]
        keep -= _is_whole(path)
    return []


def _is_whole(path: Path) -> bool:
    """Tell whether a file is whole; it is read again only when it has changed."""
    try:
        facts = path.stat()
    except OSError:
        return False
    return _read_through(path, (facts.st_ino, facts.st_size, facts.st_mtime_ns))


@functools.lru_cache(maxsize=1000)
def _read_through(path: Path, version: tuple[int, int, int]) -> bool:  # noqa: ARG001 - of the key
    return storage.is_whole(path)
