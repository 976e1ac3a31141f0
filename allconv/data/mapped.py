"""Chosen rows of a memory map: a part of a data set that is larger than the memory."""

from typing import Any

import numpy as np

from allconv.typing import Array


class MappedRows:
    """Rows of a memory map in an order of their own, which are read when they are indexed.

    Parameters
    ----------
    source : memmap, shape (N, ...)
        The memory map.
    rows : array of int, shape (M,)
        The rows, as indices.
    """

    def __init__(self, source: Array, rows: Array) -> None:
        self.source, self.rows = source, rows
        self.dtype, self.ndim = source.dtype, source.ndim
        self.shape = (len(rows), *source.shape[1:])
        self.size = int(np.prod(self.shape))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: slice | Array) -> Array:
        """Read the rows that a slice, an array of indices or a mask chooses."""
        return np.asarray(self.source[self.rows[index]])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """Read all rows."""
        return np.asarray(self[:], dtype=dtype)

    def __repr__(self) -> str:
        return f"{len(self)} rows of a memory map of shape {self.source.shape} and dtype {self.dtype}"


def part_of(inputs: Array | MappedRows, index: slice | Array) -> Array | MappedRows:
    """Return a part of the inputs of a data set; of a memory map nothing is read."""
    if isinstance(inputs, MappedRows):
        return MappedRows(inputs.source, inputs.rows[index])
    if isinstance(inputs, np.memmap) and not isinstance(index, slice):
        return MappedRows(inputs, np.arange(len(inputs))[index])
    return inputs[index]
