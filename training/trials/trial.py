"""One trial: a network fine-tuned on a target's training items, chosen on its validation items, tested once."""

from __future__ import annotations

import hashlib
import json
import math
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from sg_hub.errors import InvalidInputError

from ..run.folder.environment import commit, machine
from ..run.layout import to_device
from ..run.processes.process_group import training_device
from ..run.seeds import seed_of
from ..targets import Item, in_parts
from ..targets.splits import few_patients, label_fraction
from .scoring import Scores, score
from .task import PROTOCOL
from .task.initialisation import Initialisation
from .task.prepared_task import PreparedTask
from .training import Checkpoint, Training, train
from .variant import Variant


@dataclass(frozen=True)
class Trial:
    """One fine-tuning: what determines it."""

    task: PreparedTask
    start: Initialisation
    number: int
    """What its random numbers are drawn from: the fresh layers, the batches, the patients of a fraction."""
    fraction: float = 1.0
    """Of the training patients."""
    patients: int | None = None
    """Labelled patients, instead of a fraction."""
    own: Variant | None = None
    """Settings of the initialisation's own; absent: as the target says."""
    chooses: bool = False
    """Whether it is run to choose such settings: the test part is not read."""

    @property
    def key(self) -> str:
        """A hash of all of it: machines agree on it."""
        said: list[Any] = [PROTOCOL, self.task.key, self.start.fingerprint, self.fraction, self.number]
        if self.patients is not None:
            said.append({"patients": self.patients})
        if self.own is not None:
            said.append({"own": self.own.record()})
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]

    def __str__(self) -> str:
        run = f"choosing its settings: {self.own}" if self.chooses else f"trial {self.number}"
        own = ", own settings" if self.own is not None and not self.chooses else ""
        return f"{self.task.target.name}, {self.start.init}{self.labels}{own}, {run}"

    @property
    def labels(self) -> str:
        """How many labels, in words; empty where all are used."""
        if self.patients is not None:
            return f", {self.patients} labelled patient{'s' if self.patients > 1 else ''}"
        return f", {100 * self.fraction:g}% of the labels" if self.fraction < 1 else ""

    @property
    def trained_task(self) -> PreparedTask:
        """The task with the settings that this trial trains with."""
        return self.task if self.own is None else replace(self.task, target=self.own.target(self.task.target))

    def parts(self) -> dict[str, list[Item]]:
        """Train, validation and test items. Of the training patients a share or a number is kept, drawn by the trial.

        Raises:
            InvalidInputError: a number of patients that there are not, or in whom a class is missing that items of a
                classification must have.
        """
        parts, target = in_parts(self.task.items), self.task.target
        if self.patients is None:
            parts["train"] = label_fraction(parts["train"], self.fraction, target.name, self.number)
            return parts
        first = int(target.head == "segmentation")
        wanted = range(first, first + len(target.classes))
        place = (target.name, self.number)
        parts["train"] = few_patients(parts["train"], self.patients, self._classes, wanted, *place)
        there = {number for item in parts["train"] for number in self._classes(item)} if not first else set(wanted)
        if target.exclusive and there < set(wanted):
            raise InvalidInputError(
                f"target {target.name}: {self.patients} labelled patients do not have all {len(wanted)} classes: "
                f"{', '.join(target.classes)}; give more"
            )
        return parts

    def _classes(self, item: Item) -> set[int]:
        if self.task.target.head == "segmentation":
            return self.task.arrays.classes(item)
        if isinstance(item.label, tuple):
            return {number for number, value in enumerate(item.label) if value}
        return {int(item.label)}  # type: ignore[arg-type]


@dataclass
class TrainedTrial:
    """A trial whose network is trained, and tested by nobody yet."""

    trial: Trial
    network: Any
    curve: list[list[float]]
    """[step, validation metric, training loss] at every validation."""
    best_step: int
    """Whose weights were kept."""
    parts: dict[str, list[Item]]
    minutes: float
    seconds_a_step: float
    """Without the validations."""


@dataclass
class FinishedTrial(TrainedTrial):
    """A trial that was run."""

    test: Scores
    seconds_an_item: float
    """Of the test part: how long a prediction takes."""

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
            "cost": {
                "parameters": sum(p.numel() for p in self.network.parameters()),
                "seconds_a_step": round(self.seconds_a_step, 5),
                "seconds_an_item": round(self.seconds_an_item, 5),
            },
            "machine": machine(),
            "commit": commit(),
        }
        doubtful = {row["item"]: target.doubtful[row["item"]] for row in test.by_item if row["item"] in target.doubtful}
        if test.in_mm:
            record["in_mm"] = test.in_mm
        if doubtful:
            record["doubtful"] = {"items": doubtful, "values": test.without_doubtful}
        return record


def late_rise(curve: list[list[float]]) -> float:
    """What the validation metric rose by from the last validation within three quarters of the steps to the end.

    Near 0 where training had converged, NaN where nothing was validated before.
    """
    before = [point[1] for point in curve if point[0] <= 3 * curve[-1][0] / 4]
    return curve[-1][1] - before[-1] if before else math.nan


def train_trial(
    trial: Trial, checkpoint: Path | None = None, *, device: str = "auto", progress: bool = True
) -> TrainedTrial:
    """Build the network, fine-tune it, and choose on the validation items.

    Args:
        checkpoint: file that the training is kept in, and gone on from where it is there.
        device: `auto`, `cpu`, `cuda` or `mps`.

    Raises:
        InvalidInputError: a loss that is no number.
    """
    started = time.monotonic()
    task, parts = trial.trained_task, trial.parts()
    network = trial.start.network(task.target, seed_of("initialise", trial.number))
    to_device(network, training_device(device), task.target.ndim)
    training = Training(network, task, parts, trial.number)
    kept = Checkpoint(checkpoint, trial.key) if checkpoint is not None else None
    begun = time.monotonic() - started
    done = train(training, str(trial), kept, progress=progress)
    minutes = (begun + done.spent) / 60
    return TrainedTrial(trial, network, done.curve, done.best_step, parts, minutes, done.seconds / done.step)


def run_trial(
    trial: Trial, checkpoint: Path | None = None, *, device: str = "auto", progress: bool = True
) -> FinishedTrial:
    """The same, and test once.

    Raises:
        InvalidInputError: a loss that is no number.
    """
    done = train_trial(trial, checkpoint, device=device, progress=progress)
    started, items = time.monotonic(), done.parts["test"]
    test = score(done.network, trial.task, items, in_mm=True)
    seconds = time.monotonic() - started
    done.minutes += seconds / 60
    trained = {field.name: getattr(done, field.name) for field in fields(done)}
    return FinishedTrial(**trained, test=test, seconds_an_item=test.seconds / len(items))
