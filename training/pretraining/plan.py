"""How a training is divided: stages into epochs, an epoch into steps, a step's cubes among the processes."""

from __future__ import annotations

import itertools

from torch import nn

from sg_hub.errors import InvalidInputError

from ..methods.protocol import Stage
from ..run.process_group import Process
from ..run.recipe import Pretrain
from .inputs import Inputs


class Plan:
    """The plan of one process.

    Args:
        section: of the recipe, which messages name.

    Attributes:
        epochs: of all stages.
        last_began: epochs before the last stage.
        per_process: cubes of a step for each process.
        steps: of an epoch.

    Raises:
        InvalidInputError: nothing to train on, or what cannot be shared.
    """

    def __init__(self, stages: list[Stage], inputs: Inputs, settings: Pretrain, section: str, me: Process) -> None:
        self.stages, self.me = stages, me
        self._began = [0, *itertools.accumulate(stage.epochs for stage in stages)]
        self.epochs, self.last_began = self._began[-1], self._began[-2]
        for split in ("train", "validation"):
            if len(inputs.data[split]) == 0:
                raise InvalidInputError(
                    f"there is nothing of the {split} split to train on: give the recipe's split {split} patients (or "
                    "a validation_share above 0), and run prepare, autoencode and discover again"
                )
        length, size = len(inputs.data["train"]), settings.batch_size
        if size % me.world or length < me.world:
            raise InvalidInputError(
                f"{section}.batch_size={size} and {length} items cannot be shared evenly by {me.world} processes"
            )
        self.data = inputs.data["train"]
        self.per_process = min(size, length) // me.world
        self.steps = max(1, min(settings.samples_per_epoch or length, length) // (self.per_process * me.world))

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

    def batches(self, seed: int, epoch: int, step: int) -> list[list[int]]:
        """The batches of an epoch for this process, from a step on."""
        order, whole = self.data.order(seed, epoch), self.per_process * self.me.world
        first = self.me.rank * self.per_process
        return [order[at * whole + first :][: self.per_process].tolist() for at in range(step, self.steps)]


def train_only(network: nn.Module, parts: tuple[str, ...]) -> None:
    """Let these parts of the network train, or all of it."""
    network.requires_grad_(not parts)
    for part in parts:
        network.get_submodule(part).requires_grad_(True)
