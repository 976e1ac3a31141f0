"""The measured constants of the convolution algorithms, each with its unit.

They decide how a pass is cut into blocks, and so the order of sums and the bits of the results. That is why none of
them depends on the number of cores. *Work* is counted in multiply-adds of a matrix product. A core of the machine on
which the constants were measured does 40,000 of them in a microsecond.
"""

from dataclasses import dataclass

# Bounds the number of partial sums of a weight gradient. Each is computed by one thread: 8 keep the cores of a desktop
# busy. The sums are added in their order, whichever is ready first.
PARTIAL_SUMS = 8


@dataclass(frozen=True)
class Im2colTuning:
    """How `im2col` cuts a pass into blocks.

    Attributes
    ----------
    column_bytes : int
        Bounds the columns of one block, in bytes. A core's share of the cache still holds as much when the product
        reads it.
    wide_channels : int
        Bounds the channels of merged groups, in channels. A product of fewer channels is slow for its multiply-adds.
    least_block_work : int
        Bounds the work of a block from below, in multiply-adds (100 us). The dozen calls of NumPy for a block are
        then a small part of its time.
    entry_work : int
        The work that takes as long as gathering one entry of the columns, in multiply-adds.
    weight_entry_work : int
        The work that takes as long as reading one entry of the weight, in multiply-adds.
    least_shared_work : int
        Bounds the work of a pass that several threads share from below, in multiply-adds. The calls of a smaller pass
        are so short that two threads would wait for each other.
    most_parts : int
        Bounds the blocks into which a single image is cut, as a number, where its columns would fit one block.
    least_part_work : int
        Bounds the work of each of these blocks from below, in multiply-adds, beside its reading of the weight.
    """

    column_bytes: int = 1 << 21
    wide_channels: int = 32
    least_block_work: int = 4_000_000
    entry_work: int = 13
    weight_entry_work: int = 25
    least_shared_work: int = 20_000_000
    most_parts: int = 4
    least_part_work: int = 1_500_000


@dataclass(frozen=True)
class DepthwiseTuning:
    """How a depthwise convolution cuts a batch into slices.

    Attributes
    ----------
    slice_elements : int
        Bounds the input of one slice, in numbers, unless a single image is larger. The padded input, the output and
        the products of one tap then fit a core's cache together.
    """

    slice_elements: int = 1 << 15


IM2COL = Im2colTuning()
DEPTHWISE = DepthwiseTuning()
