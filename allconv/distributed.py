r"""Training on several processes: each takes a part of every step's images, and all make the same update.

    mpiexec -n 4 python -m mpi4py train.py

with one line at the beginning of ``train.py``, ``group = allconv.distributed.start()``. After it `train` and `evaluate`
share each step's images over the ranks, and give every rank the same records; what only one process may do, as to print
and to save, stands under ``if group.rank == 0``. `docs/distributed.md` has the rest.

With p ranks, B_r the images of rank r, and L the loss of the whole step's scores,

.. math:: \frac{\partial L}{\partial w} = \sum_{r=0}^{p-1} \; \sum_{n \in B_r}
    \frac{\partial L}{\partial s_n} \frac{\partial s_n}{\partial w} .

The scores are few, so all ranks have all of them and the exact :math:`\partial L / \partial s`; the inner sum is a
rank's backward pass, the outer one a single all-reduce.
"""

import hashlib
import os
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from allconv.checkpoint.weights import model_state
from allconv.layers.base import Layer
from allconv.optimizers.checking import gradient_of
from allconv.parallel.buffers import empty
from allconv.parallel.cores import cpu_quota
from allconv.parallel.process_group import Group, current, part_of, set_process_group, using
from allconv.parallel.threads import set_num_threads
from allconv.parameter import Parameter
from allconv.typing import Array
from allconv.validation import check_int, describe

_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")  # in which the mpiexec of MPICH and its kin, and Open MPI's, tell theirs
_CORES = 1 << 13  # the most that Linux is built for


class MPIGroup(Group):
    """The ranks of an MPI communicator.

    Parameters
    ----------
    communicator : mpi4py.MPI.Comm
        Its ranks must all make the same calls in the same order.
    """

    def __init__(self, communicator: Any) -> None:
        self._communicator = communicator
        self.rank = communicator.Get_rank()
        self.size = communicator.Get_size()

    def sum(self, array: Array) -> Array:
        """Return the sum of the ranks' arrays, C-contiguous, of one shape and dtype: one Allreduce, in place."""
        self._communicator.Allreduce(_mpi().IN_PLACE, array)
        return array

    def gather(self, rows: Array, total: int) -> Array:
        """Return all `total` rows, (total, ...), from those of each rank's `part`: one Allgatherv."""
        own = self.part(total)
        if len(rows) != own.stop - own.start:
            raise ValueError(f"rows must be the {own.stop - own.start} of this rank's part, got {describe(rows)}")
        gathered = np.empty((total, *rows.shape[1:]), rows.dtype)
        row_bytes = gathered.nbytes // total
        parts = [part_of(total, rank, self.size) for rank in range(self.size)]
        counts = [(part.stop - part.start) * row_bytes for part in parts]
        offsets = [part.start * row_bytes for part in parts]
        # As bytes, so that any dtype will do.
        byte = _mpi().BYTE
        self._communicator.Allgatherv([np.ascontiguousarray(rows), byte], [gathered, counts, offsets, byte])
        return gathered


def start(threads: int | None = None) -> Group:
    """Join the processes that ``mpiexec`` started, and return their group; a process started without it is its own.

    Call it once, on all ranks, before anything that takes long or writes a file; all leave it together.

    Parameters
    ----------
    threads : int, optional
        Of each rank. By default ``ALLCONV_NUM_THREADS``, or else the cores of a machine divided by the ranks on it.

    Returns
    -------
    Group
        Its ``rank`` and ``size``.

    Raises
    ------
    ImportError
        Without mpi4py or an MPI library; names the extra that has both.
    RuntimeError
        Under ``mpiexec`` but without ``python -m mpi4py``: an error on one rank would leave the others waiting.

    Examples
    --------
    >>> group = start()
    >>> group.rank, group.size
    (0, 1)
    """
    if threads is not None:
        threads = check_int("threads", threads)
    as_module = "mpi4py.run" in sys.modules
    group = Group()
    if as_module or any(os.environ.get(name, "1") != "1" for name in _SIZES):
        communicator = _mpi().COMM_WORLD
        if not as_module:
            raise RuntimeError(
                "several processes must be started by mpiexec -n N python -m mpi4py PROGRAM, got one without -m "
                "mpi4py: an error on one rank would leave the others waiting"
            )
        group = MPIGroup(communicator)
        if threads is None and not os.environ.get("ALLCONV_NUM_THREADS"):
            threads = _share_of_cores(communicator)
    if threads is not None:
        set_num_threads(threads)
    set_process_group(group)
    group.wait()
    return group


def alone() -> AbstractContextManager[Group]:
    """Return a context in which this rank works by itself.

    For what one rank does and the others do not, and that makes a forward pass in training mode: BatchNorm and Dropout
    would wait there for the other ranks.

    Examples
    --------
    >>> with alone() as group:
    ...     group.size
    1
    """
    return using(Group())


def sum_gradients(parameters: Iterable[Parameter]) -> None:
    """Replace the gradient of each trainable parameter by its sum over the ranks, in one Allreduce.

    The gradients become parts of one flat array; its memory is used again once the optimizer's step has let go of them.

    Raises
    ------
    RuntimeError
        If a trainable parameter has no gradient.
    """
    group = current()
    trainable = {index: parameter for index, parameter in enumerate(parameters) if parameter.trainable}
    if group.size == 1 or not trainable:
        return
    gradients = [gradient_of(parameter, index) for index, parameter in trainable.items()]
    bounds = np.cumsum([0, *(gradient.size for gradient in gradients)])
    flat = empty((int(bounds[-1]),), np.result_type(*gradients))
    for start, gradient in zip(bounds, gradients, strict=False):
        flat[start : start + gradient.size] = gradient.reshape(-1)
    group.sum(flat)
    for start, parameter in zip(bounds, trainable.values(), strict=False):
        parameter.grad = flat[start : start + parameter.value.size].reshape(parameter.value.shape)


def check_same(what: str, value: bytes) -> None:
    """Check that `value` is the same on all ranks; also a point that no rank passes before all have come to it.

    Raises
    ------
    RuntimeError
        On all ranks; says on which of them `what` is another than on rank 0.
    """
    group = current()
    digest = np.frombuffer(hashlib.blake2b(value, digest_size=16).digest(), np.uint8)
    digests = group.gather(digest[None], group.size)
    different = np.flatnonzero((digests != digests[0]).any(axis=1)).tolist()
    if different:
        raise RuntimeError(
            f"{what} must be the same on all {group.size} ranks, got others than rank 0's on {different}"
        )


def check_same_model(model: Layer) -> None:
    """Check that the model is the same on all ranks, bit by bit: weights, running statistics, Dropout's generators.

    They begin alike where the model is made from one seed, and stay so, since all make the same update.

    Raises
    ------
    RuntimeError
        On all ranks; says on which of them it is another than on rank 0.
    """
    if current().size > 1:
        state = model_state(model)
        arrays = b"".join(value.tobytes() for value in state["model"].values())
        check_same("the model's weights (made from one seed, or loaded)", arrays + repr(state["layers"]).encode())


def _mpi() -> Any:
    """Return mpi4py's module MPI, whose import joins the processes."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: mpi4py is there, but no MPI library
        raise ImportError(f"several processes need mpi4py and an MPI: pip install 'allconv[mpi]' ({error})") from error
    return MPI


def _share_of_cores(communicator: Any) -> int:
    """Return how many threads this rank may keep busy, at least one.

    A core that several ranks may run on counts for each of them by its share. So ranks that may run anywhere divide
    the cores of their machine, and those that ``mpiexec`` bound to cores of their own keep them.
    """
    mpi = _mpi()
    node = communicator.Split_type(mpi.COMM_TYPE_SHARED)
    cores = list(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))
    ranks = np.zeros(_CORES)
    ranks[cores] = 1
    node.Allreduce(mpi.IN_PLACE, ranks)
    share = min(float((1 / ranks[cores]).sum()), cpu_quota() / node.Get_size())
    node.Free()
    return max(1, int(share + 1e-9))  # 3 * (1 / 3) may come out below 1
