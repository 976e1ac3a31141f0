r"""Convolution by bilinear algorithms: 36 products where the definition of a 3x3 kernel takes 144.

A tile Y of m x m outputs depends on a window D of the input and on the kernel g:

.. math:: U = G\,g\,G^\top, \quad V = B^\top D\,B, \quad M_{ij} = \sum_c V_{ij,c}\,U_{ij,c}, \quad Y = A^\top M A.

With all tiles and output channels at once each :math:`M_{ij} = V_{ij} U_{ij}` is a matrix product, (tiles, C) with
(C, O). `bilinear` has the matrices for y as a function of x and g, and others for dx as a function of dy and g.

The chain for dx gives dg as well. It is linear in g, and <dx(dy, g), x> = <y(x, g), dy>. So the gradient of the left
side for g equals the gradient of the right side, dg. Transposed and read backwards, with x where the upstream gradient
stands, the chain is

.. math:: dM = A\,x A^\top, \qquad dU_{ij} = V_{ij}^\top dM_{ij}, \qquad dg = G^\top dU\,G, \qquad V = B^\top dY B.

So one transform of dy serves both gradients. The page "Convolution with a quarter of the products" of the documentation
derives it all. Its steps are functions here. A block has n images with R tile rows of T tiles each, and i is a row of
the a_h x a_w points:

========================  ==========  ========================  ======================
step                      module      from                      to
========================  ==========  ========================  ======================
transform_kernel          kernels     g (kh, kw, C, O)          U (a_h, a_w, C, O)
transform_input           transforms  D (n, rows, W, C)         V_i (n, R, T, a_w, C)
multiply_points           points      V_i, and U_i (a_w, C, O)  M_i (n, R, T, a_w, O)
transform_output          transforms  M_i                       Y (n, rows, W, O)
transform_output_adjoint  transforms  dY (n, rows, W, O)        dM_i (n, R, T, a_w, O)
multiply_points_adjoint   points      V_i and dM_i              dU_i (a_w, C, O)
transform_kernel_adjoint  kernels     dU (a_h, a_w, C, O)       dg (kh, kw, C, O)
========================  ==========  ========================  ======================

`bilinear` has the matrices, `banded` the vertical passes, `pieces` the cut of the products, `tiling` the blocks, and
`error` the bound of the error in float32. `passes` and `gradients` have the order of the steps. Lavin and Gray (2016),
"Fast Algorithms for Convolutional Neural Networks".
"""

from allconv.functional.winograd.gradients import grads, weight_grad
from allconv.functional.winograd.passes import forward, input_grad, transform_weight

__all__ = ["forward", "grads", "input_grad", "transform_weight", "weight_grad"]
