"""The state of a training: everything that a killed run needs to end as if it had never been killed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..methods.protocol import Network
from ..run.checkpoint import load_checkpoint, save_checkpoint
from ..run.metrics import Metrics
from ..run.precision import sum_type
from ..run.recipe import Pretrain, Recipe
from .inputs import Inputs
from .optimisation import Average, optimizer_of

CHECKPOINT = "checkpoint.pt"


@dataclass
class Progress:
    """Where a run is; everything but the tensors."""

    epoch: int = 0
    step: int = 0
    """Steps of this epoch that are done."""
    best: float = math.inf
    """Validation loss of the best epoch of this stage."""
    stale: int = 0
    """Epochs since then."""
    seconds: float = 0.0


class State:
    """Network, its average, optimiser, place and sums of a run, and the checkpoint that they are written to.

    Args:
        determined_by: what the weights depend on: a checkpoint of anything else is refused.
    """

    def __init__(self, network: Network, settings: Pretrain, folder: Path, determined_by: str) -> None:
        self.network = network
        self.optimizer = optimizer_of(network, settings)
        self.average = Average(network, settings.average)
        self.path, self.determined_by = folder / CHECKPOINT, determined_by
        self.at = Progress()
        self.sums: dict[str, Tensor] = {}
        """Sums of this epoch's training metrics so far, where they were computed."""

    def add(self, losses: dict[str, Tensor]) -> None:
        """Add the metrics of a step, without reading them: a GPU would be waited for at every step."""
        for key, value in losses.items():
            before = self.sums.get(key)
            value = value.to(sum_type(value.device))
            self.sums[key] = value if before is None else before + value

    def means(self, steps: int) -> dict[str, float]:
        """Of the training metrics over the epoch's steps so far."""
        return {key: value.item() / steps for key, value in self.sums.items()}

    def judge(self, loss: float, new_stage: bool) -> bool:
        """Take in an epoch's validation loss; returns whether it is the best of its stage."""
        if new_stage:  # the loss is another one from here on
            self.at.best, self.at.stale = math.inf, 0
        better = loss < self.at.best
        self.at.best = min(self.at.best, loss)
        self.at.stale = 0 if better else self.at.stale + 1
        return better

    def next_epoch(self) -> None:
        self.at.epoch, self.at.step, self.sums = self.at.epoch + 1, 0, {}

    def save(self, metrics: Metrics) -> None:
        """Write the checkpoint."""
        state = {
            "determined_by": self.determined_by,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict(),
            "averaged_steps": self.average.steps,
            "at": vars(self.at),
            "sums": self.means(1),
            "metrics": metrics.position(),
        }
        save_checkpoint(self.path, state)

    def resume(self, metrics: Metrics, device: torch.device) -> bool:
        """Go on from the checkpoint; returns whether there is one."""
        state = load_checkpoint(self.path, self.determined_by)
        if state is None:
            metrics.truncate(0)
            return False
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.load(state["average"], state["averaged_steps"])
        self.at = Progress(**state["at"])
        kind = sum_type(device)
        self.sums = {key: torch.tensor(v, dtype=kind, device=device) for key, v in state["sums"].items()}
        metrics.truncate(state["metrics"])
        return True


def determined_by(recipe: Recipe, inputs: Inputs, world: int) -> str:
    """What the weights of an epoch depend on. How long to train does not count, so that a run can be extended."""
    free = {"patience", "workers", "cache_mib", "picture_every", "checkpoint_every"}
    if recipe.pretrain.schedule != "cosine":
        free.add("epochs")
    sections = (recipe.pretrain.model_dump_json(exclude=free), recipe.method.model_dump_json())
    return " ".join(map(str, (inputs.fingerprint, *sections, recipe.model.model_dump_json(), recipe.seed, world)))
