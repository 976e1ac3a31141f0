"""`train`, which checks what it gets and returns the training loop as an iterator of records."""

from pathlib import Path
from typing import Any

from allconv.data.batches import Batches, Data, as_loader
from allconv.layers.base import Layer
from allconv.optimizers.base import Optimizer
from allconv.parallel.process_group import current
from allconv.training.checks import check_fit
from allconv.training.resume import state_to_resume
from allconv.training.training import Training
from allconv.typing import Loss, Schedule
from allconv.validation import check_bool, check_callable, check_instance, check_int, describe


def train(
    model: Layer,
    loss: Loss,
    optimizer: Optimizer,
    loader: Data,
    *,
    epochs: int,
    batch_size: int | None = None,
    seed: int | None = None,
    validation: Data | None = None,
    schedule: Schedule | None = None,
    report_every: int | None = None,
    check_finite: bool = False,
    resume: str | Path | dict[str, Any] | None = None,
) -> Training:
    """Return an iterator that trains `model`, and gives a record after each epoch and every `report_every` steps.

    Everything else (logs, checkpoints, plots, early stopping) is the caller's plain code between two records. Each step
    starts without gradients, whatever was left from before, and leaves none behind.

    Parameters
    ----------
    model : Layer
        Takes the inputs, gives scores.
    loss : callable
        ``loss(scores, target) -> (value, gradient)``; see `allconv.typing.Loss`.
    optimizer : Optimizer
        Over the model's parameters, or some of them.
    loader : Loader, Dataset, tuple of arrays, or batches
        The data. A `data.Loader` gives each epoch's inputs and targets. A `data.Dataset`, or arrays ``(inputs,
        targets)`` or ``(inputs, targets, weights)``, are shuffled by `seed`, and the last batch has what is left.
        Batches of one's own come from an object whose ``iter()`` starts anew, such as a list or PyTorch's DataLoader,
        or from a function that returns an iterator; with these a run can go on from the end of an epoch alone, and of
        several processes each must get the same batches.
    epochs : int
        How many there are in all, those before a resume included.
    batch_size, seed : int, optional
        For a Dataset or arrays alone: the examples of a step, 32 by default, and the seed of the order, 0 by default.
    validation : like `loader`, optional
        What to evaluate at the end of each epoch, with the loss of the training; see `Record`.
    schedule : callable, optional
        Maps the epochs elapsed (fractional within an epoch) to the learning rate; None leaves the optimizer's.
    report_every : int, optional
        Steps between two records within an epoch.
    check_finite : bool, default False
        Stop at the first NaN or infinity, before the update, with an error that names layer, pass and step.
    resume : path or dict, optional
        A folder of checkpoints, one checkpoint's own file, or a state: training goes on from there with the same
        bits. A folder that is not there, or holds no checkpoint, starts over.

    Returns
    -------
    Training
        An iterator of `Record`; its ``state`` is what a checkpoint needs, before the first record too.

    Raises
    ------
    TypeError, ValueError
        When called, for arguments that do not fit together. In a step, where the loss refuses the batch, as a mean over
        ignored labels alone does.
    NonFiniteError
        With `check_finite`.
    RuntimeError
        When called on several processes (`allconv.distributed`) that differ in settings, data or weights. When the
        next record or the state is asked for after an error within a step; see `Training`.

    Examples
    --------
    >>> import allconv as ac
    >>> model = ac.Sequential(ac.Flatten(), ac.Linear(3072, 10, rng=np.random.default_rng(0)))
    >>> loader = ac.data.Loader(ac.data.shapes(20, seed=0), 10)
    >>> for record in train(model, ac.SoftmaxCrossEntropy(), ac.SGD(model.parameters(), 0.01), loader, epochs=2):
    ...     print(record.epoch, record.step, record.learning_rate)
    0 2 0.01
    1 2 0.01

    A regression on arrays:

    >>> x = np.linspace(-1, 1, 64)[:, None]
    >>> line = ac.Linear(1, 1, rng=np.random.default_rng(0))
    >>> *_, last = train(line, ac.MeanSquaredError(), ac.Adam(line.parameters(), 0.1), (x, 3 * x + 1), epochs=100)
    >>> last.loss < 1e-3
    True
    """
    check_instance("model", model, Layer)
    check_callable("loss", loss, takes="scores, target[, weights]")
    check_instance("optimizer", optimizer, Optimizer)
    check_callable("schedule", schedule, takes="epochs", optional=True)
    epochs = check_int("epochs", epochs)
    if report_every is not None:
        report_every = check_int("report_every", report_every)
    check_bool("check_finite", check_finite)
    source = as_loader("loader", loader, batch_size=batch_size, seed=seed, shuffle=True, epochs=epochs)
    if schedule is not None and isinstance(source, Batches) and source.steps() is None:
        raise TypeError(
            "loader must have a length, len(loader), where a schedule needs the number of steps of an epoch, "
            f"got {describe(loader)}"
        )
    check_fit(model, loss, source, training=True)
    tested = None
    if validation is not None:
        tested = as_loader("validation", validation, batch_size=None, shuffle=False, epochs=epochs)
        check_fit(model, loss, tested)
    training = Training(
        model,
        loss,
        optimizer,
        source,
        epochs=epochs,
        validation=tested,
        schedule=schedule,
        report_every=report_every,
        check_finite=check_finite,
    )
    if resume is not None and (state := state_to_resume(resume)) is not None:
        training.load_state(state)
    if current().size > 1:
        training.check_same_on_all_ranks()
    return training
