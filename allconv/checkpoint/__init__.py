"""Checkpoints: a folder that holds the newest states of a run and the best one, each in one verified file.

``python -m allconv.checkpoint verify RUN`` proves on this machine that a run goes on from them with the same bits.
"""

from allconv.checkpoint.folder import exists, load, save
from allconv.checkpoint.format import CheckpointError
from allconv.checkpoint.lock import lock

__all__ = ["CheckpointError", "exists", "load", "lock", "save"]
