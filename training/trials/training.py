"""Training of a trial: the loop, its loss, and the checkpoint that it goes on from.

The settings of a target are the same for every initialisation, unless each has its own (`trial.Variant`), and so is the
order of the batches. The weights that do best on the validation items are kept, or the last ones.
"""

from __future__ import annotations

import copy
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from sg_hub.errors import InvalidInputError

from ..run.folder.checkpoint import load_checkpoint, save_checkpoint
from ..run.layout import layout
from ..run.precision import autocast
from ..run.processes.signals import stopping
from ..run.seeds import generator
from ..targets import Item, Target
from ..targets.sections import Settings
from .scoring import score
from .task.batches import Batches
from .task.initialisation import head_parameters
from .task.prepared_task import PreparedTask


@dataclass
class Progress:
    """How far a training is."""

    step: int = 0
    curve: list[list[float]] = field(default_factory=list)
    """[step, validation metric, training loss] at every validation."""
    losses: list[float] = field(default_factory=list)
    """Since the last of them."""
    best: float = -1.0
    best_step: int = 0
    seconds: float = 0.0
    """That the steps took, without the validations."""
    spent: float = 0.0
    """Seconds that all of it took, in all starts, as far as it was written down."""


@dataclass(frozen=True)
class Checkpoint:
    """Where a training that is stopped or killed is kept, and what it belongs to."""

    path: Path
    determined_by: str


class Training:
    """A network on its way: what a checkpoint holds."""

    def __init__(self, network: Any, task: PreparedTask, parts: dict[str, list[Item]], number: int) -> None:
        target, settings = task.target, task.target.settings
        self.network, self.task, self.validation = network, task, parts["validation"]
        self.device = next(network.parameters()).device
        groups = _parameter_groups(network, settings)
        # Fused: one pass over the weights, which of a ResNet in 2D takes a third of the time, on a CPU too.
        self.optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay, fused=True)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: rate_at(step, settings))
        self.batches = Batches(target, task.arrays, parts["train"])
        self.noise = generator("cpu", "batches", target.name, number)
        self.progress, self.best_state = Progress(), copy.deepcopy(network.state_dict())
        self._clock = time.monotonic()

    def step(self) -> float:
        """One batch; its loss."""
        target, started = self.task.target, time.monotonic()
        self.network.train()
        if target.settings.head_first:  # statistics of frozen layers go on, or a random one's would never be measured
            self.network.encoder.requires_grad_(self.progress.step >= alone(target.settings))
        x, y = self.batches.draw(self.noise, self.progress.step)
        x = x.to(self.device).contiguous(memory_format=layout(x.ndim - 2))
        with autocast(self.device, target.settings.precision, target.patch, self.network.encoder.strides[-1]):
            logits = self.network(x)
        value = loss(target, logits.float(), y.to(self.device))
        self.optimizer.zero_grad(set_to_none=True)
        value.backward()
        self.optimizer.step()
        self.schedule.step()
        self.progress.step += 1
        self.progress.losses.append(value.item())
        self.progress.seconds += time.monotonic() - started
        return self.progress.losses[-1]

    def validate(self) -> float:
        """The metric on the validation items; the weights are kept where they are the best, or the last."""
        reached, now = score(self.network, self.task, self.validation).value, self.progress
        now.curve.append([now.step, round(reached, 5), round(float(np.mean(now.losses)), 5)])
        now.losses = []
        if reached > now.best or self.task.target.settings.keep == "last":
            now.best, now.best_step, self.best_state = reached, now.step, copy.deepcopy(self.network.state_dict())
        return reached

    def spend(self) -> None:
        """Count the time since it was counted last."""
        now = time.monotonic()
        self.progress.spent += now - self._clock
        self._clock = now

    def state(self) -> dict[str, Any]:
        self.spend()
        return {
            "network": self.network.state_dict(),
            "best_state": self.best_state,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "noise": self.noise.get_state(),
            "progress": asdict(self.progress),
        }

    def load(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.best_state = {key: value.to(self.device) for key, value in state["best_state"].items()}
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.noise.set_state(state["noise"])
        self.progress = Progress(**state["progress"])


def train(training: Training, title: str, checkpoint: Checkpoint | None = None, *, progress: bool = True) -> Progress:
    """Train, and put the weights that are kept into the network.

    Args:
        title: of the progress bar and of messages.
        checkpoint: written at every validation and when a signal asks for a stop; what is there is gone on from.

    Raises:
        InvalidInputError: a loss that is no number.
        KeyboardInterrupt: a stop was asked for, and everything is in the checkpoint.
    """
    settings, target = training.task.target.settings, training.task.target
    if checkpoint is not None and (state := load_checkpoint(checkpoint.path, checkpoint.determined_by)):
        training.load(state)
        print(f"{title}: goes on after step {training.progress.step}", flush=True)
    steps = range(training.progress.step + 1, settings.steps + 1)
    bar = tqdm(steps, title, settings.steps, initial=steps.start - 1, unit="step", disable=not progress, leave=False)
    with stopping() as stop:
        for step in bar:
            value = training.step()
            if not math.isfinite(value):
                raise InvalidInputError(f"{title}: the loss is {value} at step {step}: give a smaller settings.lr")
            due = step % settings.validate_every == 0 or step == settings.steps
            if due:
                bar.set_postfix({f"validation {target.metric}": f"{training.validate():.3f}"})
            if checkpoint is not None and (due or stop.requested):
                save_checkpoint(checkpoint.path, {"determined_by": checkpoint.determined_by, **training.state()})
            if stop.requested:
                break
    training.network.load_state_dict(training.best_state)
    training.spend()
    return training.progress


def alone(settings: Settings) -> int:
    """Steps in which the encoder is frozen."""
    return int(settings.head_first * settings.steps)


def rate_at(step: int, settings: Settings) -> float:
    """The learning rate of a step, as a share of the highest: up, and down to 0 at the last step. While the encoder is
    frozen it goes up and stays; then it begins anew."""
    start, warmup = alone(settings), max(1, int(settings.warmup * settings.steps))
    if step < start:
        return min(1.0, (step + 1) / warmup)
    step, steps = step - start, settings.steps - start
    return float(min(1.0, (step + 1) / warmup) * (1 - step / steps) ** 0.9)


def _parameter_groups(network: Any, settings: Settings) -> list[dict[str, Any]]:
    """The last layer, which is fresh in every initialisation, and all others: the same groups for all of them."""
    fresh = head_parameters(network)
    named, lr = list(network.named_parameters()), settings.lr * settings.lr_factor
    return [
        {"params": [p for n, p in named if n in fresh], "lr": lr},
        {"params": [p for n, p in named if n not in fresh], "lr": lr * settings.body_lr_factor},
    ]


def loss(target: Target, logits: Tensor, y: Tensor) -> Tensor:
    """Segmentation: cross-entropy and Dice; classes that exclude each other: cross-entropy; findings: binary."""
    if target.head == "segmentation":
        return dice_cross_entropy(logits, y, target.settings.background_weight)
    if target.exclusive:
        return F.cross_entropy(logits, y)
    return F.binary_cross_entropy_with_logits(logits, y)


def dice_cross_entropy(logits: Tensor, labels: Tensor, background_weight: float = 1.0) -> Tensor:
    """Cross-entropy plus one minus the mean soft Dice of the classes but the background.

    Args:
        logits: (N, classes, spatial...); labels: (N, spatial...) int64.
        background_weight: of class 0 in the cross-entropy; the others weigh 1.
    """
    classes = logits.shape[1]
    truth = F.one_hot(labels, classes).movedim(-1, 1).float()[:, 1:]
    found = logits.softmax(1)[:, 1:]
    axes = (0, *range(2, logits.ndim))
    dice = (2 * (found * truth).sum(axes) + 1) / (found.sum(axes) + truth.sum(axes) + 1)
    weight = torch.ones(classes, device=logits.device)
    weight[0] = background_weight
    return F.cross_entropy(logits, labels, weight) + 1 - dice.mean()
