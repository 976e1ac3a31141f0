"""The record of where training stands."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from allconv.training.evaluation import Evaluation


@dataclass(frozen=True)
class Record:
    """Where training stands: after an epoch, or after `report_every` steps of one.

    Attributes
    ----------
    epoch : int
        Counted from 0.
    step, steps : int
        Steps done in this epoch, and how many it has. Within an epoch of batches that have no length, `steps` is None.
    epoch_ended : bool
        Whether these are the figures of the whole epoch.
    loss, accuracy : float
        Means over the epoch's examples so far, each measured before the update that it led to. They do not depend on
        the batch size, and leave out labels that the loss ignores. Where the examples have weights, both are weighted.
        Accuracy lies in 0..1, and is None for a regression.
    validation : Evaluation or None
        At the end of an epoch, the evaluation of what `train` got as its `validation`, by the weights after the epoch.
    learning_rate : float
        Of the last step.
    scale : float or None
        Of the model's Skips, None without one.
    seconds : float
        Spent in this epoch's steps, without the validation and the caller's own work between two records.
    images_per_second : float
        Over the steps since the last record.
    """

    epoch: int
    step: int
    steps: int | None
    epoch_ended: bool
    loss: float
    accuracy: float | None
    validation: Evaluation | None
    learning_rate: float
    scale: float | None
    seconds: float
    images_per_second: float
    _state: Callable[[], dict[str, Any]] = field(repr=False, compare=False)

    @property
    def state(self) -> dict[str, Any]:
        """What a checkpoint needs, for `checkpoint.save`; read it before the next record is asked for.

        Raises
        ------
        RuntimeError
            When training has gone on, or was interrupted within the next step, so that the state of this record is
            gone.
        """
        return self._state()

    def __str__(self) -> str:
        accuracy = "" if self.accuracy is None else f"  accuracy {self.accuracy:.4f}"
        of = "" if self.steps is None else f"/{self.steps}"
        if self.validation is not None:
            accuracy += f"  validation loss {self.validation.loss:.4f}"
            if self.validation.accuracy is not None:
                accuracy += f"  validation accuracy {self.validation.accuracy:.4f}"
        scale = "" if self.scale is None else f"  scale {self.scale:.4f}"
        return (
            f"epoch {self.epoch}  step {self.step}{of}  loss {self.loss:.4f}{accuracy}  "
            f"learning rate {self.learning_rate:.6g}{scale}  {self.images_per_second:.0f} images/s"
        )
