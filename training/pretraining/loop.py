"""The training loop: stages, epochs and steps of whatever method, resumable at any of them.

    sg-hub pretrain RECIPE [key=value ...]
    torchrun --nproc-per-node 8 -m sg_hub pretrain RECIPE

The method (training/methods) says what the network is, how a batch becomes views and targets, and what the losses
are. Adam; the rate is halved every `halve_every` epochs; early stopping on the validation loss of the last stage.
Writes below `pretraining/` of the run:

    metrics.jsonl        a line every epoch: the method's losses and scores, cubes per second
    checkpoint.pt        everything that a killed run needs to end as if it had never been killed
    model/               the best weights so far, as from_pretrained loads them
    network.safetensors  what the method trained around that model, where there is something
    curves.png, and the method's own picture
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from sg_hub.errors import InvalidInputError

from ..methods.protocol import Batch, Method, Stage, Views
from ..methods.registry import method_of, resolve
from ..run import figures
from ..run.checkpoint import load_checkpoint, save_checkpoint
from ..run.layout import layout, to_device
from ..run.lock import run_lock
from ..run.metrics import Metrics, read_metrics
from ..run.precision import autocast
from ..run.process_group import Process, process
from ..run.recipe import Pretrain, Recipe
from ..run.record import record, recorded
from ..run.seeds import generator
from ..run.signals import Stop, stopping
from .divergence import Watch, diverged
from .inputs import Inputs, Reader, open_inputs
from .published import MODEL, save_network

FOLDER, CHECKPOINT = "pretraining", "checkpoint.pt"


@dataclass
class Progress:
    """Where a run is; everything but the tensors."""

    epoch: int = 0
    step: int = 0
    """Steps of this epoch that are done."""
    best: float = float("inf")
    stale: int = 0
    """Epochs since the best validation loss."""
    seconds: float = 0.0


def pretrain(recipe: Recipe, *, progress: bool = True, tensorboard: bool = False) -> Path:
    """Pre-train, from where the last run was stopped; returns the folder of the best weights.

    Raises:
        ReadError: an earlier step is missing, or a checkpoint of another recipe.
        InvalidInputError: settings or data that cannot be trained on, or training that diverged.
    """
    recipe = resolve(recipe)
    method = method_of(recipe)
    folder = recipe.run_dir / FOLDER
    with run_lock(recipe.run_dir), process() as me:
        me.barrier()  # the first process may still be writing the table
        inputs = open_inputs(recipe, method, me, progress)
        trainer = Trainer(recipe, method, inputs, me, folder, progress=progress, tensorboard=tensorboard)
        advanced = trainer.run()
        if me.is_main and (advanced or recorded(recipe, "pretrain").get("epochs") != trainer.at.epoch):
            record(recipe, "pretrain", **trainer.summary())
    return folder / MODEL


class Trainer:
    """One run of training in one process.

    Args:
        folder: of everything that is written.
        section: of the recipe, which messages name.
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
        progress: bool = True,
        tensorboard: bool = False,
    ) -> None:
        self.recipe, self.settings, self.method, self.inputs = recipe, recipe.pretrain, method, inputs
        self.me, self.folder, self.section, self.show = me, folder, section, progress and me.is_main
        self.metrics = Metrics(folder / "metrics.jsonl", me.is_main, tensorboard)
        self.stages = method.stages(self.settings.epochs)
        self.epochs = sum(stage.epochs for stage in self.stages)
        self.network = method.network(inputs.blueprint(recipe))
        self.stride = self.network.model.encoder.strides[-1]
        to_device(self.network, me.device, recipe.model.ndim)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=self.settings.lr)
        self.schedule = _schedule(self.optimizer, self.settings, self.epochs)
        self.per_process, self.steps = self._share()
        self.readers = {split: Reader(inputs.data[split], self.settings, me) for split in ("train", "validation")}
        self.determined_by = _determined_by(recipe, inputs, me.world)
        self.at = Progress()
        self.sums: dict[str, Tensor] = {}
        """Sums of this epoch's training metrics so far."""

    @property
    def stage(self) -> Stage:
        """Of the epoch that the run is in."""
        left = self.at.epoch
        for stage in self.stages:
            if left < stage.epochs:
                return stage
            left -= stage.epochs
        return self.stages[-1]

    def began(self, stage: Stage) -> int:
        """Epochs before a stage."""
        return sum(s.epochs for s in self.stages[: self.stages.index(stage)])

    def run(self) -> bool:
        """Train until the end; returns whether there was anything left to do.

        Raises:
            KeyboardInterrupt: a signal asked for a stop, and the checkpoint is written.
        """
        self._resume()
        before = self.at.epoch
        with stopping() as stop:
            while self.at.epoch < self.epochs and not self._stale() and not self.me.any(stop.requested):
                self._epoch(stop)
        self.metrics.close()
        if self.me.is_main and (self.at.epoch > before or not (self.folder / "curves.png").is_file()):
            figures.training_curves(read_metrics(self.metrics.path), self.folder / "curves.png")
        return self.at.epoch > before

    def summary(self) -> dict[str, Any]:
        """For the run's record."""
        return {
            "epochs": self.at.epoch,
            "minutes": round(self.at.seconds / 60, 1),
            "processes": self.me.world,
            "best_validation_loss": self.at.best,
            "cubes_per_epoch": self.steps * self.per_process * self.me.world,
        }

    def _share(self) -> tuple[int, int]:
        """Cubes of a batch for each process, and steps of an epoch."""
        for split in ("train", "validation"):
            if len(self.inputs.data[split]) == 0:
                raise InvalidInputError(
                    f"there is nothing of the {split} split to train on: give the recipe's split {split} patients (or "
                    "a validation_share above 0), and run prepare, autoencode and discover again"
                )
        length, size, world = len(self.inputs.data["train"]), self.settings.batch_size, self.me.world
        if size % world or length < world:
            raise InvalidInputError(
                f"{self.section}.batch_size={size} and {length} items cannot be shared evenly by {world} processes"
            )
        per_process = min(size, length) // world
        return per_process, max(1, min(self.settings.samples_per_epoch or length, length) // (per_process * world))

    def _stale(self) -> bool:
        """Whether the last stage has not got better for too long."""
        began = self.at.epoch > self.began(self.stages[-1])  # epochs of earlier stages do not count
        return began and self.at.stale > 0 and self.at.stale >= self.settings.patience

    def _epoch(self, stop: Stop) -> None:
        stage, done_before = self.stage, self.at.step
        _train_only(self.network, stage.parts)
        network = self.me.wrap(self.network)
        started = epoch_started = time.monotonic()
        self.network.train()
        batches, data = self._batches(), self.inputs.data["train"]
        watch = Watch(self.me.device, self.section, data, self.at.epoch, self.at.step, batches)
        bar = tqdm(
            self.readers["train"].read(batches),
            initial=self.at.step,
            total=self.steps,
            desc=f"epoch {self.at.epoch + 1}/{self.epochs} {stage.name}",
            unit="step",
            disable=not self.show,
            leave=False,
        )
        for batch in bar:
            losses = self._step(network, stage, batch)
            watch.see(self.at.step, losses["loss"])
            self._add(losses)
            self.at.step += 1
            shows = self.show and self.at.step % 10 == 0
            saves = self.at.step % self.settings.checkpoint_every == 0 or self.at.step == self.steps
            if shows or saves or self.me.device.type == "cpu":  # elsewhere reading a value makes the device wait
                watch.check()
            if shows:
                bar.set_postfix({k: f"{v / self.at.step:.4f}" for k, v in self._train_sums().items()})
            stopped = self.me.any(stop.requested)
            if (saves or stopped) and self.at.step < self.steps:
                watch.check()
                self._count_time(started)
                started = time.monotonic()
                self._checkpoint()
                if stopped:
                    return
        per_second = (self.steps - done_before) * self.per_process * self.me.world / (time.monotonic() - epoch_started)
        self._end_epoch(stage, started, per_second)

    def _step(self, network: nn.Module, stage: Stage, batch: Batch) -> dict[str, Tensor]:
        place = (self.recipe.seed, "transform", self.at.epoch, self.at.step, self.me.rank)
        views = self.method.views(batch, generator(self.me.device, *place))
        self.optimizer.zero_grad(set_to_none=True)
        losses = self.method.losses(self._forward(network, stage, views), views.targets)
        losses["loss"].backward()
        self.optimizer.step()
        return {key: value.detach() for key, value in losses.items()}

    def _forward(self, network: nn.Module, stage: Stage, views: Views) -> dict[str, Tensor]:
        ndim = self.recipe.model.ndim
        inputs = [x.contiguous(memory_format=layout(ndim)) if x.ndim == ndim + 2 else x for x in views.inputs]
        with autocast(self.me.device, self.settings.precision, inputs[0].shape[2:], self.stride):
            return network(stage.name, *inputs)

    def _add(self, losses: dict[str, Tensor]) -> None:
        """Sum the metrics of a step where they are: reading them out would make a GPU wait at every step."""
        for key, value in losses.items():
            before = self.sums.get(key)
            self.sums[key] = value.double() if before is None else before + value.double()

    def _train_sums(self) -> dict[str, float]:
        return {key: value.item() for key, value in self.sums.items()}

    def _batches(self) -> list[list[int]]:
        """This epoch's batches of this process, from the step where the run is."""
        order = self.inputs.data["train"].order(self.recipe.seed, self.at.epoch)
        whole = self.per_process * self.me.world
        return [
            order[step * whole + self.me.rank * self.per_process :][: self.per_process].tolist()
            for step in range(self.at.step, self.steps)
        ]

    @torch.inference_mode()
    def _validate(self, stage: Stage) -> dict[str, float]:
        """Means over the validation patients; every epoch sees the same cubes with the same corruptions."""
        self.network.eval()
        length = len(self.inputs.data["validation"])
        batches = [list(range(i, min(i + self.per_process, length))) for i in range(0, length, self.per_process)]
        # A process for which none is left takes the first, without counting it, so that all know what is measured.
        mine = list(range(self.me.rank, len(batches), self.me.world)) or [0]
        sums: dict[str, Tensor] = {}
        reader = self.readers["validation"].read([batches[i] for i in mine])
        for number, batch in zip(mine, reader, strict=True):
            views = self.method.views(batch, generator(self.me.device, self.recipe.seed, "validation", number))
            outputs = self._forward(self.network, stage, views)
            scores = {key: value.float().mean() for key, value in self.method.scores(outputs, views).items()}
            weight = len(batch.cubes) if number % self.me.world == self.me.rank else 0
            for key, value in (scores | self.method.losses(outputs, views.targets) | {"": torch.ones(())}).items():
                sums[key] = sums.get(key, 0.0) + value.double().to(self.me.device) * weight
            if number == 0 and self.me.is_main and stage is self.stages[-1]:
                self._draw(batch)
        keys = sorted(sums)
        *means, count = self.me.sum(torch.stack([sums[key] for key in keys[1:] + keys[:1]])).tolist()
        return {f"validation_{key}": mean / count for key, mean in zip(keys[1:], means, strict=True)}

    def _draw(self, batch: Batch) -> None:
        if self.at.epoch % self.settings.picture_every == 0:
            self.method.draw(
                self.network,
                batch,
                lambda kind: generator(self.me.device, self.recipe.seed, "picture", kind),
                self.folder / self.method.picture,
            )

    def _end_epoch(self, stage: Stage, started: float, cubes_per_second: float) -> None:
        values = self._validate(stage)
        if not math.isfinite(values["validation_loss"]):
            raise diverged(self.section, f"the validation loss of epoch {self.at.epoch + 1}")
        if self.at.epoch == self.began(stage):  # the loss is another one from here on
            self.at.best, self.at.stale = math.inf, 0
        better = values["validation_loss"] < self.at.best
        self.at.best = min(self.at.best, values["validation_loss"])
        self.at.stale = 0 if better else self.at.stale + 1
        if better and self.me.is_main:
            save_network(self.network, self.folder)
        train = {key: value / self.steps for key, value in self._train_sums().items()}
        self.metrics.write(
            stage=stage.name,
            epoch=self.at.epoch,
            step=(self.at.epoch + 1) * self.steps,
            lr=self.schedule.get_last_lr()[0],
            **train,
            **values,
            cubes_per_second=round(cubes_per_second, 1),
        )
        if self.show:
            shown = {**{f"train_{k}": v for k, v in train.items()}, **values}
            tqdm.write(f"epoch {self.at.epoch + 1}: " + "  ".join(f"{k} {v:.4f}" for k, v in shown.items()))
        self.schedule.step()
        self._count_time(started)
        self.at.epoch, self.at.step, self.sums = self.at.epoch + 1, 0, {}
        self._checkpoint()

    def _count_time(self, started: float) -> None:
        self.at.seconds += time.monotonic() - started

    def _checkpoint(self) -> None:
        if not self.me.is_main:
            return
        state: dict[str, Any] = {
            "determined_by": self.determined_by,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "at": vars(self.at),
            "sums": self._train_sums(),
            "metrics": self.metrics.position(),
        }
        save_checkpoint(self.folder / CHECKPOINT, state)

    def _resume(self) -> None:
        state = load_checkpoint(self.folder / CHECKPOINT, self.determined_by)
        if state is None:
            self.metrics.truncate(0)
            return
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.at = Progress(**state["at"])
        self.sums = {k: torch.tensor(v, dtype=torch.float64, device=self.me.device) for k, v in state["sums"].items()}
        self.metrics.truncate(state["metrics"])
        if self.show:
            tqdm.write(f"resuming at epoch {self.at.epoch + 1}, step {self.at.step} of {self.steps}")


def _train_only(network: nn.Module, parts: tuple[str, ...]) -> None:
    """Let these parts of the network train, or all of it."""
    network.requires_grad_(not parts)
    for part in parts:
        network.get_submodule(part).requires_grad_(True)


def _schedule(
    optimizer: torch.optim.Optimizer, settings: Pretrain, epochs: int
) -> torch.optim.lr_scheduler.LRScheduler:
    if settings.schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, epochs))
    return torch.optim.lr_scheduler.StepLR(optimizer, settings.halve_every, gamma=0.5)


def _determined_by(recipe: Recipe, inputs: Inputs, world: int) -> str:
    """What the weights of an epoch depend on. How long to train does not count, so that a run can be extended."""
    free = {"patience", "workers", "cache_mib", "picture_every", "checkpoint_every"}
    if recipe.pretrain.schedule != "cosine":
        free.add("epochs")
    sections = (recipe.pretrain.model_dump_json(exclude=free), recipe.method.model_dump_json())
    return " ".join(map(str, (inputs.fingerprint, *sections, recipe.model.model_dump_json(), recipe.seed, world)))
