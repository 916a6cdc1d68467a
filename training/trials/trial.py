"""One trial: a network fine-tuned on a target's training items, chosen on its validation items, tested once."""

from __future__ import annotations

import hashlib
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..run.environment import commit, machine
from ..run.layout import to_device
from ..run.process_group import training_device
from ..run.seeds import seed_of
from ..targets import Item, in_parts
from ..targets.splits import label_fraction
from .scoring import Scores, score
from .task import PROTOCOL
from .task.initialisation import Initialisation
from .task.prepared_task import PreparedTask
from .training import Checkpoint, Training, train


@dataclass(frozen=True)
class Trial:
    """One fine-tuning: what determines it."""

    task: PreparedTask
    start: Initialisation
    number: int
    """What its random numbers are drawn from: the fresh layers, the batches, the patients of a fraction."""
    fraction: float = 1.0
    """Of the training patients."""

    @property
    def key(self) -> str:
        """A hash of all of it: machines agree on it."""
        text = json.dumps([PROTOCOL, self.task.key, self.start.fingerprint, self.fraction, self.number])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def __str__(self) -> str:
        share = f", {self.fraction:.0%} of the labels" if self.fraction < 1 else ""
        return f"{self.task.target.name}, {self.start.init}{share}, trial {self.number}"

    def parts(self) -> dict[str, list[Item]]:
        """Train, validation and test items. A fraction keeps a share of the training patients, drawn by the trial."""
        parts = in_parts(self.task.items)
        parts["train"] = label_fraction(parts["train"], self.fraction, self.task.target.name, self.number)
        return parts


@dataclass
class FinishedTrial:
    """A trial that was run."""

    trial: Trial
    network: Any
    test: Scores
    curve: list[list[float]]
    """[step, validation metric, training loss] at every validation."""
    best_step: int
    """Whose weights were kept: the step that did best on the validation part."""
    parts: dict[str, list[Item]]
    minutes: float

    @property
    def unchecked(self) -> str:
        """Why it cannot be told whether the weights have seen test patients; empty where none was seen."""
        return self.trial.task.unchecked.get(self.trial.start.init, "")

    def record(self) -> dict[str, Any]:
        """What is written down of it, in JSON types."""
        target, test = self.trial.task.target, self.test
        record: dict[str, Any] = {
            "values": test.values,
            "left_out": test.left_out,
            "absent": test.absent,
            "items": {part: len(items) for part, items in self.parts.items()},
            "patients": {part: len({item.patient for item in items}) for part, items in self.parts.items()},
            "seen": self.trial.task.seen,
            "curve": self.curve,
            "best_step": self.best_step,
            "unchecked": self.unchecked,
            "minutes": round(self.minutes, 3),
            "machine": machine(),
            "commit": commit(),
        }
        doubtful = {row["item"]: target.doubtful[row["item"]] for row in test.by_item if row["item"] in target.doubtful}
        if doubtful:
            record["doubtful"] = {"items": doubtful, "values": test.without_doubtful}
        return record


def late_rise(curve: list[list[float]]) -> float:
    """What the validation metric rose by from the last validation within three quarters of the steps to the end.

    Near 0 where training had converged, NaN where nothing was validated before.
    """
    before = [point[1] for point in curve if point[0] <= 3 * curve[-1][0] / 4]
    return curve[-1][1] - before[-1] if before else math.nan


def run_trial(
    trial: Trial, checkpoint: Path | None = None, *, device: str = "auto", progress: bool = True
) -> FinishedTrial:
    """Build the network, fine-tune it, choose on the validation items, test once.

    Args:
        checkpoint: file that the training is kept in, and gone on from where it is there.
        device: `auto`, `cpu`, `cuda` or `mps`.

    Raises:
        InvalidInputError: a loss that is no number.
    """
    started = time.monotonic()
    task, parts = trial.task, trial.parts()
    network = trial.start.network(task.target, seed_of("initialise", trial.number))
    to_device(network, training_device(device), task.target.ndim)
    training = Training(network, task, parts, trial.number)
    kept = Checkpoint(checkpoint, trial.key) if checkpoint is not None else None
    done = train(training, str(trial), kept, progress=progress)
    test = score(network, task, parts["test"])
    return FinishedTrial(trial, network, test, done.curve, done.best_step, parts, (time.monotonic() - started) / 60)
