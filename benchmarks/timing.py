"""The times of calls that take turns, so that a change of the machine's speed meets all of them."""

import statistics
import time
from collections.abc import Callable, Mapping


def medians(
    calls: Mapping[str, Callable[[], object]], runs: int, *, warm: float = 0.0, rest: float = 0.0
) -> dict[str, float]:
    """Return the median milliseconds of each call over `runs` rounds, after a round that does not count.

    Before each timed call there is a rest of so many seconds, and then untimed calls for `warm` seconds, at least two
    unless `warm` is 0.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(runs + 1):
        for name, call in calls.items():
            time.sleep(rest)
            warm_up(call, warm)
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: 1e3 * statistics.median(seconds[1:]) for name, seconds in times.items()}


def warm_up(call: Callable[[], object], seconds: float) -> None:
    """Make calls for so many seconds, at least two; none for 0 seconds."""
    if seconds > 0:
        start = time.perf_counter()
        call()
        call()
        while time.perf_counter() - start < seconds:
            call()
