"""The transforms of the kernel: U = G g G^T before the products, and dg = G^T dU G after those of the gradient."""

import functools

import numpy as np

from allconv.functional import tuning
from allconv.functional.winograd.bilinear import Bilinear
from allconv.parallel.buffers import empty
from allconv.parallel.pool import run, slices
from allconv.typing import Array


def transform_kernel(vertical: Bilinear, horizontal: Bilinear, weight: Array) -> Array:
    """Return U = G g G^T.

    Parameters
    ----------
    vertical, horizontal : Bilinear
        The algorithms of the two axes.
    weight : array (kh, kw, C, O)

    Returns
    -------
    array (a_h, a_w, C, O)
    """
    kh, kw, inputs, outputs = weight.shape
    # Older versions of NumPy multiply strided operands without BLAS, in another order of sums.
    kernels = np.ascontiguousarray(weight.reshape(kh, kw, inputs * outputs))
    transformed = empty((vertical.points, horizontal.points, inputs * outputs), weight.dtype)
    parts = slices(inputs * outputs, tuning.WINOGRAD.kernel_slice)

    def transform_part(index: int) -> None:
        part = parts[index]
        half = np.matmul(horizontal.kernel_matrix, kernels[:, :, part])
        np.matmul(vertical.kernel_matrix, half.swapaxes(0, 1), out=transformed[:, :, part].swapaxes(0, 1))

    run(transform_part, len(parts))
    return transformed.reshape(*transformed.shape[:2], inputs, outputs)


def transform_kernel_adjoint(vertical: Bilinear, horizontal: Bilinear, kernel_grads: list[Array]) -> Array:
    """Return dg = G^T dU G for the sum dU of some arrays.

    Parameters
    ----------
    vertical, horizontal : Bilinear
        The algorithms of the two axes.
    kernel_grads : list of arrays (a_h, a_w, C, O)
        The partial sums of dU, which are added in their order.

    Returns
    -------
    array (kh, kw, C, O)
    """
    kh, kw = vertical.kernel_matrix.shape[1], horizontal.kernel_matrix.shape[1]
    a_h, a_w, inputs, outputs = kernel_grads[0].shape
    partial_sums = [kernel_grad.reshape(a_h, a_w, inputs * outputs) for kernel_grad in kernel_grads]
    weight_grad = empty((kh, kw, inputs * outputs), kernel_grads[0].dtype)
    parts = slices(inputs * outputs, tuning.WINOGRAD.kernel_slice)

    def transform_part(index: int) -> None:
        part = parts[index]
        total = functools.reduce(np.add, (partial_sum[:, :, part] for partial_sum in partial_sums))
        half = np.matmul(horizontal.kernel_matrix.T, total)
        np.matmul(vertical.kernel_matrix.T, half.swapaxes(0, 1), out=weight_grad[:, :, part].swapaxes(0, 1))

    run(transform_part, len(parts))
    return weight_grad.reshape(kh, kw, inputs, outputs)
