"""What is written to disk: checkpoints of a run, and the weights of a model.

- `folder`: a folder of checkpoints, the newest two and the best (`save`, `load`, `exists`)
- `lock`: one training process at a time in such a folder
- `weights`: a model's parameters by path, in memory and in a file of their own
- `format`: the one file format of checkpoints and weights, with a SHA-256 of every array; `npz`: the zip beneath it
- `atomic`: files that appear whole or not at all
"""

from allconv.checkpoint.atomic import atomic_write
from allconv.checkpoint.errors import CheckpointError
from allconv.checkpoint.folder import exists, load, save
from allconv.checkpoint.format import read, write
from allconv.checkpoint.lock import lock
from allconv.checkpoint.weights import load_model_state, model_state

__all__ = [
    "CheckpointError",
    "atomic_write",
    "exists",
    "load",
    "load_model_state",
    "lock",
    "model_state",
    "read",
    "save",
    "write",
]
