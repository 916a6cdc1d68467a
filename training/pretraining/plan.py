"""How a training is divided: stages into epochs, an epoch into steps, a step's batch into parts, and these among the
processes.
"""

from __future__ import annotations

import itertools

from torch import nn

from sg_hub.errors import InvalidInputError

from ..methods.protocol import Stage
from ..run.processes.process_group import Process
from ..run.recipe import Pretrain
from .inputs import Inputs


class Plan:
    """The plan of one process.

    Args:
        section: of the recipe, which messages name.
        parts: that a batch is computed in; absent: one for each process.

    Attributes:
        epochs: of all stages.
        last_began: epochs before the last stage.
        parts: of a batch.
        mine: those of them that this process computes.
        per_part: cubes of each.
        steps: of an epoch.

    Raises:
        InvalidInputError: nothing to train on, or what cannot be shared.
    """

    def __init__(
        self,
        stages: list[Stage],
        inputs: Inputs,
        settings: Pretrain,
        section: str,
        me: Process,
        parts: int | None = None,
    ) -> None:
        self.stages, self.parts = stages, parts or me.world
        self._began = [0, *itertools.accumulate(stage.epochs for stage in stages)]
        self.epochs, self.last_began = self._began[-1], self._began[-2]
        if not self.epochs:
            raise InvalidInputError(f"{section}.epochs=0: no stage has an epoch to train; give 1 or more")
        for split in ("train", "validation"):
            if len(inputs.data[split]) == 0:
                raise InvalidInputError(
                    f"there is nothing of the {split} split to train on: give the recipe's split {split} patients (or "
                    "a validation_share above 0), and run the steps from prepare on again"
                )
        length, size = len(inputs.data["train"]), settings.batch_size
        if size % self.parts or length < self.parts:
            by = f"{me.world} processes" if self.parts == me.world else f"{self.parts} parts of a batch"
            raise InvalidInputError(f"{section}.batch_size={size} and {length} items cannot be shared evenly by {by}")
        if self.parts < me.world:
            raise InvalidInputError(
                f"a batch is computed in {self.parts} parts here, which {me.world} processes cannot share: start "
                f"{self.parts} processes at most, or begin afresh in another run=FOLDER with pretrain.batch_parts="
                f"{me.world}"
            )
        self.mine = range(me.rank * self.parts // me.world, (me.rank + 1) * self.parts // me.world)
        self.share = me.world / self.parts
        """What the gradient of a part counts in that of its process, of which the mean is taken over all processes."""
        self.data = inputs.data["train"]
        self.per_part = min(size, length) // self.parts
        self.steps = max(1, min(settings.samples_per_epoch or length, length) // self.whole)

    @property
    def whole(self) -> int:
        """Cubes of a batch."""
        return self.per_part * self.parts

    def stage(self, epoch: int) -> Stage:
        """Of an epoch; behind the end the last one."""
        ends = zip(self.stages, self._began[1:], strict=True)
        return next((stage for stage, end in ends if epoch < end), self.stages[-1])

    def stage_began(self, epoch: int) -> int:
        """Epochs before the stage of this one."""
        return max(began for began in self._began if began <= epoch)

    def begins(self, epoch: int) -> bool:
        """Whether a stage begins with this epoch."""
        return epoch in self._began

    def batches(self, seed: int, epoch: int, step: int) -> list[list[list[int]]]:
        """The items of an epoch's steps for this process, from a step on, part by part."""
        order, size = self.data.order(seed, epoch), self.per_part
        return [
            [order[at * self.whole + part * size :][:size].tolist() for part in self.mine]
            for at in range(step, self.steps)
        ]


def train_only(network: nn.Module, parts: tuple[str, ...]) -> None:
    """Let these parts of the network train, or all of it."""
    network.requires_grad_(not parts)
    for part in parts:
        network.get_submodule(part).requires_grad_(True)
