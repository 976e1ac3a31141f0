r"""Training on several processes: each takes a shard of every step's images, and all make the same update.

    mpiexec -n 4 python -m mpi4py train.py

The program needs one line at its beginning: ``group = allconv.distributed.start()``. After it `train` and `evaluate`
share each step's images over the ranks, and give every rank the same records. What only one process may do, such as
printing and saving, stands under ``if group.rank == 0``. The page `docs/howto/distributed.md` says more.

With p ranks, the images :math:`B_r` of rank r, and the loss L of the whole step's scores :math:`s_n`,

.. math:: \frac{\partial L}{\partial w} = \sum_{r=0}^{p-1} \; \sum_{n \in B_r}
    \frac{\partial L}{\partial s_n} \frac{\partial s_n}{\partial w} .

The scores are few. So all ranks gather all of them, and compute the exact :math:`\partial L / \partial s`. The inner
sum is the backward pass of one rank, and the outer sum is a single all-reduce.
"""

# This file is longer than 300 lines because each docstring says what every process must do; the code is short.

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
from allconv.parallel.pool import set_num_threads
from allconv.parallel.process_group import ProcessGroup, current, set_process_group, shard_of, use_group
from allconv.parameter import Parameter
from allconv.typing import Array
from allconv.validation import check_int, describe, items_of

# The variables in which mpiexec tells the number of ranks: MPICH's and its relatives', and Open MPI's.
_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")
_CORES = 1 << 13  # bounds the number of cores of a machine: Linux is built for no more


class MPIGroup(ProcessGroup):
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

    def all_reduce(self, array: Array) -> Array:
        """Overwrite `array` with the sum of the ranks' arrays, by one Allreduce, and return it.

        Parameters
        ----------
        array : array
            C-contiguous, of the same shape and dtype on all ranks.

        Returns
        -------
        array
            The same array, which holds the sum: the same bits on all ranks.
        """
        self._communicator.Allreduce(_mpi().IN_PLACE, array)
        return array

    def all_gather(self, rows: Array, total: int) -> Array:
        """Return the rows of all ranks, by one Allgatherv.

        Parameters
        ----------
        rows : array (n, ...)
            The rows of this rank's shard.
        total : int
            The number of rows on all ranks together.

        Returns
        -------
        array (total, ...)
            The rows in the order of the ranks.

        Raises
        ------
        ValueError
            If `rows` has another length than this rank's shard.
        """
        own = self.shard(total)
        if len(rows) != own.stop - own.start:
            raise ValueError(f"rows must be the {own.stop - own.start} of this rank's shard, got {describe(rows)}")
        gathered = np.empty((total, *rows.shape[1:]), rows.dtype)
        row_bytes = gathered.nbytes // total
        shards = [shard_of(total, rank, self.size) for rank in range(self.size)]
        counts = [(shard.stop - shard.start) * row_bytes for shard in shards]
        offsets = [shard.start * row_bytes for shard in shards]
        # The rows are sent as bytes, so that any dtype will do.
        byte = _mpi().BYTE
        self._communicator.Allgatherv([np.ascontiguousarray(rows), byte], [gathered, counts, offsets, byte])
        return gathered


def start(threads: int | None = None) -> ProcessGroup:
    """Join the processes that ``mpiexec`` started, and return their group.

    A process that was started without ``mpiexec`` gets a group of one. Call `start` once, on all ranks, before anything
    that takes long or writes a file. It returns when all ranks have called it.

    Parameters
    ----------
    threads : int, optional
        The number of threads of each rank. The default is the environment variable ``ALLCONV_NUM_THREADS``, or else
        the number of a machine's cores divided by the number of ranks on it.

    Returns
    -------
    ProcessGroup
        Has this process's number as ``rank``, and the number of processes as ``size``.

    Raises
    ------
    ImportError
        Without mpi4py or an MPI library; names the extra that has both.
    RuntimeError
        Under ``mpiexec`` but without ``python -m mpi4py``. Without it an error on one rank would leave the others
        waiting.

    Examples
    --------
    >>> group = start()
    >>> group.rank, group.size
    (0, 1)
    """
    if threads is not None:
        threads = check_int("threads", threads)
    as_module = "mpi4py.run" in sys.modules
    group = ProcessGroup()
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
    group.barrier()
    return group


def alone() -> AbstractContextManager[ProcessGroup]:
    """Return a context in which this rank works by itself.

    One rank needs it for a forward pass in training mode that the other ranks do not make. BatchNorm and Dropout would
    wait for the other ranks there.

    Returns
    -------
    context manager
        Gives a group of one.

    Examples
    --------
    >>> with alone() as group:
    ...     group.size
    1
    """
    return use_group(ProcessGroup())


def sum_gradients(parameters: Iterable[Parameter]) -> None:
    """Replace the gradient of each trainable parameter by its sum over the ranks, in one all-reduce.

    The gradients become views of one flat array, whose memory is used again after the optimizer's step.

    Parameters
    ----------
    parameters : iterable of Parameter
        The same parameters in the same order on all ranks.

    Raises
    ------
    RuntimeError
        If a trainable parameter has no gradient.

    Examples
    --------
    >>> weight = Parameter(np.zeros(2))
    >>> weight.add_grad(np.ones(2))
    >>> sum_gradients([weight])  # a single process has nothing to add
    >>> weight.grad
    array([1., 1.])
    """
    listed = items_of(parameters)
    if listed is None or not all(isinstance(parameter, Parameter) for parameter in listed):
        raise TypeError(f"parameters must be an iterable of Parameters, got {describe(parameters)}")
    group = current()
    trainable = {index: parameter for index, parameter in enumerate(listed) if parameter.trainable}
    if group.size == 1 or not trainable:
        return
    gradients = [gradient_of(parameter, index) for index, parameter in trainable.items()]
    ends = np.cumsum([gradient.size for gradient in gradients])
    flat = empty((int(ends[-1]),), np.result_type(*gradients))
    np.concatenate([gradient.reshape(-1) for gradient in gradients], out=flat)
    group.all_reduce(flat)
    for part, parameter in zip(np.split(flat, ends[:-1]), trainable.values(), strict=True):
        parameter.grad = part.reshape(parameter.value.shape)


def check_same(what: str, value: bytes) -> None:
    """Check that `value` is the same on all ranks. No rank returns from here before all have called it.

    Parameters
    ----------
    what : str
        Says in the error message what the value is.
    value : bytes
        The value of this rank.

    Raises
    ------
    RuntimeError
        On all ranks, if the values differ. The message names the ranks whose value is not rank 0's.

    Examples
    --------
    >>> check_same("the settings", b"rate 0.1")  # a single process agrees with itself
    """
    if not isinstance(what, str):
        raise TypeError(f"what must be a str, got {describe(what)}")
    if not isinstance(value, bytes | bytearray | memoryview):
        raise TypeError(f"value must be bytes, got {describe(value)}")
    group = current()
    digest = np.frombuffer(hashlib.blake2b(value, digest_size=16).digest(), np.uint8)
    digests = group.all_gather(digest[None], group.size)
    different = np.flatnonzero((digests != digests[0]).any(axis=1)).tolist()
    if different:
        raise RuntimeError(
            f"{what} must be the same on all {group.size} ranks, got others than rank 0's on {different}"
        )


def check_same_model(model: Layer) -> None:
    """Check that the model is the same on all ranks, bit by bit: weights, running statistics, Dropout's generators.

    Models that are made from one seed are equal at first. They stay equal, since all ranks make the same update.

    Parameters
    ----------
    model : Layer
        The model of this rank.

    Raises
    ------
    RuntimeError
        On all ranks, if the models differ. The message names the ranks whose model is not rank 0's.

    Examples
    --------
    >>> from allconv.layers.relu import ReLU
    >>> check_same_model(ReLU())  # a single process agrees with itself
    """
    if not isinstance(model, Layer):
        raise TypeError(f"model must be a Layer, got {describe(model)}")
    if current().size > 1:
        state = model_state(model)
        arrays = b"".join(value.tobytes() for value in state["model"].values())
        check_same("the model's weights (made from one seed, or loaded)", arrays + repr(state["layers"]).encode())


def _mpi() -> Any:
    """Return mpi4py's module MPI; its import makes this process one of those that ``mpiexec`` started."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: mpi4py is there, but no MPI library
        raise ImportError(f"several processes need mpi4py and an MPI: pip install 'allconv[mpi]' ({error})") from error
    return MPI


def _share_of_cores(communicator: Any) -> int:
    """Return how many threads this rank may keep busy, at least one.

    A core that several ranks may run on is divided among them. So ranks that may run anywhere divide the cores of their
    machine, and ranks that ``mpiexec`` has bound to separate cores keep these cores.
    """
    mpi = _mpi()
    node = communicator.Split_type(mpi.COMM_TYPE_SHARED)
    cores = list(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))
    ranks = np.zeros(_CORES)
    ranks[cores] = 1
    node.Allreduce(mpi.IN_PLACE, ranks)
    share = min(float((1 / ranks[cores]).sum()), cpu_quota() / node.Get_size())
    node.Free()
    return max(1, int(share + 1e-9))  # a sum of fractions, such as 3 * (1 / 3), may be rounded to less than 1
