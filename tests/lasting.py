"""Runs the campaigns of docs/understand/lasting.md: files mutated, faults injected, processes crowded.

    python tests/lasting.py                         every campaign, 20 cases each; some minutes
    python tests/lasting.py weights --cases 100000  one of them
    python tests/lasting.py weights --first 4711 --cases 1   one case again

Each line says how many cases there were, how they ended, and how many escaped, which is to be 0; the exit status is 1
if one did. ``--record`` keeps the counts in tests/campaigns/results.csv and makes the table of the page from them.
"""

import argparse
import csv
import subprocess
import sys
import time
import warnings
from pathlib import Path

from campaigns import crowds, disks, endurance, files, interrupts, memory, run

from allconv.tables import markdown

RESULTS = Path(__file__).parent / "campaigns" / "results.csv"
TABLE = Path(__file__).parents[1] / "docs" / "_static" / "results" / "lasting.md"
COLUMNS = ("campaign", "cases", "ends", "escapes")
CAMPAIGNS = {
    name: campaign
    for module in (files, disks, memory, interrupts, crowds, endurance)
    for name, campaign in module.CAMPAIGNS.items()
}


def recorded() -> dict[str, dict[str, str]]:
    """Return the rows of the results by campaign."""
    with RESULTS.open(newline="", encoding="utf-8") as file:
        return {row["campaign"]: row for row in csv.DictReader(file)}


def record(row: dict[str, object]) -> None:
    """Put the result of a campaign in place of the one before."""
    rows = recorded() if RESULTS.exists() else {}
    rows[str(row["campaign"])] = {name: str(value) for name, value in row.items()}
    with RESULTS.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[name] for name in CAMPAIGNS if name in rows)
    TABLE.write_text(table(), encoding="utf-8")


def table() -> str:
    """Return the page's table of the results."""
    rows = [("what", "cases", "how they ended", "escapes", "`python tests/lasting.py`")]
    for name, row in recorded().items():
        what, cases = CAMPAIGNS[name][0], int(row["cases"])
        rows.append((what, f"{cases:,}", row["ends"], row["escapes"], f"`{name} --cases {cases}`"))
    return markdown(rows)


def main(arguments: list[str]) -> int:
    """Run the campaigns that are named, or all of them; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("campaigns", nargs="*", metavar="campaign", help=", ".join(CAMPAIGNS))
    parser.add_argument("--cases", type=int, default=20, help="how many cases, 20 by default")
    parser.add_argument("--first", type=int, default=0, help="the number of the first case, which is its seed")
    parser.add_argument("--record", action="store_true", help="keep the counts, and make the page's table")
    options = parser.parse_args(arguments)
    if unknown := set(options.campaigns) - CAMPAIGNS.keys():
        parser.error(f"campaigns must be among {', '.join(CAMPAIGNS)}, got {', '.join(sorted(unknown))}")
    if len(names := options.campaigns or list(CAMPAIGNS)) > 1:
        # A process for each: what one campaign sets, or leaves in memory, concerns no other.
        rest = [argument for argument in arguments if argument not in names]
        return max(subprocess.run([sys.executable, __file__, name, *rest], check=False).returncode for name in names)
    warnings.simplefilter("error")
    started = time.monotonic()
    outcome = run(CAMPAIGNS[names[0]][1], options.cases, options.first, lambda text: print(text, flush=True))
    ends = ", ".join(f"{count:,} {end}" for end, count in sorted(outcome.ends.items()))
    seconds = time.monotonic() - started
    print(f"{names[0]}: {outcome.cases} cases, {len(outcome.escapes)} escapes ({ends}; {seconds:.0f} s)", flush=True)
    if options.record:
        record(dict(zip(COLUMNS, (names[0], outcome.cases, ends, len(outcome.escapes)), strict=True)))
    return int(bool(outcome.escapes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
