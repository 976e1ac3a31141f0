"""Train in FOLDER, killed before each I/O call of a save, and go on from what is there: python kill_program.py FOLDER.

The save is the one that ends the first epoch. It prints how many calls that has, how many kills there were, and as JSON
what is wrong after one: the call, the step of the checkpoint that is there, which must be the old or the new one, and
what differs at the end from a run that was never killed: the paths in the state, the files left behind.
"""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import allconv as ac
from helpers import faults
from helpers.rank_program import Parts
from helpers.states import differing


def start(folder):
    """Return the iterator of a run of four steps, from the newest checkpoint in `folder` if it has one."""
    return Parts(count=8, step=4).train(schedule=ac.schedules.inverse_time(0.01, 0.5), resume=folder)


def train(folder):
    """Train to the end, saving each step, and return the last state."""
    run = start(folder)
    for record in run:
        ac.checkpoint.save(folder, record.state)
    return run.state


def killed_at(call, folder):
    """Train in a child process that is killed before this I/O call of its saves; return whether it was."""
    if not (child := os.fork()):
        with faults.io_calls(folder, faults.kill(call)):
            train(folder)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def main(out):
    os.fsync = lambda descriptor: None  # a kill, unlike a power cut, loses nothing that was written; this is quicker
    wanted = train(out / "whole")
    begun, folder = out / "begun", out / "killed"
    ac.checkpoint.save(begun, next(iter(start(begun))).state)
    calls = []
    with faults.io_calls(shutil.copytree(begun, folder), faults.record(calls)):
        next(run := start(folder))
        ac.checkpoint.save(folder, run.state)
    kills, wrong = 0, []
    for call in range(len(calls) + 1):  # the last one is the first of the save that follows
        shutil.rmtree(folder)
        shutil.copytree(begun, folder)
        kills += killed_at(call, folder)
        step = ac.checkpoint.load(folder)["step"]
        state = train(folder)
        paths = differing(wanted, state) + differing(wanted, ac.checkpoint.load(folder))
        left = [path.name for path in folder.iterdir() if path.suffix == ".tmp"]
        if paths or left or step not in (1, 2):
            wrong.append([call, step, paths, left])
    print(len(calls), kills, json.dumps(wrong))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
