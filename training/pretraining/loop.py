"""The training loop: stages, epochs and steps of whatever method, resumable at any of them.

The method (training/methods) says what the network is, how a batch becomes views and targets, and what the losses
are. How the weights move is said by [pretrain] (optimisation.py); early stopping on the validation loss of the last
stage.
Writes into the folder of the training:

    metrics.jsonl        a line every epoch: the method's losses and scores, cubes per second
    checkpoint.pt        everything that a killed run needs to end as if it had never been killed
    model/               the best weights so far, as from_pretrained loads them
    network.safetensors  what the method trained around that model, where there is something
    curves.png, and the method's own picture
"""

from __future__ import annotations

import functools
import itertools
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from sg_hub.errors import InvalidInputError

from ..methods.protocol import Batch, Method, Network, Stage, Views
from ..run.folder.checkpoint import read_checkpoint
from ..run.folder.metrics import Metrics, read_metrics
from ..run.layout import layout, to_device
from ..run.pages import figures
from ..run.precision import autocast
from ..run.processes.process_group import Process
from ..run.processes.signals import Stop, stopping
from ..run.recipe import Recipe
from ..run.seeds import generator
from .divergence import Watch, diverged
from .inputs import Inputs, Reader
from .norms import RunningStatistics
from .optimisation import learning_rate
from .plan import Plan, train_only
from .published import save_network
from .state import CHECKPOINT, State, determined_by, parts_of
from .validation import validate

SHOWN_EVERY = 10
"""Steps between two looks at the losses for the progress bar."""


class Trainer:
    """One run of training in one process.

    Args:
        folder: of everything that is written.
        section: of the recipe, which messages name.
        begin: what is done to the network before anything is trained or resumed.
    """

    def __init__(
        self,
        recipe: Recipe,
        method: Method,
        inputs: Inputs,
        me: Process,
        folder: Path,
        *,
        section: str = "pretrain",
        begin: Callable[[Network], None] | None = None,
        progress: bool = True,
        tensorboard: bool = False,
    ) -> None:
        self.recipe, self.settings, self.method, self.inputs = recipe, recipe.pretrain, method, inputs
        self.me, self.folder, self.section, self.show = me, folder, section, progress and me.is_main
        self._resumed = read_checkpoint(folder / CHECKPOINT)
        parts = self.settings.batch_parts or parts_of(self._resumed, recipe, inputs)
        self.plan = Plan(method.stages(self.settings.epochs), inputs, self.settings, section, me, parts)
        self.network = method.network(inputs.blueprint(recipe))
        if begin is not None:
            begin(self.network)
        to_device(self.network, me.device, recipe.model.ndim)
        of, part = determined_by(recipe, inputs, self.plan.parts), len(self.plan.mine) / self.plan.parts
        self.state = State(self.network, self.settings, folder, of, me, part)
        if self.settings.compile:
            self.network.compile()
        self.statistics = RunningStatistics(self.network, self.plan.parts, me)
        self.metrics = Metrics(folder / "metrics.jsonl", me.is_main, tensorboard)
        self.readers = {split: Reader(inputs.data[split], self.settings, me) for split in ("train", "validation")}
        self.clock = time.monotonic()

    def run(self) -> bool:
        """Train until the end; returns whether there was anything left to do.

        Raises:
            InvalidInputError: it diverged, or batches are too small for the network's norms.
            KeyboardInterrupt: a signal asked for a stop, and the checkpoint is written.
        """
        at = self.state.at
        resumed, self._resumed = self.state.resume(self._resumed, self.metrics), None
        if resumed:
            at = self.state.at
            self._say(f"resuming at epoch {at.epoch + 1}, step {at.step} of {self.plan.steps}")
        before, self.clock = at.epoch, time.monotonic()
        with stopping() as stop:
            while at.epoch < self.plan.epochs and not self._stale() and not self.me.any(stop.requested):
                self._epoch(stop)
        self.metrics.close()
        if self.me.is_main:  # always: one that was killed after its last epoch has those of a shorter run, or none
            figures.training_curves(read_metrics(self.metrics.path), self.folder / "curves.png")
        return at.epoch > before

    def summary(self) -> dict[str, Any]:
        """For the run's record."""
        return {
            "epochs": self.state.at.epoch,
            "minutes": round(self.state.at.seconds / 60, 1),
            "processes": self.me.world,
            "best_validation_loss": self.state.at.best,
            "cubes_per_epoch": self.plan.steps * self.plan.whole,
        }

    def step(self, network: nn.Module, stage: Stage, batches: Iterable[Batch]) -> dict[str, Tensor]:
        """One step of the optimiser; returns the losses, which nobody has waited for.

        Args:
            batches: the parts of the batch that this process computes; of the losses it gives their sum over these.
        """
        at, plan = self.state.at, self.plan
        sums: dict[str, Tensor] = {}
        self.state.optimizer.zero_grad(set_to_none=True)
        with self.statistics.batch():
            for part, batch in zip(plan.mine, batches, strict=True):
                noise = generator(self.me.device, self.recipe.seed, "transform", at.epoch, at.step, part)
                views = self.method.views(batch, noise)
                with self.statistics.part(), self.me.averaging(network, now=part == plan.mine[-1]):
                    losses = self.method.losses(self._forward(network, stage, views), views.targets)
                    (losses["loss"] if plan.share == 1 else losses["loss"] * plan.share).backward()
                for key, value in losses.items():
                    sums[key] = sums[key] + value.detach() if key in sums else value.detach()
        if self.settings.clip:
            nn.utils.clip_grad_norm_(network.parameters(), self.settings.clip)
        for group in self.state.optimizer.param_groups:
            group["lr"] = learning_rate(self.settings, plan, at.epoch, at.step)
        self.state.optimizer.step()
        self.state.average.update()
        return sums

    def _forward(self, network: nn.Module, stage: Stage, views: Views) -> dict[str, Tensor]:
        ndim, stride = self.recipe.model.ndim, self.network.model.encoder.strides[-1]
        inputs = [x.contiguous(memory_format=layout(ndim)) if x.ndim == ndim + 2 else x for x in views.inputs]
        with autocast(self.me.device, self.settings.precision, inputs[0].shape[2:], stride):
            try:
                return network(stage.name, *inputs)
            except ValueError as error:
                if "Expected more than 1" not in str(error):  # torch's norms say it in no other way
                    raise
                raise InvalidInputError(
                    f"{self.section}.size={list(self.settings.size)} with {len(inputs[0])} in a part of a batch leaves "
                    f"a norm one value of each channel, which has no deviation: give a larger {self.section}.size or "
                    f"{self.section}.batch_size, or fewer parts"
                ) from error

    def _stale(self) -> bool:
        """Whether the last stage has not got better for too long; epochs of earlier stages do not count."""
        at = self.state.at
        return at.epoch > self.plan.last_began and at.stale > 0 and at.stale >= self.settings.patience

    def _epoch(self, stop: Stop) -> None:
        at, plan = self.state.at, self.plan
        stage, first = plan.stage(at.epoch), at.step
        train_only(self.network, stage.parts)
        network = self.me.wrap(self.network)
        self.network.train()
        batches = plan.batches(self.recipe.seed, at.epoch, first)
        items = [[item for part in step for item in part] for step in batches]
        watch = Watch(self.me.device, self.section, self.inputs.data["train"], at.epoch, first, items)
        read = self.readers["train"].read(list(itertools.chain.from_iterable(batches)))
        started = time.monotonic()
        bar = tqdm(
            range(first, plan.steps),
            initial=first,
            total=plan.steps,
            desc=f"epoch {at.epoch + 1}/{plan.epochs} {stage.name}",
            unit="step",
            disable=not self.show,
            leave=False,
        )
        for _ in bar:
            losses = self.step(network, stage, itertools.islice(read, len(plan.mine)))
            watch.see(at.step, losses["loss"])
            self.state.add(losses)
            at.step += 1
            stopped = self.me.any(stop.requested)
            shows = self.show and at.step % SHOWN_EVERY == 0
            saves = stopped or at.step % self.settings.checkpoint_every == 0 or at.step == plan.steps
            if shows or saves or self.me.device.type == "cpu":  # elsewhere reading a value makes the device wait
                watch.check()
            if shows:
                bar.set_postfix({key: f"{value:.4f}" for key, value in self._shown().items()})
            if saves and at.step < plan.steps:
                self._checkpoint()
                if stopped:
                    return
        done = (plan.steps - first) * plan.whole
        self._end_epoch(stage, done / (time.monotonic() - started))

    def _shown(self) -> dict[str, float]:
        """Training metrics of the epoch so far, of this process alone."""
        return self.state.means(self.state.summed * len(self.plan.mine))

    def _end_epoch(self, stage: Stage, cubes_per_second: float) -> None:
        at, state = self.state.at, self.state
        values = self._validate(stage)
        if not math.isfinite(values["validation_loss"]):
            raise diverged(self.section, f"the validation loss of epoch {at.epoch + 1}")
        if state.judge(values["validation_loss"], self.plan.begins(at.epoch)):
            best = state.published()
            if self.me.is_main and best is not None:
                save_network(best, self.folder)
        train = {key: total / (state.summed * self.plan.parts) for key, total in state.totals().items()}
        self.metrics.write(
            stage=stage.name,
            epoch=at.epoch,
            step=(at.epoch + 1) * self.plan.steps,
            lr=state.optimizer.param_groups[0]["lr"],
            **train,
            **values,
            cubes_per_second=round(cubes_per_second, 1),
        )
        shown = {**{f"train_{key}": value for key, value in train.items()}, **values}
        self._say(f"epoch {at.epoch + 1}: " + "  ".join(f"{key} {value:.4f}" for key, value in shown.items()))
        state.next_epoch()
        self._checkpoint()

    def _validate(self, stage: Stage) -> dict[str, float]:
        network = self.state.average.network.eval()
        seed, drawn = self.recipe.seed, self.state.at.epoch % self.settings.picture_every == 0
        drawn = drawn and stage is self.plan.stages[-1]
        shown = self.state.published() if drawn else None
        return validate(
            self.method,
            lambda views: self._forward(network, stage, views),
            self.readers["validation"],
            self.plan.per_part,
            seed,
            self.me,
            functools.partial(self._draw, shown.eval()) if shown is not None else None,
        )

    def _draw(self, network: nn.Module, batch: Batch) -> None:
        device = next(network.parameters()).device

        def noise(kind: str) -> torch.Generator:
            return generator(device, self.recipe.seed, "picture", kind)

        batch = Batch(*(part.to(device) for part in batch if part is not None))
        self.method.draw(network, batch, noise, self.folder / self.method.picture)

    def _checkpoint(self) -> None:
        now = time.monotonic()
        self.state.at.seconds += now - self.clock
        self.clock = now
        self.state.save(self.metrics)

    def _say(self, text: str) -> None:
        if self.show:
            tqdm.write(text)
