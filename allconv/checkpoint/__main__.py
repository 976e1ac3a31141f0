"""The command line: ``python -m allconv.checkpoint verify RUN``."""

import argparse
import sys
from pathlib import Path

from allconv.checkpoint.verify import verify


def main(argv: list[str] | None = None) -> int:
    """Run the command line, and return the exit status: 0 if the bits are the same."""
    parser = argparse.ArgumentParser(prog="python -m allconv.checkpoint", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    checked = commands.add_parser("verify", help="train again from the last checkpoint but one, killed on the way")
    checked.add_argument("run", type=Path, metavar="RUN", help="the folder of a run: its config.json and checkpoints")
    checked.add_argument("--kills", type=int, default=3, help="how often it is killed on the way (default: 3)")
    args = parser.parse_args(argv)
    try:
        report = verify(args.run, kills=args.kills)
    except (OSError, ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(report)
    return 0 if report.same else 1


if __name__ == "__main__":
    sys.exit(main())
