"""The optimizers, one a file, and the limits on gradients."""

from allconv.optimizers.adagrad import AdaGrad
from allconv.optimizers.adam import Adam, AdamW
from allconv.optimizers.amsgrad import AMSGrad
from allconv.optimizers.base import Optimizer
from allconv.optimizers.clipping import clip_grad_norm, clip_grad_value
from allconv.optimizers.combined import Combined
from allconv.optimizers.dilated import DilatedAMSGrad
from allconv.optimizers.muon import Muon
from allconv.optimizers.rmsprop import RMSprop
from allconv.optimizers.sgd import SGD

__all__ = [
    "SGD",
    "AMSGrad",
    "AdaGrad",
    "Adam",
    "AdamW",
    "Combined",
    "DilatedAMSGrad",
    "Muon",
    "Optimizer",
    "RMSprop",
    "clip_grad_norm",
    "clip_grad_value",
]
