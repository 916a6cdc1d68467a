"""Long commands are killed at random moments and run again; what comes of it has to be what it is without the kill.

Half of the kills come at a moment of the command's processor time, half right before one of its changes of files (they
take microseconds each, and are where things are lost). Half are SIGKILL, half SIGTERM. What comes of a kill:

    equal      the files after the kill are the older or the newer ones, and those of the next run are as without it
    too late   the command had ended before
    status     the command, or the next one, ended with another exit status than it should
    torn       after the kill a file was lost, or half of one is in its place
    other      after the next run something is missing, left, or another
    left       temporary files or processes stay
"""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

from tests.reliability.commands import COMMANDS, Command, room, temporary, undisturbed
from tests.reliability.compare import contents, neither, unlike
from tests.reliability.counts import Counts
from tests.reliability.processes import Fork, at_change

GOOD = ("equal", "too late")
CLASSES = (*GOOD, "status", "torn", "other", "left")
_SIGNALS = (signal.SIGKILL, signal.SIGTERM)
_STOPPED = 128 + signal.SIGTERM
_LONGEST = 300
"""Seconds of one run, on a busy machine."""


def kill(name: str, seed: int, number: int) -> tuple[str, str]:
    """One kill: its class, and what was wrong."""
    command, rng = COMMANDS[name], random.Random(f"{name} {seed} {number}")
    whole, how = undisturbed(name), _SIGNALS[number % 2]
    folder = room(command, f"{name}-{seed}-{number}")
    before = contents(folder)
    if number % 4 < 2:
        moment = f"{how.name} after {(share := rng.random()):.0%} of its time"
        fork = Fork(command.run, folder, temporary(folder))
        fork.wait(_LONGEST, lambda: fork.processor_time > share * whole.seconds)
        fork.send(how)
    else:
        moment = f"{how.name} before change {(change := rng.randint(1, whole.changes))} of {whole.changes}"
        fork = Fork(_killed_at(command, change, how, folder), folder, temporary(folder))
    fork.wait(_LONGEST)
    found = _judge(command, fork, how, folder, before)
    shutil.rmtree(folder)
    shutil.rmtree(temporary(folder))
    return found[0], f"{name} {seed} {number}, {moment}: {found[1]}"


def _killed_at(command: Command, change: int, how: signal.Signals, folder: Path) -> Callable[[], int]:
    def work() -> int:
        at_change(lambda number, place: os.kill(os.getpid(), how) if number == change else None, folder)
        return command.run()

    return work


def _judge(command: Command, fork: Fork, how: signal.Signals, folder: Path, before: dict[str, str]) -> tuple[str, str]:
    whole, late = contents(undisturbed(command.name).folder), fork.status == 0
    if not fork.end():
        return "left", "a process"
    expected = (-signal.SIGKILL,) if how == signal.SIGKILL else (_STOPPED, -signal.SIGTERM)
    if not late and fork.status not in expected:
        return "status", f"{fork.status}: {fork.said[-1500:]}"
    if how == signal.SIGTERM and "Traceback" in fork.said:
        return "status", fork.said[-1500:]
    torn = neither(contents(folder), before, whole, command.growing)
    if torn:
        return "torn", torn
    again = Fork(command.run, folder, temporary(folder))
    again.wait(_LONGEST)
    if not again.end() or again.status != 0:
        return "status", f"the next run {again.status}: {again.said[-1500:]}"
    other = unlike(contents(folder), whole)
    if other:
        return "other", other
    left = sorted(path.name for path in temporary(folder).iterdir())
    return ("left", f"temporary files {left}") if left else ("too late" if late else "equal", "")


def kills(name: str, count: int, seed: int, first: int, done: Callable[[], object], show: bool) -> Counts:
    """Kills of one command."""
    counts = Counts(GOOD, show)
    for number in range(first, first + count):
        counts.add(*kill(name, seed, number))
        done()
    return counts
