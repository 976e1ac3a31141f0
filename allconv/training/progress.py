"""The progress bar of a training run: one bar an epoch, on standard error."""

import sys
import time
from typing import TYPE_CHECKING, Any

from allconv.training.record import Record
from allconv.training.training import Training

if TYPE_CHECKING:
    from tqdm import tqdm


def print_above_bar(text: str, end: str) -> None:
    """Print `text` and then `end` to standard output, above a bar that is being drawn."""
    from tqdm import tqdm  # Its import would lengthen ``import allconv``, and most programs draw no bar.

    tqdm.write(text, end=end)
    sys.stdout.flush()


class ProgressBar:
    """Draw a bar for the current epoch, with loss, accuracy, speed and the time that all epochs still take.

    Parameters
    ----------
    training : Training
        The run whose records the bar will show. The time left is estimated from the steps since now.
    hidden : bool
        Draw nothing.
    """

    def __init__(self, training: Training, *, hidden: bool) -> None:
        self._steps_an_epoch = len(training.loader)
        self._all_steps = training.epochs * self._steps_an_epoch
        self._begun_at_step = training.epoch * self._steps_an_epoch + training.step
        self._begun_at_time = time.monotonic()
        self._hidden = hidden
        self._bar: tqdm[Any] | None = None

    def show(self, record: Record) -> None:
        """Move the bar to `record`. A new epoch opens a new bar, and the last step of an epoch closes it."""
        if self._hidden:  # A hidden bar of tqdm would take its lock, which all threads share.
            return
        from tqdm import tqdm

        if self._bar is None:
            self._bar = tqdm(
                desc=f"epoch {record.epoch}",
                total=record.steps,
                initial=record.step - 1,
                unit="step",
            )
        bar = self._bar
        bar.update(record.step - bar.n)
        accuracy = "" if record.accuracy is None else f"accuracy {record.accuracy:.4f}, "
        bar.set_postfix_str(
            f"loss {record.loss:.4f}, {accuracy}{record.images_per_second:.0f} images/s, "
            f"all epochs in {tqdm.format_interval(self._seconds_left(record))}",
            refresh=False,
        )
        if record.epoch_ended:
            self.close()

    def close(self) -> None:
        """Close the bar of the current epoch, if there is one."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _seconds_left(self, record: Record) -> float:
        done = record.epoch * self._steps_an_epoch + record.step
        seconds_a_step = (time.monotonic() - self._begun_at_time) / (done - self._begun_at_step)
        return seconds_a_step * (self._all_steps - done)
