"""The optimizers, one a file."""

from allconv.optimizers.adam import Adam, AdamW
from allconv.optimizers.amsgrad import AMSGrad
from allconv.optimizers.base import Optimizer
from allconv.optimizers.dilated import DilatedAMSGrad
from allconv.optimizers.sgd import SGD

__all__ = ["SGD", "AMSGrad", "Adam", "AdamW", "DilatedAMSGrad", "Optimizer"]
