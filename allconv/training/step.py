"""One step of training: forward, loss, backward, update."""

from contextlib import nullcontext

from allconv.data.loader import Batch
from allconv.distributed import sum_gradients
from allconv.layers.base import Layer
from allconv.layers.nesting import parameters_in
from allconv.optimizers.base import Optimizer
from allconv.parallel.blas import single_threaded_blas
from allconv.parallel.process_group import shared_over
from allconv.training.evaluation import measured
from allconv.training.nonfinite import check_finite_array, checked_layers
from allconv.typing import Array, Loss


def train_step(
    model: Layer, loss: Loss, optimizer: Optimizer, batch: Batch, *, where: str, check_finite: bool
) -> tuple[float, Array]:
    """Make a step that starts without gradients and leaves none behind, and return the loss and the scores before it.

    A gradient from before would be added to the step's own. Backward also gives gradients to parameters that the
    optimizer does not have; another optimizer, or the next training, would start from those.

    Parameters
    ----------
    model, loss, optimizer
        As for `train`.
    batch : tuple of arrays
        Inputs, targets and perhaps weights. All ranks have them in full, and share the inputs between them.
    where : str
        The place in training, for the messages of `check_finite`.
    check_finite : bool
        Whether to stop at the first NaN or infinity, before the update.
    """
    parameters = [*parameters_in(model), *optimizer.parameters]
    for parameter in parameters:
        parameter.grad = None
    try:
        return _update(model, loss, optimizer, batch, where, check_finite=check_finite)
    finally:
        for parameter in parameters:
            parameter.grad = None


def _update(
    model: Layer, loss: Loss, optimizer: Optimizer, batch: Batch, where: str, *, check_finite: bool
) -> tuple[float, Array]:
    inputs, *target = batch
    if check_finite:
        check_finite_array(f"the inputs of {where}", inputs)
    checked = checked_layers(model, where) if check_finite else nullcontext()
    with single_threaded_blas(), checked, shared_over(len(inputs)) as group:
        part = group.shard(len(inputs))  # all of them, unless several processes train
        scores, cache = model.forward(inputs[part], training=True)
        scores = group.all_gather(scores, len(inputs))
        value, dscores = measured(loss, scores, *target)
        if check_finite:
            check_finite_array(f"the loss of {where}", value)
        model.backward_parameters(dscores[part], cache, release=True)
        sum_gradients(optimizer.parameters)
        if check_finite:
            for parameter in optimizer.parameters:
                if parameter.grad is not None:
                    check_finite_array(f"the gradient of {parameter.name}, {where},", parameter.grad)
        optimizer.step()
    return value, scores
