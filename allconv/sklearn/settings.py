"""The parameters of an estimator, checked when it is fitted, as scikit-learn's convention has it."""

from dataclasses import dataclass
from typing import Any

from allconv.sklearn.nets import ModelBuilder
from allconv.validation import check_bool, check_callable, check_int, check_non_negative, check_real, describe, is_int

# The share of the examples that early stopping holds out where `validation_fraction` is None.
_HELD_OUT = 0.1


@dataclass(frozen=True)
class Settings:
    """The parameters that `ConvNetClassifier` documents, checked."""

    model: ModelBuilder | None
    image_shape: tuple[int, ...] | None
    width: int
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    validation_fraction: float | None  # None: nothing is held out
    early_stopping: bool
    n_iter_no_change: int
    warm_start: bool
    verbose: bool


def check_settings(given: Any) -> Settings:
    """Return the parameters of an estimator, which are attributes of the names of `Settings`.

    Raises
    ------
    TypeError, ValueError
        If one of them is out of its range.
    """
    check_callable("model", given.model, takes="input_shape, outputs, rng", optional=True)
    early_stopping = check_bool("early_stopping", given.early_stopping)
    fraction = given.validation_fraction
    if fraction is not None:
        fraction = check_real(
            "validation_fraction", fraction, minimum=0.0, maximum=1.0, open_below=True, open_above=True
        )
    elif early_stopping:
        fraction = _HELD_OUT
    return Settings(
        model=given.model,
        image_shape=_check_image_shape(given.image_shape),
        width=check_int("width", given.width),
        epochs=check_int("epochs", given.epochs),
        batch_size=check_int("batch_size", given.batch_size),
        learning_rate=check_non_negative("learning_rate", given.learning_rate),
        weight_decay=check_non_negative("weight_decay", given.weight_decay),
        validation_fraction=fraction,
        early_stopping=early_stopping,
        n_iter_no_change=check_int("n_iter_no_change", given.n_iter_no_change),
        warm_start=check_bool("warm_start", given.warm_start),
        verbose=check_bool("verbose", given.verbose),
    )


def _check_image_shape(value: object) -> tuple[int, ...] | None:
    if value is None:
        return None
    if not isinstance(value, tuple | list):
        raise TypeError(f"image_shape must be three positive ints (H, W, C) or None, got {describe(value)}")
    if len(value) != 3 or not all(is_int(size) and size > 0 for size in value):
        raise ValueError(f"image_shape must be three positive ints (H, W, C) or None, got {describe(value)}")
    return tuple(int(size) for size in value)
