"""The networks that are held against each other: weights, with running statistics where they have them, and random ones
whose statistics are calibrated.

A random network in evaluation normalises by statistics that it never measured, and is then several times worse than it
is. So its statistics are taken from clean patches first, as pre-training would have left them. Some pre-trainings do
not: where every cube that the network saw was painted over, shuffled and changed in intensity, so are its statistics,
and scans as they are lie far from them. `calibrate` asks for those of clean patches there, too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

import sg_hub
from sg_hub.errors import InvalidInputError

from ..run.layout import to_device
from ..run.seeds import seed_of
from ..trials.task.initialisation import RANDOM, WHOLE, Initialisation, look_up, name_of

PATCHES = 96
"""Clean patches that statistics are calibrated on."""
_BATCH = 32


@dataclass(frozen=True)
class Contender:
    """Weights, or one draw of a random network of their architecture."""

    start: Initialisation
    draw: int = 0
    calibrated: bool = False
    """Statistics of clean patches in weights, too; a random network has them anyway."""

    @property
    def name(self) -> str:
        return self.start.init if self.start.kind == WHOLE else f"{self.start.init}, draw {self.draw}"

    @property
    def is_random(self) -> bool:
        return self.start.kind == RANDOM

    @property
    def is_calibrated(self) -> bool:
        """Whether its statistics are those of clean patches."""
        return self.is_random or self.calibrated

    @property
    def key(self) -> str:
        """A hash of the weights, or of the architecture and the draw, and of whose the statistics are."""
        more = ["calibrated"] if self.calibrated and not self.is_random else []
        text = json.dumps([self.start.fingerprint, self.draw, *more])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def network(self, patches: Iterator[Tensor], device: torch.device) -> Any:
        """The network in evaluation mode, on a device.

        Args:
            patches: clean ones (C, spatial...) of training items, of which statistics take PATCHES.
        """
        if not self.is_random:
            norm = {"norm": "batch"} if self.start.config.get("norm") == "batch_stats" else {}
            network: Any = sg_hub.from_pretrained(name_of(self.start.init), **norm)
        else:
            torch.manual_seed(seed_of("worth", self.draw))
            config = {**self.start.config, "provenance": {}}
            if config.get("norm") == "batch_stats":
                config["norm"] = "batch"
            network = self.start.family(**config)
        to_device(network, device, self.start.ndim)
        if self.is_calibrated:
            calibrate(network, torch.stack([next(patches) for _ in range(PATCHES)]), device)
        return network


def contenders(names: list[str], draws: int, calibrated: bool = False) -> list[Contender]:
    """What is to be compared, by the names of the command line; each random network as often as it is drawn.

    Raises:
        InvalidInputError: a name twice, an initialisation that is neither weights nor random, or networks of different
            dimensions.
        ReadError: weights that cannot be had.
    """
    if draws < 1:
        raise InvalidInputError(f"draws={draws}: expected at least 1")
    if len(set(names)) < len(names):
        raise InvalidInputError(f"weights {', '.join(names)}: one is named twice")
    starts = [look_up(name) for name in names]
    for start in starts:
        if start.kind not in (WHOLE, RANDOM):
            raise InvalidInputError(f"{start.init}: give weights (a name or a folder), or random:NAME")
    if len({start.ndim for start in starts}) > 1:
        raise InvalidInputError(f"weights {', '.join(names)}: all must be 2D, or all 3D")
    return [
        Contender(start, draw, calibrated) for start in starts for draw in range(draws if start.kind == RANDOM else 1)
    ]


def calibrate(network: nn.Module, patches: Tensor, device: torch.device) -> None:
    """Set the running statistics of every batch normalisation to those of patches (N, C, spatial...)."""
    network.train()
    update_bn(patches.split(_BATCH), network, device)
    network.eval()
