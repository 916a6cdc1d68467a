"""The grid: every initialisation on every target that takes it, by amount of labels and trial; and how it is run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from sg_hub.errors import SgHubError

from ...run.folder.checkpoint import remove_checkpoint
from ..task.initialisation import Initialisation
from ..task.prepared_task import PreparedTask
from ..trial import Trial, run_trial, train_trial
from .results import Row
from .trial_record import choice_of, files_of, row_of

Result = tuple[Row, dict[str, bytes]]
"""A row of the table of results, and the files of the trial's folder."""
Finished = Callable[[Trial, Result], None]
Failure = tuple[Trial, Exception]
Labels = tuple[float, int | None]
"""Of the training patients: a fraction, or a number of them."""
Engine = Callable[[list[Trial], Finished], list[Failure]]
"""Runs trials, and returns those that failed."""


def cells(tasks: Sequence[PreparedTask], starts: Sequence[Initialisation], labels: Sequence[Labels]) -> list[Trial]:
    """The first trial of every cell."""
    planned = [
        Trial(task, start, 0, float(fraction), patients)
        for fraction, patients in labels
        for task in tasks
        for start in starts
        if start.ndim == task.target.ndim
    ]
    return list({trial.key: trial for trial in planned}.values())


def grid(of_cells: Sequence[Trial], trials: int) -> list[Trial]:
    """Every trial, number by number, so that an unfinished grid is a fair one."""
    return [replace(trial, number=number) for number in range(trials) for trial in of_cells]


def one_by_one(
    trials: list[Trial],
    finished: Finished,
    *,
    device: str = "auto",
    progress: bool = True,
    unfinished: Path | None = None,
) -> list[Failure]:
    """Run trials here, one after the other; returns those that failed, which do not keep the others from running.

    Args:
        unfinished: folder of the checkpoint of the trial that is running, which is gone on from.
    """
    failed: list[Failure] = []
    for trial in trials:
        kept = unfinished / f"{trial.key}.pt" if unfinished is not None else None
        try:
            result = result_of(trial, checkpoint=kept, device=device, progress=progress)
        except (SgHubError, RuntimeError) as error:  # such as: out of memory
            failed.append((trial, error))
            print(f"{trial} failed: {error}", flush=True)
        else:
            finished(trial, result)
        if kept is not None:
            remove_checkpoint(kept)
    return failed


def result_of(trial: Trial, checkpoint: Path | None = None, *, device: str = "auto", progress: bool = True) -> Result:
    """Run one trial: its row of the table, and the files of its folder; of one that chooses settings its row alone."""
    if trial.chooses:
        return choice_of(train_trial(trial, checkpoint, device=device, progress=progress)), {}
    done = run_trial(trial, checkpoint, device=device, progress=progress)
    return row_of(done), files_of(done)
