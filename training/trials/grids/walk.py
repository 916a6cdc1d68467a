"""The walk through a grid: what is missing of it is run, written down, and said with how long the rest will take."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sg_hub.errors import InvalidInputError

from ..trial import Trial
from .choices import append_choice, read_choices
from .choosing import RUNS, choose, further_runs, long_runs, short_runs
from .grid import Engine, Failure, Result, grid
from .results import Row, append, read_results

SAME, OWN = "same", "own"
PROTOCOLS = (SAME, OWN)
"""Of fine-tuning: the settings of the target, or each initialisation's own."""


class TrialsError(InvalidInputError):
    """Some trials failed.

    Attributes:
        rows: of all others that were asked for, by key.
        failed: what failed, and why, in lines.
    """

    def __init__(self, message: str, rows: dict[str, Row], failed: list[str]) -> None:
        super().__init__(message)
        self.rows, self.failed = rows, failed


class Walk:
    """Runs trials of one folder of results, each once."""

    def __init__(self, out: Path, engine: Engine) -> None:
        self.out, self.engine = out, engine
        self.done, self.chosen = read_results(out), read_choices(out)
        self._failed: list[Failure] = []
        self._total = self._count = 0
        self._left = self._worked = 0.0
        self._started: float | None = None

    def run(self, cells: Sequence[Trial], trials: int, protocols: Sequence[str]) -> dict[str, Row]:
        """Run every trial of some cells; returns their rows by key.

        Raises:
            TrialsError: some of them failed; the others are written.
        """
        same = grid(cells, trials) if SAME in protocols else []
        tuned = list(cells) if OWN in protocols else []
        self._announce(same, tuned, trials)
        self._run(same)
        self._run([run for cell in tuned for run in short_runs(cell)])
        self._run([run for cell in tuned for run in long_runs(cell, self.chosen)])
        self._run([run for cell in tuned for run in further_runs(cell, self.chosen)])
        own = grid(self._with_own(tuned), trials)
        self._run(own)
        # one that was there already was written under the name that its weights were given by then
        there = [trial for trial in (*same, *own) if trial.key in self.done]
        rows = {trial.key: self.done[trial.key] | {"init": trial.start.init} for trial in there}
        if self._failed:
            failed = [f"{trial}: {error}" for trial, error in self._failed]
            message = f"{len(failed)} of {self._total} trials failed; the others are in {self.out}"
            raise TrialsError("\n".join([message, *failed[:5]]), rows, failed)
        return rows

    def _with_own(self, cells: Sequence[Trial]) -> list[Trial]:
        found = [(cell, choose(cell, self.chosen)) for cell in cells]
        return [replace(cell, own=variant) for cell, variant in found if variant is not None]

    def _announce(self, same: list[Trial], tuned: list[Trial], trials: int) -> None:
        """Say how much there is to do, before hours of work."""
        rounds = (short_runs, lambda cell: long_runs(cell, self.chosen), lambda cell: further_runs(cell, self.chosen))
        choices = [run for cell in tuned for runs in rounds for run in runs(cell)]
        own = grid(self._with_own(tuned), trials)
        done = [trial for trial in (*same, *choices, *own) if self._is_done(trial)]
        self._count, self._total = len(done), len(same) + len(tuned) * (RUNS + trials)
        planned = [*same, *(run for cell in tuned for run in short_runs(cell))]
        work = sum(map(_steps, planned)) + sum((RUNS - len(short_runs(cell)) + trials) * _steps(cell) for cell in tuned)
        self._left = work - sum(map(_steps, done))
        text = f"{len(same) + len(tuned) * trials} trials"
        if tuned:
            text += f", and {len(tuned) * RUNS} short ones that choose settings on the validation patients"
        print(f"{text}, {len(done)} of them done", flush=True)

    def _is_done(self, trial: Trial) -> bool:
        return trial.key in (self.chosen if trial.chooses else self.done)

    def _run(self, trials: list[Trial]) -> None:
        if self._started is None:
            self._started = time.monotonic()
        self._failed += self.engine([trial for trial in trials if not self._is_done(trial)], self._finished)

    def _finished(self, trial: Trial, result: Result) -> None:
        row, files = result
        if trial.chooses:
            append_choice(self.out, row)
            self.chosen[trial.key] = row
        else:
            append(self.out, row, files)
            self.done[trial.key] = row
        self._count += 1
        self._left -= _steps(trial)
        self._worked += _steps(trial)
        what = f"validation {trial.task.target.metric}" if trial.chooses else row["metric"]
        print(
            f"{self._count}/{self._total} {trial}: {what} {row['value']:.4f}, {row['minutes']:.1f} min{self._rest()}",
            flush=True,
        )

    def _rest(self) -> str:
        """How long the others will take, by the steps that were done so far."""
        others = self._total - self._count
        if others < 1 or self._started is None or self._left <= 0:
            return ""
        seconds = (time.monotonic() - self._started) / self._worked * self._left
        return f"; the other {others}: about {_duration(seconds)}"


def _steps(trial: Trial) -> float:
    """Of a trial with settings of its own, those of the target: what it will be is not known before."""
    target = trial.trained_task.target if trial.chooses else trial.task.target
    return target.settings.steps


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
