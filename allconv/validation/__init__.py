"""The argument checks of the whole library, and the one form of their messages.

Every message names the argument, the rule, and the value received: ``stride must be a positive int or a pair of them,
got 0``. A value of the wrong type raises TypeError, and a value out of its range raises ValueError. The checks return
the value in the form that the caller works with, so that a constructor reads
``self.alpha = check_positive("alpha", alpha)``.
"""

from allconv.validation.arguments import (  # noqa: I001 - one import for each module, not for each name
    check_bool as check_bool,
    check_callable as check_callable,
    check_choice as check_choice,
    check_fraction as check_fraction,
    check_generator as check_generator,
    check_instance as check_instance,
    check_int,
    check_non_negative as check_non_negative,
    check_pair as check_pair,
    check_path as check_path,
    check_positive as check_positive,
    check_real as check_real,
    check_size as check_size,
    is_int as is_int,
    items_of as items_of,
    members_of as members_of,
    value_and_gradient as value_and_gradient,
)
from allconv.validation.arrays import (
    check_array as check_array,
    check_batch as check_batch,
    check_dtype,
    check_floating as check_floating,
    check_gradient,
    check_gradient_shape as check_gradient_shape,
    check_images,
)
from allconv.validation.arrays import (
    check_weights as check_weights,
)
from allconv.validation.attributes import Checked as Checked
from allconv.validation.describing import describe
from allconv.validation.floating_point import quiet as quiet
from allconv.validation.floating_point import quietly as quietly

# Layers of one's own need these most; the library uses the others too.
__all__ = ["check_dtype", "check_gradient", "check_images", "check_int", "describe"]
