"""The one error of a file that cannot be read as a checkpoint."""

import contextlib
from collections.abc import Iterator


class CheckpointError(ValueError):
    """A checkpoint cannot be read: the file is damaged or of another kind, or there is none. The message says which."""


@contextlib.contextmanager
def damage(what: str) -> Iterator[None]:
    """Turn every error in the ``with`` block into a CheckpointError whose message begins with `what`.

    Damaged files raise at least BadZipFile, ValueError, EOFError, OSError (a seek before the start), struct.error,
    NotImplementedError, RuntimeError, KeyError, TypeError, OverflowError, RecursionError and MemoryError.
    """
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{what}: {error}") from error.__cause__
    except Exception as error:
        raise CheckpointError(f"{what}: {type(error).__name__}: {error}") from error
