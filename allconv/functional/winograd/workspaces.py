"""The memory that the passes of `winograd` use again from block to block."""

from dataclasses import dataclass, field

from allconv.parallel.buffers import Scratch


@dataclass
class BlockWorkspace:
    """The memory between the two passes of each transform of a block."""

    half_input: Scratch = field(default_factory=Scratch)  # B^T D
    half_output: Scratch = field(default_factory=Scratch)  # M A
    half_adjoint: Scratch = field(default_factory=Scratch)  # A dY


@dataclass
class PointsWorkspace:
    """The memory for a few rows i of the points of a block."""

    input_tiles: Scratch = field(default_factory=Scratch)  # V_i
    output_tiles: Scratch = field(default_factory=Scratch)  # M_i or dM_i
    kernel_grad: Scratch = field(default_factory=Scratch)  # dU_i of one block
