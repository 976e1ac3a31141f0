"""Campaigns: very many random cases of one kind of trouble, each of which must come out right.

A campaign is a generator function. It sets up what its cases share, yields the function that runs one case, and then
cleans up. A case takes a NumPy Generator, which decides everything, and returns in a word or two how it ended, such as
"refused" or "interrupted". What it raises is an escape. `tests/lasting.py` runs the campaigns.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

Case = Callable[[np.random.Generator], str]
Campaign = Callable[[], Iterator[Case]]


@dataclass
class Outcome:
    """How the cases of a campaign ended, by word, and which of them escaped."""

    ends: Counter[str] = field(default_factory=Counter)
    escapes: list[str] = field(default_factory=list)

    @property
    def cases(self) -> int:
        return self.ends.total() + len(self.escapes)


def run(campaign: Campaign, cases: int, first: int = 0, tell: Callable[[str], object] = print) -> Outcome:
    """Run so many cases, from number `first` on; the number of a case is its seed."""
    outcome, told = Outcome(), time.monotonic()
    with contextlib.contextmanager(campaign)() as case:
        for number in range(first, first + cases):
            try:
                outcome.ends[case(np.random.default_rng(number))] += 1
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt | SystemExit) and not error.args:
                    raise  # of the person who runs the campaign
                outcome.escapes.append(f"case {number}: {type(error).__name__}: {str(error)[:500]}")
                tell(outcome.escapes[-1])
            if time.monotonic() > told + 60:
                told = time.monotonic()
                tell(f"{outcome.cases} of {cases} cases, {len(outcome.escapes)} escapes")
    return outcome
