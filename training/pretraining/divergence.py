"""Training that diverged: the batch from which on the loss was no number."""

from __future__ import annotations

import torch
from torch import Tensor

from sg_hub.errors import InvalidInputError

from ..discovery.cubes import Cubes

SHOWN = 4
"""Items of a batch that a message names."""


class Watch:
    """Finds the first step of an epoch whose loss was no number; only `check` makes the device wait.

    Args:
        section: of the recipe, which the message names.
        first: step that `batches`, lists of item numbers, begin with.
    """

    def __init__(
        self, device: torch.device, section: str, data: Cubes, epoch: int, first: int, batches: list[list[int]]
    ) -> None:
        self.section, self.data, self.epoch, self.first, self.batches = section, data, epoch, first, batches
        self.broken = torch.full((), -1, dtype=torch.int64, device=device)

    def see(self, step: int, loss: Tensor) -> None:
        new = (self.broken < 0) & ~loss.isfinite()
        self.broken = torch.where(new, step, self.broken)

    def check(self) -> None:
        """Stop where a loss was no number.

        Raises:
            InvalidInputError: naming epoch, step and items.
        """
        step = int(self.broken)
        if step < 0:
            return
        items = self.batches[step - self.first]
        names = ", ".join(self.data.describe(item) for item in items[:SHOWN])
        more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
        raise diverged(self.section, f"the loss of epoch {self.epoch + 1}, step {step + 1} ({names}{more})")


def diverged(section: str, what: str) -> InvalidInputError:
    return InvalidInputError(
        f"{what} is no finite number: training diverged; lower {section}.lr, or use pretrain.precision=float32, and "
        "start afresh in another run=FOLDER"
    )
