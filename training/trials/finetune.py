"""One trial for a task of one's own. What becomes of it, a model folder with its card, is `training.publishing`'s."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import Any

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
        read.preprocessing("CT")  # which a saved model needs
        provenance = initialise(init, read, seed).provenance
        unchecked = check_unseen(provenance, read.dataset, identities(read.dataset, found.items)["test"])
        if unchecked:
            print(f"warning: {init}: {unchecked}", flush=True)
        task = read_task(read, found, temporary, progress=progress)
        trial = run_trial(task.target, init, seed, task.arrays, task.items, progress=progress)
        return Finetuned(init, seed, task.target, trial, task.skipped, examples(task, trial))
