"""One trial for a task of one's own. What becomes of it, a model folder with its card, is `training.publishing`'s."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import Any

from sg_hub.errors import InvalidInputError

from ..data.leakage import check_unseen
from ..targets import Target, identities
from .initialisation import initialise
from .prepared_task import find_task, read_task
from .trial import Trial, run_trial
from .trial_rows import examples


@dataclass(frozen=True)
class Finetuned:
    """A fine-tuned network (`trial.model`), and everything that is known of it."""

    init: str
    seed: int
    target: Target
    trial: Trial
    skipped: dict[str, str]
    """Items that were left out, and why."""
    examples: dict[str, Any]
    """Pictures of the best, the median and the worst test item, as `training.trials.cells.examples` gives them."""


def finetune(
    init: str, target: str, overrides: list[str] | tuple[str, ...] = (), seed: int = 0, *, progress: bool = True
) -> Finetuned:
    """Fine-tune once.

    Args:
        init: name or folder of weights, `random:NAME` or `encoder:NAME`.
        target: TOML file, or a shipped name.

    Raises:
        InvalidInputError, ReadError: see `training.targets` and `training.trials.initialisation`.
    """
    with tempfile.TemporaryDirectory(prefix="sg_hub-") as temporary:
        read, found = find_task(target, overrides=overrides)
        _check_publishable(read)
        provenance = initialise(init, read, seed).provenance
        unchecked = check_unseen(provenance, read.dataset, identities(read, found.items)["test"])
        if unchecked:
            print(f"warning: {init}: {unchecked}", flush=True)
        task = read_task(read, found, temporary, progress=progress)
        trial = run_trial(task.target, init, seed, task.arrays, task.items, progress=progress)
        return Finetuned(init, seed, task.target, trial, task.skipped, examples(task, trial))


def _check_publishable(target: Target) -> None:
    """Refuse what the preprocessing of a saved model cannot say: it would treat new images otherwise than the training.

    Raises:
        InvalidInputError: saying what to change.
    """
    if target.sliced:
        raise InvalidInputError(
            f"target {target.name}: a 2D network on the slices of 3D data can be benchmarked, not saved as a model for "
            "new scans: use a 3D network (ndim = 3)"
        )
    if target.ndim == 2 and target.grid.size is None:
        raise InvalidInputError(
            f"target {target.name}: give grid.size = [rows, columns], to which new images are fitted"
        )
