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
class ProductTuning:
    """How a product of many rows is cut.

    Attributes
    ----------
    small : int
        Bounds one matrix product, in multiply-adds. OpenBLAS multiplies up to as many without copying its operands.
    least_rows : int
        Bounds the rows of a piece from below, in rows. The sum of the pieces of a weight's gradient costs more with
        fewer.
    summed_rows : int
        Bounds the rows that a small product of a weight's gradient sums, in rows. OpenBLAS adds them one after another
        where it does not copy the operands; with so many the error in float32 stays below 4e-6.
    """

    small: int = 1_000_000
    least_rows: int = 64
    summed_rows: int = 256


@dataclass(frozen=True)
class Im2colTuning:
    """How `im2col` cuts a pass into blocks.

    Attributes
    ----------
    column_bytes : int
        Bounds the columns of one block, in bytes. A core's share of the cache still holds as much when the product
        reads it.
    least_piece : int
        Bounds the pieces of a wide row from below, in output positions. A product of fewer waits for the weight.
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
    least_piece: int = 64
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
        Bounds the input of one slice, in numbers (1 MB of float32), unless a single image is larger. Smaller slices lie
        nearer in the cache, but the strided calls of NumPy take longer to begin.
    summed_rows : int
        Bounds the rows whose products are added one after the other, in rows. Sums of these sums keep more digits.
    """

    slice_elements: int = 1 << 18
    summed_rows: int = 32


@dataclass(frozen=True)
class WinogradTuning:
    """How `winograd` chooses its tiles and cuts a pass into blocks.

    Attributes
    ----------
    most_error : float
        Bounds the error of a float32 pass that is chosen by cost, in units of the largest result: of 24 bits 16 stay.
        Where tiles of 4 outputs could lose more, tiles of 2 are taken. Where these could, im2col is chosen.
    small_product : int
        Bounds one matrix product, in multiply-adds. OpenBLAS multiplies up to as many without packing its operands
        first, which is a fifth faster on AVX-512.
    piece_rows : int
        Bounds the rows of one piece of a larger product, in rows.
    least_piece_columns : int
        Bounds the columns of such a piece from below, in columns. Narrower pieces cost more than packing.
    block_points : int
        Bounds the tiles of a block times the points of the vertical axis, as a number: 192 tiles of F(4, 3). The
        arrays of one row of points, for 96 channels in float32, are then 1.1 MB, a core's own cache.
    group_bytes : int
        Bounds the tiles of the rows of points that are computed at once, in bytes, unless it is a single row.
    fewest_tiles : int
        Bounds the tiles of a block from below, in tiles. With fewer, the products wait for the transformed kernel.
    undivided_tiles : int
        Bounds the tiles of a pass that is one block, in tiles. The threads then share its rows of points, and each
        reads a part of the transformed kernel.
    block_multiple : int
        The number of blocks is a multiple of this number, so that 2 and 4 threads have the same to do.
    fewest_sums : int
        Bounds the partial sums of a weight gradient from below, as a number, where they are large.
    sum_bytes : int
        Bounds all partial sums of a weight gradient, in bytes, down to `fewest_sums` of them.
    kernel_slice : int
        Bounds the pairs of channels in one task that transforms kernels, in pairs. NumPy adds rows of so many numbers
        without a copy.
    """

    most_error: float = 2.0**-16
    small_product: int = 1_000_000
    piece_rows: int = 48
    least_piece_columns: int = 64
    block_points: int = 192 * 6
    group_bytes: int = 2 << 20
    fewest_tiles: int = 32
    undivided_tiles: int = 64
    block_multiple: int = 4
    fewest_sums: int = 4
    sum_bytes: int = 24 << 20
    kernel_slice: int = 8192


PRODUCT = ProductTuning()
IM2COL = Im2colTuning()
DEPTHWISE = DepthwiseTuning()
WINOGRAD = WinogradTuning()
