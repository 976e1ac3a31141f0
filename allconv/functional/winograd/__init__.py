"""Convolution by bilinear algorithms: a quarter of the products of the definition.

The page "Convolution with a quarter of the products" of the documentation derives them.
"""

from allconv.functional.winograd.passes import Gradients, forward, grads, input_grad, transform_weight, weight_grad

__all__ = ["Gradients", "forward", "grads", "input_grad", "transform_weight", "weight_grad"]
