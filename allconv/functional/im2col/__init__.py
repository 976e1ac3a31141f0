r"""Convolution as a matrix product: any kernel, stride, padding, dilation and groups.

The inputs under the window at each output position form one row of a matrix, the columns
:math:`X \in R^{P \times k_h k_w C}` (P output positions). The weights are a matrix
:math:`W \in R^{k_h k_w C \times O}`. Then

.. math:: Y = X W, \qquad dW = X^\top dY, \qquad dX = dY\, W^\top,

where dX is added back to the positions that the columns came from. The columns repeat each input up to
:math:`k_h k_w` times, so they are never built as a whole. A block is computed at a time: output rows of one or a few
images, or a piece of one wide row. It is so small that its columns are still in the cache when the product reads them.
A 1x1 convolution with stride 1 has its input for columns, and is one product.

`blocks` cuts a pass into blocks, `columns` gathers the columns of a block and adds them back, `groups` writes the
weights of several groups as matrices, and `passes` has the three passes.
"""

from allconv.functional.im2col.convolution import GradientPlan, forward, grads, input_grad, weight_grad

__all__ = ["GradientPlan", "forward", "grads", "input_grad", "weight_grad"]
