"""A plan: the prepared calls of a prediction, in memory of its own."""

from collections.abc import Sequence

import numpy as np

from allconv.parallel import buffers
from allconv.parallel.stages import Part, Stages
from allconv.typing import Array
from allconv.validation import quietly


class Plan:
    """The prepared calls of a prediction, which one thread at a time can run.

    Parameters
    ----------
    source : array
        Where the stages read the input.
    stages : list of list of parts
        See `Stages`.
    target : array
        Where the stages write the output.
    memory : list of arrays
        All arrays of the plan.
    """

    def __init__(self, source: Array, stages: Sequence[Sequence[Part]], target: Array, memory: list[Array]) -> None:
        self._source = source
        self._target = target
        self._memory = memory
        self._run = quietly(Stages(stages).run)

    def __call__(self, x: Array) -> Array:
        """Return the output for an input of the plan's shape and dtype: a new array, and the only one."""
        np.copyto(self._source, x)
        self._run()
        return self._target.copy()

    def is_kept(self) -> bool:
        """Tell whether all memory of the plan counts towards the memory limit; small arrays never do."""
        return buffers.are_kept(array for array in self._memory if array.base is not None)
