"""Convolutional networks in pure NumPy: forward and hand-derived backward passes that can be read and changed."""

from allconv import (
    article,
    checkpoint,
    data,
    deploy,
    distributed,
    gradcheck,
    initializers,
    interop,
    models,
    rules,
    schedules,
    typing,
    validation,
)
from allconv.checkpoint.weights import load_weights, save_weights
from allconv.inspection import explain
from allconv.inspection.activations import LayerStatistics, layer_statistics
from allconv.inspection.profile import profile
from allconv.layers.adaptive_average_pool import AdaptiveAveragePool2D
from allconv.layers.base import Layer
from allconv.layers.batchnorm import BatchNorm
from allconv.layers.branches import Branches
from allconv.layers.conv import Conv2D
from allconv.layers.conv_transpose import ConvTranspose2D
from allconv.layers.dropout import Dropout
from allconv.layers.elu import ELU
from allconv.layers.flatten import Flatten
from allconv.layers.gelu import GELU
from allconv.layers.global_average_pool import GlobalAveragePool2D
from allconv.layers.group_norm import GroupNorm
from allconv.layers.layer_norm import LayerNorm
from allconv.layers.leaky_relu import LeakyReLU
from allconv.layers.linear import Linear
from allconv.layers.max_pool import MaxPool2D
from allconv.layers.mean_pool import MeanPool2D
from allconv.layers.observe import observe
from allconv.layers.prelu import PReLU
from allconv.layers.relu import ReLU
from allconv.layers.relu6 import ReLU6
from allconv.layers.scale import Scale
from allconv.layers.sequential import Sequential
from allconv.layers.sigmoid import Sigmoid
from allconv.layers.silu import SiLU
from allconv.layers.skip import Skip
from allconv.layers.softmax import LogSoftmax, Softmax
from allconv.layers.tanh import Tanh
from allconv.layers.upsample import Upsample2D
from allconv.layers.zero_pad import ZeroPad2D
from allconv.losses import BinaryCrossEntropy, Huber, MeanAbsoluteError, MeanSquaredError, SoftmaxCrossEntropy
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
from allconv.parallel.buffers import free_memory, get_memory_limit, set_memory_limit
from allconv.parallel.pool import get_num_threads, set_num_threads
from allconv.parameter import Parameter
from allconv.training.averaging import AveragedWeights
from allconv.training.evaluation import Evaluation, evaluate, predict
from allconv.training.interrupts import stop_on_signals
from allconv.training.loop import train
from allconv.training.record import Record
from allconv.training.run import Run, Stopped, open_run

__version__ = "0.1.0"

__all__ = [
    "ELU",
    "GELU",
    "SGD",
    "AMSGrad",
    "AdaGrad",
    "Adam",
    "AdamW",
    "AdaptiveAveragePool2D",
    "AveragedWeights",
    "BatchNorm",
    "BinaryCrossEntropy",
    "Branches",
    "Combined",
    "Conv2D",
    "ConvTranspose2D",
    "DilatedAMSGrad",
    "Dropout",
    "Evaluation",
    "Flatten",
    "GlobalAveragePool2D",
    "GroupNorm",
    "Huber",
    "Layer",
    "LayerNorm",
    "LayerStatistics",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MaxPool2D",
    "MeanAbsoluteError",
    "MeanPool2D",
    "MeanSquaredError",
    "Muon",
    "Optimizer",
    "PReLU",
    "Parameter",
    "RMSprop",
    "ReLU",
    "ReLU6",
    "Record",
    "Run",
    "Scale",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Skip",
    "Softmax",
    "SoftmaxCrossEntropy",
    "Stopped",
    "Tanh",
    "Upsample2D",
    "ZeroPad2D",
    "article",
    "checkpoint",
    "clip_grad_norm",
    "clip_grad_value",
    "data",
    "deploy",
    "distributed",
    "evaluate",
    "explain",
    "free_memory",
    "get_memory_limit",
    "get_num_threads",
    "gradcheck",
    "initializers",
    "interop",
    "layer_statistics",
    "load_weights",
    "models",
    "observe",
    "open_run",
    "predict",
    "profile",
    "rules",
    "save_weights",
    "schedules",
    "set_memory_limit",
    "set_num_threads",
    "stop_on_signals",
    "train",
    "typing",
    "validation",
]
