"""Convolutional networks in pure NumPy: forward and hand-derived backward passes that can be read and changed."""

from allconv import checkpoint, data, initializers, models, rules, schedules
from allconv.evaluation import evaluate, predict
from allconv.functional.threads import get_num_threads, set_num_threads
from allconv.layers.base import Layer
from allconv.layers.conv import Conv2D
from allconv.layers.elu import ELU
from allconv.layers.linear import Linear
from allconv.layers.pool import GlobalAveragePool2D, MaxPool2D, MeanPool2D
from allconv.layers.relu import ReLU
from allconv.layers.sequential import Sequential
from allconv.layers.skip import Skip
from allconv.layers.softmax import LogSoftmax, Softmax
from allconv.losses import MeanSquaredError, SoftmaxCrossEntropy
from allconv.optimizers.adam import Adam
from allconv.optimizers.amsgrad import AMSGrad
from allconv.optimizers.base import Optimizer
from allconv.optimizers.dilated import DilatedAMSGrad
from allconv.optimizers.sgd import SGD
from allconv.parameter import Parameter
from allconv.training import train
from allconv.weights import load_weights, save_weights

__version__ = "0.1.0"

__all__ = [
    "ELU",
    "SGD",
    "AMSGrad",
    "Adam",
    "Conv2D",
    "DilatedAMSGrad",
    "GlobalAveragePool2D",
    "Layer",
    "Linear",
    "LogSoftmax",
    "MaxPool2D",
    "MeanPool2D",
    "MeanSquaredError",
    "Optimizer",
    "Parameter",
    "ReLU",
    "Sequential",
    "Skip",
    "Softmax",
    "SoftmaxCrossEntropy",
    "checkpoint",
    "data",
    "evaluate",
    "get_num_threads",
    "initializers",
    "load_weights",
    "models",
    "predict",
    "rules",
    "save_weights",
    "schedules",
    "set_num_threads",
    "train",
]
