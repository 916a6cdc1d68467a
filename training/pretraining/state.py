"""The state of a training: everything that a killed run needs to end as if it had never been killed."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..methods.protocol import Network
from ..run.folder.checkpoint import check_belongs, save_checkpoint
from ..run.folder.metrics import Metrics
from ..run.precision import sum_type
from ..run.processes.process_group import Process
from ..run.processes.sharding import divided, divided_optimizer, is_sharded, shard, whole
from ..run.recipe import Pretrain, Recipe
from .inputs import Inputs
from .optimisation import Average, optimizer_of

CHECKPOINT = "checkpoint.pt"
_OF_PARTS = {"batch_parts", "compile", "shard"}
_OF_READING = {"workers", "cache_mib", "cache_dir", "read_ahead"}
FREE = {"patience", "picture_every", "checkpoint_every"} | _OF_PARTS | _OF_READING
"""Keys of [pretrain] that the weights of an epoch do not depend on."""


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
        part: what this process computes of each batch, as a share of it.
    """

    def __init__(
        self, network: Network, settings: Pretrain, folder: Path, determined_by: str, me: Process, part: float = 1.0
    ) -> None:
        self.me, self.part = me, part
        self.network, self._plain = network, None
        if settings.shard and me.world > 1:
            self._plain = copy.deepcopy(network).cpu() if me.is_main else None
            self.average = Average(network, settings.average)
            for each in dict.fromkeys((self.network, self.average.network)):  # in one order on every process
                shard(each, me.device, me.world)
        else:
            self.average = Average(network, settings.average)
        self.optimizer = optimizer_of(network, settings)
        self.path, self.determined_by = folder / CHECKPOINT, determined_by
        self.at = Progress()
        self.sums: dict[str, Tensor] = {}
        """Of this process's training metrics in this epoch so far, over all parts, where they were computed."""
        self.summed = 0
        """Steps that they are of."""

    @property
    def _sharded(self) -> bool:
        return is_sharded(self.network)

    def add(self, losses: dict[str, Tensor]) -> None:
        """Add the metrics of a step, without reading them: a GPU would be waited for at every step."""
        self.summed += 1
        for key, value in losses.items():
            before = self.sums.get(key)
            value = value.to(sum_type(value.device))
            self.sums[key] = value if before is None else before + value

    def means(self, parts: int) -> dict[str, float]:
        """Of this process's training metrics over the parts so far."""
        return {key: value.item() / parts for key, value in self.sums.items()}

    def totals(self) -> dict[str, float]:
        """Sums of the training metrics over all parts so far, of all processes, which ask together."""
        if not self.sums or self.me.world == 1:
            return self.means(1)
        return dict(zip(self.sums, self.me.sum(torch.stack(list(self.sums.values()))).tolist(), strict=True))

    def published(self) -> Network | None:
        """The network that is validated and published; of one that is divided a whole copy on the CPU, which all
        processes put together, and the first gets."""
        if not self._sharded:
            return self.average.network
        state = whole(self.average.network.state_dict())
        if self._plain is not None:
            self._plain.load_state_dict(state)
        return self._plain

    def judge(self, loss: float, new_stage: bool) -> bool:
        """Take in an epoch's validation loss; returns whether it is the best of its stage."""
        if new_stage:  # the loss is another one from here on
            self.at.best, self.at.stale = math.inf, 0
        better = loss < self.at.best
        self.at.best = min(self.at.best, loss)
        self.at.stale = 0 if better else self.at.stale + 1
        return better

    def next_epoch(self) -> None:
        self.at.epoch, self.at.step, self.sums, self.summed = self.at.epoch + 1, 0, {}, 0

    def save(self, metrics: Metrics) -> None:
        """Write the checkpoint, which is the first process's; all are asked together."""
        state = {
            "determined_by": self.determined_by,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict(),
            "averaged_steps": self.average.steps,
            "at": vars(self.at),
            "sums": self.totals(),
            "summed": self.summed,
            "metrics": metrics.position(),
        }
        if self._sharded:
            state = whole(state)
        if self.me.is_main:
            save_checkpoint(self.path, state)

    def resume(self, state: dict[str, Any] | None, metrics: Metrics) -> bool:
        """Go on from a checkpoint; returns whether there is one.

        Raises:
            ReadError: it belongs to another recipe or other data.
        """
        if state is None:
            metrics.truncate(0)
            return False
        check_belongs(state, self.determined_by, self.path)
        self.network.load_state_dict(divided(state["network"], self.network))
        self.optimizer.load_state_dict(divided_optimizer(state["optimizer"], self.optimizer))
        self.average.load(state["average"], state["averaged_steps"])
        self.at = Progress(**state["at"])
        self._resume_sums(state)
        metrics.truncate(state["metrics"])
        return True

    def _resume_sums(self, state: dict[str, Any]) -> None:
        """Those of a checkpoint of several parts that does not say of how many steps they are may be of one process
        alone: such an epoch's training metrics are of the steps from here on."""
        parts = self.determined_by.rpartition(" ")[2]
        self.summed = state.get("summed", self.at.step if parts == "1" else 0)
        if not self.summed:
            return
        kind, device = sum_type(self.me.device), self.me.device
        sums = {key: value * self.part if self.part < 1 else value for key, value in state["sums"].items()}
        self.sums = {key: torch.tensor(value, dtype=kind, device=device) for key, value in sums.items()}


def determined_by(recipe: Recipe, inputs: Inputs, parts: int) -> str:
    """What the weights of an epoch depend on. How long to train does not count, so that a run can be extended; nor does
    where its parts are computed."""
    free = {*FREE, "epochs"} if recipe.pretrain.schedule != "cosine" else FREE
    if not recipe.pretrain.weights:  # checkpoints of before there were any stay valid
        free = {*free, "weights"}
    sections = (recipe.pretrain.model_dump_json(exclude=free), recipe.method.model_dump_json())
    start = [inputs.start] if inputs.start else []
    return " ".join(
        map(str, (inputs.fingerprint, *start, *sections, recipe.model.model_dump_json(), recipe.seed, parts))
    )


def parts_of(state: dict[str, Any] | None, recipe: Recipe, inputs: Inputs) -> int | None:
    """In how many parts the run of a checkpoint computes its batches; None where there is none of this recipe."""
    last = str((state or {}).get("determined_by")).rpartition(" ")[2]
    return (
        int(last)
        if state and last.isdecimal() and determined_by(recipe, inputs, int(last)) == state["determined_by"]
        else None
    )
