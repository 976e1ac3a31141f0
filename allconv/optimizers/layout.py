"""Where the slots of a group lie in memory, and which parameters an update takes together.

A network has many small parameters, such as biases. An update by itself costs each of them a dozen calls of NumPy,
which take longer than the arithmetic. So the small parameters of a group are joined: their slots lie one after the
other in one array, their weights and gradients are copied into such arrays for a step, and one update serves all of
them. The values stay where they are, since the layers, averages and other optimizers hold views of them.

For parameters a, b and c, of which b is large, there are two blocks::

    slots      a a c c c      b b b b b b b b b b
    weights    copies         a view of the value
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from allconv.optimizers.pieces import Piece
from allconv.parallel.pool import SLICE_ELEMENTS
from allconv.parameter import Parameter
from allconv.typing import Array

# Bounds a parameter that is joined with others, in elements. Copying its weights and its gradient, and the weights
# back, takes a third of the time of its own update.
_SMALL = 1 << 12


@dataclass
class _Block:
    """Parameters whose slots are one array: a large one by itself, or small ones of a kind.

    Attributes
    ----------
    dtype : dtype
        The dtype of the parameters.
    numbers : list of int
        The numbers of the parameters in the group.
    size : int
        The elements of all of them.
    """

    dtype: np.dtype[Any]
    numbers: list[int] = field(default_factory=list)
    size: int = 0


class Layout:
    """The blocks of a group.

    Parameters
    ----------
    parameters : list of Parameter
        The parameters of the group. Those of a joint block agree in their dtype, and in whether weight decay applies.
    """

    def __init__(self, parameters: list[Parameter]) -> None:
        self._parameters = parameters
        self._blocks: list[_Block] = []
        self._places: list[tuple[int, slice]] = []  # for each parameter the number of its block, and its elements there
        joint: dict[tuple[np.dtype[Any], bool], int] = {}  # for each kind the block that its next small parameter joins
        for number, parameter in enumerate(parameters):
            dtype, size, kind = parameter.value.dtype, parameter.value.size, (parameter.value.dtype, parameter.decay)
            index = joint.get(kind) if size <= _SMALL else None
            if index is None or self._blocks[index].size + size > SLICE_ELEMENTS:
                index = len(self._blocks)
                self._blocks.append(_Block(dtype))
                if size <= _SMALL:
                    joint[kind] = index
            block = self._blocks[index]
            self._places.append((index, slice(block.size, block.size + size)))
            block.numbers.append(number)
            block.size += size

    def new_slot(self, fill: float) -> list[Array]:
        """Return a slot: for each block an array whose elements are `fill`."""
        return [np.full(block.size, fill, block.dtype) for block in self._blocks]

    def part(self, slot: list[Array], number: int) -> Array:
        """Return the part of a slot that belongs to a parameter, as a flat view."""
        index, place = self._places[number]
        return slot[index][place]

    def pieces(
        self, gradients: Mapping[int, Array], slots: Mapping[str, list[Array]], *, joined: bool = False
    ) -> list[Piece]:
        """Return what a step updates.

        Parameters
        ----------
        gradients : mapping of int to array
            The gradients of the trainable parameters, by their numbers in the group.
        slots : mapping of str to list of array
            The slots by name.
        joined : bool, default False
            Whether a block may be one piece. By default each parameter is a piece, in the order of the gradients.
        """
        if not joined:
            return [self._piece(number, gradient, slots) for number, gradient in gradients.items()]
        pieces = []
        for index, block in enumerate(self._blocks):
            trained = [number for number in block.numbers if number in gradients]
            # Since the optimizer was made, some may have been frozen or left out of the weight decay.
            alike = len({self._parameters[number].decay for number in block.numbers}) == 1
            if alike and 1 < len(trained) == len(block.numbers):
                pieces.append(self._joint_piece(index, gradients, slots))
            else:
                pieces += [self._piece(number, gradients[number], slots) for number in trained]
        return pieces

    def _piece(self, number: int, gradient: Array, slots: Mapping[str, list[Array]]) -> Piece:
        """Return a parameter by itself."""
        parameter = self._parameters[number]
        parts = {name: self.part(slot, number) for name, slot in slots.items()}
        return Piece(parameter.value.reshape(-1), gradient.reshape(-1), parts, parameter.decay)

    def _joint_piece(self, index: int, gradients: Mapping[int, Array], slots: Mapping[str, list[Array]]) -> Piece:
        """Return the parameters of a block as one piece, with a copy of their weights."""
        numbers = self._blocks[index].numbers
        values = [self._parameters[number].value for number in numbers]
        return Piece(
            np.concatenate(values, axis=None),
            np.concatenate([gradients[number] for number in numbers], axis=None),
            {name: slot[index] for name, slot in slots.items()},
            self._parameters[numbers[0]].decay,
            values,
        )
