"""Run a long campaign of the fuzz suite: ``PYTHONPATH=tests python -m fuzz.long --cases 1000000 --table TABLE``.

Case k of a campaign follows from its number alone, so a campaign goes on with ``--first``, and its table adds up.
"""

import argparse
import collections
import multiprocessing
import random
import sys
import time
from concurrent import futures
from pathlib import Path

from fuzz.engine import REFUSALS, check, draw_case
from fuzz.targets import targets

# What a case may end as.
COLUMNS = ["right", *(kind.__name__ for kind in REFUSALS), "AttributeError", "MemoryError", "escape"]
# The number of cases after which the table is written, and new processes begin.
PART = 10_000


def block(numbers):
    """Return the counts by (room, outcome) of some cases, and the escapes with their numbers."""
    counts, escapes = collections.Counter(), []
    for number in numbers:
        case = draw_case(random.Random(number).choice)
        outcome = check(case)
        counts[targets()[case.target].room, outcome.kind] += 1
        if outcome.kind == "escape":
            escapes.append((number, case, outcome.detail))
    return counts, escapes


def table(counts):
    """Return the rows of the table: one a room, and the sums."""
    rooms = sorted({room for room, _ in counts})
    rows = [[room, *(counts[room, kind] for kind in COLUMNS)] for room in rooms]
    total = ["all", *(sum(column) for column in zip(*(row[1:] for row in rows), strict=True))]
    return [[room, sum(cells), *cells] for room, *cells in [*rows, total]]


def former(path):
    """Return the counts of a table that an earlier part of the campaign has written."""
    rows = [line.strip("| ").split(" | ") for line in path.read_text(encoding="utf-8").splitlines()[2:-1]]
    return collections.Counter(
        {(room, kind): int(n.replace(",", "")) for room, _, *ns in rows for kind, n in zip(COLUMNS, ns, strict=True)}
    )


def markdown(rows):
    """Return a table as Markdown."""
    head = [["package", "cases", *COLUMNS], ["---"] * (2 + len(COLUMNS))]
    lines = [*head, *([room, *(f"{count:,}" for count in counts)] for room, *counts in rows)]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def main():
    """Run the campaign in parts, and write the table after each, so that it can be stopped and taken up again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--table", type=Path, help="a Markdown file, to whose counts those of each part are added")
    arguments = parser.parse_args()
    end = arguments.first + arguments.cases
    known = arguments.table and arguments.table.exists()
    counts, start, escaped = former(arguments.table) if known else collections.Counter(), time.monotonic(), 0
    context = multiprocessing.get_context("spawn")
    for first in range(arguments.first, end, PART):
        last = min(first + PART, end)
        blocks = [range(k, min(k + 250, last)) for k in range(first, last, 250)]
        # The processes of one part alone: so the memory stays bounded. One that dies ends the campaign with an error.
        with futures.ProcessPoolExecutor(arguments.processes, context) as pool:
            for found, escapes in pool.map(block, blocks):
                counts += found
                escaped += len(escapes)
                for number, case, detail in escapes:
                    print(f"ESCAPE {number} {case} {detail}", flush=True)
        if arguments.table:
            arguments.table.write_text(markdown(table(counts)), encoding="utf-8")
        seconds = time.monotonic() - start
        print(f"{escaped} escapes after {seconds:.0f} s; next: --first {last}", file=sys.stderr, flush=True)
    print(markdown(table(counts)), end="")
    return 1 if escaped else 0


if __name__ == "__main__":
    sys.exit(main())
