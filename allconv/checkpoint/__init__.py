"""Checkpoints: a folder that holds the newest states of a run and the best one, each in one verified file.

``python -m allconv.checkpoint verify RUN`` proves on this machine that a run goes on from them with the same bits.
"""

from allconv.checkpoint.atomic import atomic_write
from allconv.checkpoint.folder import exists, load, save
from allconv.checkpoint.format import CheckpointError, read, write
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
