"""Results for several numbers of threads."""

from allconv.parallel.pool import get_num_threads, set_num_threads


def results_by_threads(function):
    """Return the set of what `function` returns on one, two and three threads."""
    before = get_num_threads()
    try:
        return {set_num_threads(threads) or function() for threads in (1, 2, 3)}
    finally:
        set_num_threads(before)
