"""The number of cores that this process may keep busy, by its affinity and by its control groups' share of time."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

from allconv.validation import describe


def default_num_threads() -> int:
    """Return ``ALLCONV_NUM_THREADS`` where it is set and not empty, or else the number of available cores.

    Raises
    ------
    ValueError
        If ``ALLCONV_NUM_THREADS`` is set to anything but a positive int.
    """
    text = os.environ.get("ALLCONV_NUM_THREADS", "")
    if not text:
        return available_cores()
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"ALLCONV_NUM_THREADS must be a positive int, or not set, got {describe(text)}")
    return int(text)


def available_cores() -> int:
    """Return the number of cores that the process may run on, or the control groups' limit, rounded up, if less."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return math.ceil(min(cores, cpu_quota()))


def cpu_quota(groups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float:
    """Return how many cores' time Linux control groups (version 1 or 2) allow; infinity without a limit.

    A limit on a group holds for all groups below it. So the limits on the groups above the process's own count too. In
    a container, some folders of the path that the kernel names may be missing; they are left out.
    """
    try:
        memberships = own.read_text().splitlines()
    except OSError:
        return math.inf
    return min((quota for line in memberships for quota in _quotas(groups, line)), default=math.inf)


def _quotas(groups: Path, membership: str) -> Iterator[float]:
    """Yield the limits on one group and on those above it; `membership` reads ``number:controllers:/path``."""
    _, controllers, path = membership.split(":", 2)
    if controllers and "cpu" not in controllers.split(","):
        return
    folder = groups / "cpu" if controllers else groups
    for name in ("", *Path(path).parts[1:]):
        folder /= name
        try:
            if controllers:
                quota, period = ((folder / f"cpu.cfs_{kind}_us").read_text() for kind in ("quota", "period"))
            else:
                quota, period = (folder / "cpu.max").read_text().split()
            if quota != "max" and int(quota) > 0:  # version 1 writes -1 for no limit
                yield int(quota) / int(period)
        except (OSError, ValueError):
            continue
