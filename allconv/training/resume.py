"""What `train` takes as ``resume``: a path or a state that leads to a point from which a run goes on.

A mistake must not begin a run anew where the user wants to go on with one, so whatever looks like one raises.
"""

import os
from pathlib import Path
from typing import Any

from allconv import checkpoint
from allconv.validation import describe

_KEYS = ("epoch", "step", "sums", "run", "optimizer", "model", "layers")
STATE_KEYS = (*_KEYS, "history", "made_with", "learning_rate")  # the last ones have come since the first version
_RULE = "resume must be a folder of checkpoints, a checkpoint's file, a state or None"


def state_to_resume(resume: object) -> dict[str, Any] | None:
    """Return the state that `resume` is or leads to, or None where a run is to begin.

    Parameters
    ----------
    resume : path, dict or None
        A folder of checkpoints, a checkpoint's own file, or a state.

    Returns
    -------
    dict or None
        The state. None for None, and for a folder that is not there or holds no checkpoint.

    Raises
    ------
    TypeError, ValueError
        `resume` is something else; the path is empty; a file of that name is not there; or it is not the folder
        itself that holds checkpoints, but one in it.
    CheckpointError
        What is there is damaged.

    Examples
    --------
    >>> state_to_resume("no/such/folder") is None
    True
    """
    if resume is None or isinstance(resume, dict):
        return resume
    if not isinstance(resume, str | os.PathLike):
        raise TypeError(f"{_RULE}, got {describe(resume)}")
    path = Path(resume)
    if resume == "":
        raise ValueError(f"{_RULE}, got ''")
    if path.suffix == ".npz" and not path.exists():
        raise ValueError(f"{_RULE}, got {path}, which is not there")
    if checkpoint.exists(path) or (path.exists() and not path.is_dir()):
        return checkpoint.load(path)
    inner = [str(folder) for folder in path.iterdir() if checkpoint.exists(folder)] if path.is_dir() else []
    if inner:
        raise ValueError(f"{_RULE}, got {path}, whose checkpoints lie in {', '.join(sorted(inner))}")
    return None


def check_state(state: dict[str, Any]) -> None:
    """Raise ValueError unless a dict has all the keys of a training run's state."""
    if missing := [repr(key) for key in _KEYS if key not in state]:
        raise ValueError(f"resume must be the state of a training run, got one without {', '.join(missing)}")
