"""The grid: every initialisation on every target that takes it, by label fraction and trial; and how it is run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sg_hub.errors import SgHubError

from ..task.initialisation import Initialisation
from ..task.prepared_task import PreparedTask
from ..trial import Trial, run_trial
from .results import Row
from .trial_record import files_of, row_of

Result = tuple[Row, dict[str, bytes]]
"""A row of the table of results, and the files of the trial's folder."""
Finished = Callable[[Trial, Result], None]
Failure = tuple[Trial, Exception]
Engine = Callable[[list[Trial], Finished], list[Failure]]
"""Runs trials, and returns those that failed."""


def grid(
    tasks: Sequence[PreparedTask], starts: Sequence[Initialisation], fractions: Sequence[float], trials: int
) -> list[Trial]:
    """Every trial, number by number, so that an unfinished grid is a fair one."""
    planned = [
        Trial(task, start, number, float(fraction))
        for number in range(trials)
        for fraction in fractions
        for task in tasks
        for start in starts
        if start.ndim == task.target.ndim
    ]
    return list({trial.key: trial for trial in planned}.values())


def one_by_one(
    trials: list[Trial], finished: Finished, *, device: str = "auto", progress: bool = True
) -> list[Failure]:
    """Run trials here, one after the other; returns those that failed, which do not keep the others from running."""
    failed: list[Failure] = []
    for trial in trials:
        try:
            result = result_of(trial, device=device, progress=progress)
        except (SgHubError, RuntimeError) as error:  # such as: out of memory
            failed.append((trial, error))
            print(f"{trial} failed: {error}", flush=True)
        else:
            finished(trial, result)
    return failed


def result_of(trial: Trial, *, device: str = "auto", progress: bool = True) -> Result:
    """Run one trial: its row of the table, and the files of its folder."""
    done = run_trial(trial, device=device, progress=progress)
    return row_of(done), files_of(done)
