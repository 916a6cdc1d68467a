"""How the weights move: the optimiser, its learning rate at every step, and the average of the weights."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from ..methods.protocol import Network
from ..run.processes.sharding import divided, local
from ..run.recipe import Pretrain
from .plan import Plan


def optimizer_of(network: nn.Module, settings: Pretrain) -> torch.optim.Optimizer:
    """Adam, or AdamW, which pulls kernels and matrices towards 0, but neither biases nor norms."""
    if settings.optimizer == "adam":
        return torch.optim.Adam(network.parameters(), lr=settings.lr)
    parameters = list(network.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=settings.lr)


def learning_rate(settings: Pretrain, plan: Plan, epoch: int, step: int) -> float:
    """Of a step of an epoch; it depends on nothing else, so that a resumed run has it too.

    Over the first `warmup` steps of each stage it rises, as what trains for the first time there has no running
    averages in the optimiser yet.
    """
    if settings.schedule == "halve":
        rate = settings.lr * 0.5 ** (epoch // settings.halve_every)
    else:
        done = (epoch * plan.steps + step) / max(1, plan.epochs * plan.steps)
        rate = settings.lr * (1 + math.cos(math.pi * done)) / 2
    since = (epoch - plan.stage_began(epoch)) * plan.steps + step
    return rate * min(1.0, (since + 1) / (settings.warmup + 1))


class Average:
    """The network whose weights are a moving average of those that train; it is validated and published in their place.

    A step counts `decay` times as much as the next; early on less, so that the first weights, which are random, do not
    stay: about the last tenth of the steps so far counts.

    Args:
        network: that trains. What does not train (statistics of norms) is averaged as well.
        decay: of each step; 0: no average, and `network` here is the one that trains.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.trained = network
        self.network = copy.deepcopy(network).requires_grad_(False) if decay else network

    @torch.no_grad()
    def update(self) -> None:
        """After a step of the optimiser."""
        if self.network is self.trained:
            return
        self.steps += 1
        share = 1 - min(self.decay, self.steps / (self.steps + 10))
        averaged, now = _floats(self.network), _floats(self.trained)
        torch._foreach_lerp_(averaged, now, share)

    def state_dict(self) -> dict[str, Tensor] | None:
        """Of the averaged weights; None where there are none of their own."""
        return None if self.network is self.trained else self.network.state_dict()

    def load(self, state: dict[str, Tensor] | None, steps: int) -> None:
        if state is not None:
            self.network.load_state_dict(divided(state, self.network))
        self.steps = steps


def _floats(network: nn.Module) -> list[Tensor]:
    return [local(value) for value in network.state_dict().values() if value.is_floating_point()]
