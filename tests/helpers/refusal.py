"""How a hostile file must be refused: within a second and 100 MB, by name and reason, and without an act of its own."""

import time
import tracemalloc

import pytest

from helpers.audit import watch


def check_refusal(load, path, *words):
    """Check that ``load(path)`` raises ValueError or OSError with the path and `words`, and does nothing else."""
    start = time.process_time()
    with watch() as acts, pytest.raises((ValueError, OSError)) as caught:
        load(path)
    seconds = time.process_time() - start
    tracemalloc.start()  # which makes all slower
    try:
        with pytest.raises((ValueError, OSError)):
            load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    for word in (str(path), *words):
        assert word in str(caught.value)
    assert seconds < 1  # on an idle machine some milliseconds
    assert peak < 1e8
    assert acts == []
