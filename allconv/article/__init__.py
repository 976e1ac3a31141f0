"""The experiment of Seo (2018): its eight cases, the order of its images, and its backward pass.

A case is trained by its gradient, on images in an order that the seed determines. `PublishedOrder` and
`published_backward` do instead what the published code did, whose backward pass is not the gradient.

References
----------
Jae Duk Seo, "[ICLR 2015] Striving for Simplicity: The All Convolutional Net with Interactive Code [Manual Back Prop
with TF]", Towards Data Science, May 2018, https://towardsdatascience.com/
iclr-2015-striving-for-simplicity-the-all-convolutional-net-with-interactive-code-manual-b4976e206760
"""

from allconv.article.cases import BASE_RATE, CASES, HAND_WRITTEN, Case, build_case
from allconv.article.faults import FAULTS, average_undivided, elu_twice, pool_undivided, published_backward, rules_for
from allconv.article.order import PublishedOrder, published_orders

__all__ = [
    "BASE_RATE",
    "CASES",
    "FAULTS",
    "HAND_WRITTEN",
    "Case",
    "PublishedOrder",
    "average_undivided",
    "build_case",
    "elu_twice",
    "pool_undivided",
    "published_backward",
    "published_orders",
    "rules_for",
]
