"""One trial for a task of one's own. What becomes of it, a model folder with its card, is `training.publishing`'s."""

from __future__ import annotations

import contextlib
import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sg_hub.errors import SgHubError

from ..run.folder.checkpoint import previous_checkpoint
from ..run.folder.lock import run_lock
from ..targets import Target, load_target
from .class_metrics import auc_table, class_table, rows_on_grid
from .examples import examples
from .task.initialisation import look_up, say_taken
from .task.prepared_task import find_items, images_of, read_items
from .trial import FinishedTrial, Trial, late_rise, run_trial

UNFINISHED = ".finetuning"
"""Where the work of a fine-tuning is, in the folder of its model, until that is complete."""

RISING = 0.01
"""What the validation metric must rise by in the last quarter of the steps for longer training to be advised."""


@dataclass(frozen=True)
class Finetuned:
    """A fine-tuned network (`trial.network`), and everything that is known of it."""

    init: str
    seed: int
    target: Target
    trial: FinishedTrial
    images: dict[str, tuple[str, ...]]
    """What the image of each item that was trained or validated on is known by, by the item's name."""
    skipped: dict[str, str]
    """Items that were left out, and why."""
    examples: dict[str, Any]
    """Pictures of the best, the median and the worst test item, as `training.trials.examples` gives them."""
    classes: str
    """A CSV with a line for each class, as `training.trials.class_metrics` makes it."""

    @property
    def advice(self) -> str:
        """What to change in the settings; empty where the training had come to its end."""
        rise, settings = late_rise(self.trial.curve), self.target.settings
        if math.isnan(rise) or rise < RISING:
            return ""
        return (
            f"validation {self.target.metric} was still rising at the last step (by {rise:.3f} in the last quarter of "
            f"{settings.steps}): train longer, such as settings.steps={2 * settings.steps}, with another --out"
        )


def finetune(
    init: str,
    target: str,
    work: str | Path,
    overrides: Sequence[str] = (),
    seed: int = 0,
    *,
    device: str = "auto",
    progress: bool = True,
) -> Finetuned:
    """Fine-tune once.

    Args:
        init: name or folder of weights, `random:NAME` or `encoder:NAME`.
        target: TOML file, or a shipped name.
        work: folder (UNFINISHED, in the model's) of the items as arrays, and of the checkpoint that an interrupted
            training goes on from. It holds patients' images: it is for the time of the training alone.

    Raises:
        InvalidInputError, ReadError: see `training.targets` and `training.trials.task.initialisation`.
    """
    start = look_up(init)
    read = load_target(target, overrides, weights=[start.config["preprocessing"]])
    read.preprocessing(start.config["preprocessing"].modality)  # which a saved model needs
    found = find_items(read, [start], progress=progress)
    say_taken(read, init)
    with run_lock(work), _cleared_where_refused(Path(work)):
        task = read_items(found, work, progress=progress)
        trial = Trial(task, start, seed)
        kept = Path(work) / f"{trial.key}.pt"
        for other in {*Path(work).glob("*.pt")} - {kept, previous_checkpoint(kept)}:
            other.unlink()  # of other settings or other data
        done = run_trial(trial, kept, device=device, progress=progress)
        images = images_of(read, done.parts["train"] + done.parts["validation"], progress=progress)
        return Finetuned(init, seed, read, done, images, task.skipped, examples(done), _classes(done))


@contextlib.contextmanager
def _cleared_where_refused(work: Path) -> Iterator[None]:
    """Nobody goes on from what was refused: patients' images do not stay for it. A checkpoint does, with its items."""
    try:
        yield
    except SgHubError:
        if not any(work.glob("*.pt")):
            for path in work.iterdir():
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
        raise


def _classes(done: FinishedTrial) -> str:
    """How every class did on the test items."""
    target = done.trial.task.target
    if target.head == "classification":
        return auc_table(target, done.test.by_item)
    return class_table(target, *rows_on_grid(done.network, done.trial.task, done.parts["test"]))
