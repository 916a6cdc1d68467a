"""Self-classification, then self-classification and self-restoration together (paper, Sec. 2 and 3).

    sg-hub pretrain RECIPE [key=value ...]
    torchrun --nproc-per-node 8 -m sg_hub pretrain RECIPE

First the classification branch alone (encoder and classifier), then everything, with
lambda_rec * mean squared error + lambda_cls * cross-entropy; Adam, halved every `halve_every` epochs; early stopping
on the validation loss. Reads the store and the patterns table; writes below `pretraining/`:

    metrics.jsonl     a line every epoch: losses, pattern accuracy, restoration error, cubes per second
    checkpoint.pt     everything that a killed run needs to end as if it had never been killed
    model/            the best weights so far, as from_pretrained loads them
    restorations.png  validation cubes: original, corrupted, restored; curves.png
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler
from tqdm import tqdm

from sg_hub import ImagePreprocessing, Preprocessing, SemanticGenesis2D, SemanticGenesis3D
from sg_hub.errors import InvalidInputError
from sg_hub.models import SemanticGenesis

from ..data.leakage import patient_hashes
from ..data.prepare import store_path
from ..data.store import Store
from ..discovery.discover import table_path
from ..discovery.patterns import SPLITS, PatternDataset, PatternTable
from ..run import figures
from ..run.checkpoint import load_checkpoint, save_checkpoint
from ..run.environment import commit
from ..run.layout import layout, to_device
from ..run.metrics import Metrics, read_metrics
from ..run.process_group import Process, process
from ..run.recipe import Pretrain, Recipe
from ..run.record import record
from ..run.seeds import generator, permutation
from ..transforms import semantic_genesis

FOLDER = "pretraining"


class PretextTask(nn.Module):
    """The network with or without its restoration branch, so that the first stage never runs the decoder."""

    def __init__(self, model: SemanticGenesis) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, restore: bool) -> tuple[Tensor | None, Tensor]:
        """(restoration or None, pattern logits) of (N, C, spatial...) in 0..1."""
        if restore:
            return tuple(self.model(x))
        return None, self.model.classifier(self.model.encoder(x)[-1])


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
        InvalidInputError: data that cannot be trained on.
    """
    with process() as me:
        me.barrier()  # the first process may still be writing the table
        store = Store.open(store_path(recipe), cache_mib=recipe.pretrain.cache_mib)
        table = PatternTable.load(table_path(recipe))
        check_table(table, store)
        trainer = Trainer(recipe, store, table, me, progress, tensorboard)
        trainer.run()
    return trainer.folder / "model"


def check_table(table: PatternTable, store: Store) -> None:
    """Refuse a table that was discovered before the patients were split otherwise.

    Raises:
        InvalidInputError: fewer than two patterns, or patients that are in another split of the store.
    """
    if table.classes < 2:
        raise InvalidInputError("the patterns table has one pattern: there is nothing to tell apart")
    splits = {patient.name: patient.split for patient in store.patients}
    pairs = {(int(p), int(s)) for p, s in zip(table.patient, table.split, strict=True)}
    moved = sorted(table.patients[p] for p, s in pairs if splits.get(table.patients[p]) not in (None, SPLITS[s]))
    if moved:
        raise InvalidInputError(
            f"{len(moved)} patients are in another split than when their patterns were discovered "
            f"({', '.join(moved[:5])}): run autoencode and discover again"
        )


def corruption(settings: Pretrain) -> dict[str, Any]:
    """Options of `semantic_genesis` in a recipe."""
    alpha, sigma = settings.elastic
    return {"alpha": alpha, "sigma": sigma, "windows": settings.shuffle_windows}


def build_model(recipe: Recipe, store: Store, classes: int) -> SemanticGenesis:
    """The network of a recipe, initialised by its seed."""
    torch.manual_seed(recipe.seed)
    provenance = {
        "data": recipe.publish.data_name,
        "recipe": recipe.name,
        "commit": commit(),
        "licence": recipe.publish.licence,
        "store": store.fingerprint,
        "datasets": [recipe.publish.dataset],
        "patients": patient_hashes(recipe.publish.dataset, store.persons("train") + store.persons("validation")),
    }
    shared: dict[str, Any] = {
        "in_chans": store.patients[0].channels,
        "head": "pretext",
        "num_classes": classes,
        "provenance": provenance,
    }
    if recipe.model.ndim == 2:
        images = ImagePreprocessing(modality=recipe.publish.modality, input_size=store.settings["size"])
        model = recipe.model
        return SemanticGenesis2D(
            encoder=model.encoder, decoder_width=model.decoder_width, preprocessing=images, **shared
        )
    x, y, z = recipe.pretrain.size
    scans = Preprocessing(
        modality=recipe.publish.modality,
        intensity="window",
        low=store.window[0],
        high=store.window[1],
        spacing=store.settings["spacing"],
        input_size=(x, y, z),
    )
    return SemanticGenesis3D(width=recipe.model.width, norm=recipe.model.norm, preprocessing=scans, **shared)


class Batches(Sampler[list[int]]):
    """Lists of row numbers, changed from epoch to epoch."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)


class Trainer:
    """One run of pre-training in one process."""

    def __init__(
        self, recipe: Recipe, store: Store, table: PatternTable, me: Process, progress: bool, tensorboard: bool
    ) -> None:
        self.recipe, self.settings, self.table, self.me = recipe, recipe.pretrain, table, me
        self.show = progress and me.is_main
        self.folder = recipe.run_dir / FOLDER
        self.metrics = Metrics(self.folder / "metrics.jsonl", me.is_main, tensorboard)
        self.model = build_model(recipe, store, table.classes)
        to_device(self.model, me.device, self.model.NDIM)
        self.task = PretextTask(self.model)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=self.settings.lr)
        self.schedule = torch.optim.lr_scheduler.StepLR(self.optimizer, self.settings.halve_every, gamma=0.5)
        self.data = {
            split: PatternDataset(table, store, table.rows(split), self.settings.size)
            for split in ("train", "validation")
        }
        for split, data in self.data.items():
            if len(data) == 0:
                raise InvalidInputError(
                    f"the patterns table has no rows of the {split} split: give the recipe's split {split} patients "
                    "(or a validation_share above 0), and run prepare, autoencode and discover again"
                )
        if self.settings.batch_size % me.world:
            raise InvalidInputError(
                f"pretrain.batch_size={self.settings.batch_size} cannot be shared evenly by {me.world} processes"
            )
        per_epoch = min(self.settings.samples_per_epoch or len(self.data["train"]), len(self.data["train"]))
        self.per_process = self.settings.batch_size // me.world
        self.steps = max(1, per_epoch // (self.per_process * me.world))
        # What the weights of an epoch depend on. How long to train does not count, so a run can be extended.
        free = {"epochs", "patience", "workers", "cache_mib", "picture_every", "checkpoint_every"}
        settings = self.settings.model_dump_json(exclude=free)
        model = recipe.model.model_dump_json()
        parts = (store.fingerprint, table.fingerprint, settings, model, recipe.seed, me.world)
        self.determined_by = " ".join(map(str, parts))
        self.loaders = {split: self._loader(split) for split in self.data}
        self.at = Progress()
        self.sums: dict[str, Tensor] = {}
        """Sums of this epoch's training metrics so far."""

    @property
    def joint(self) -> bool:
        """Whether this epoch trains the restoration as well."""
        return self.at.epoch >= self.settings.classification_epochs

    def run(self) -> None:
        self._resume()
        epochs, before = self.settings.classification_epochs + self.settings.epochs, self.at.epoch
        while self.at.epoch < epochs and not self._stale():
            self._epoch(epochs)
        self.metrics.close()
        written = self.recipe.run_dir / "pretrain.json"
        if self.me.is_main and (self.at.epoch > before or not written.is_file()):
            figures.training_curves(read_metrics(self.metrics.path), self.folder / "curves.png")
            record(
                self.recipe,
                "pretrain",
                epochs=self.at.epoch,
                minutes=round(self.at.seconds / 60, 1),
                processes=self.me.world,
                best_validation_loss=self.at.best,
                cubes_per_epoch=self.steps * self.per_process * self.me.world,
            )

    def _stale(self) -> bool:
        """Whether the joint training has not got better for too long."""
        began = self.at.epoch > self.settings.classification_epochs  # epochs of the first stage do not count
        return began and self.at.stale > 0 and self.at.stale >= self.settings.patience

    def _epoch(self, epochs: int) -> None:
        network = self.me.wrap(self.task, unused=not self.joint)
        started = time.monotonic()
        epoch_started, done_before = started, self.at.step
        self.task.train()
        bar = tqdm(
            self._read("train", self._batches()),
            initial=self.at.step,
            total=self.steps,
            desc=f"epoch {self.at.epoch + 1}/{epochs} {'joint' if self.joint else 'classification'}",
            unit="step",
            disable=not self.show,
            leave=False,
        )
        for cubes, labels in bar:
            self._add(self._step(network, cubes, labels))
            self.at.step += 1
            if self.show and self.at.step % 10 == 0:
                bar.set_postfix({k: f"{v / self.at.step:.4f}" for k, v in self._train_sums().items()})
            if self.at.step % self.settings.checkpoint_every == 0 and self.at.step < self.steps:
                self._count_time(started)
                started = time.monotonic()
                self._checkpoint()
        per_second = (self.steps - done_before) * self.per_process * self.me.world / (time.monotonic() - epoch_started)
        self._end_epoch(started, per_second)

    def _step(self, network: nn.Module, cubes: Tensor, labels: Tensor) -> dict[str, Tensor]:
        device = self.me.device
        place = (self.recipe.seed, "transform", self.at.epoch, self.at.step, self.me.rank)
        cubes = cubes.to(device, non_blocking=True)
        labels = labels.to(device, non_blocking=True)
        corrupted, target = self._corrupt(cubes, generator(device, *place))
        self.optimizer.zero_grad(set_to_none=True)
        losses = self._losses(network, corrupted, target, labels)
        losses["loss"].backward()
        self.optimizer.step()
        return {key: value.detach() for key, value in losses.items()}

    def _corrupt(self, cubes: Tensor, noise: torch.Generator) -> tuple[Tensor, Tensor]:
        return semantic_genesis(cubes, noise, **corruption(self.settings))

    def _add(self, losses: dict[str, Tensor]) -> None:
        """Sum the metrics of a step where they are: reading them out would make a GPU wait at every step."""
        for key, value in losses.items():
            before = self.sums.get(key)
            self.sums[key] = value.double() if before is None else before + value.double()

    def _train_sums(self) -> dict[str, float]:
        return {key: value.item() for key, value in self.sums.items()}

    def _losses(self, network: nn.Module, corrupted: Tensor, target: Tensor, labels: Tensor) -> dict[str, Tensor]:
        corrupted = corrupted.contiguous(memory_format=layout(self.model.NDIM))
        with torch.autocast(self.me.device.type, torch.bfloat16, enabled=self.settings.precision == "bfloat16"):
            restoration, logits = network(corrupted, self.joint)
        logits = logits.float()
        entropy = F.cross_entropy(logits, labels)
        top1 = (logits.argmax(1) == labels).float().mean()
        if restoration is None:
            return {"loss": entropy, "cross_entropy": entropy, "top1": top1}
        mse = F.mse_loss(restoration.float(), target)
        loss = self.settings.lambda_rec * mse + self.settings.lambda_cls * entropy
        return {"loss": loss, "cross_entropy": entropy, "top1": top1, "mse": mse}

    def _batches(self) -> list[list[int]]:
        """This epoch's batches of this process, from the step where the run is."""
        order = permutation(len(self.data["train"]), self.recipe.seed, "order", self.at.epoch)
        whole = self.per_process * self.me.world
        return [
            order[step * whole + self.me.rank * self.per_process :][: self.per_process].tolist()
            for step in range(self.at.step, self.steps)
        ]

    def _loader(self, split: str) -> DataLoader[Any]:
        """Reads the batches that are put into its `batch_sampler`; its processes keep their decoded scans."""
        return DataLoader(
            self.data[split],
            batch_sampler=Batches(),
            num_workers=self.settings.workers,
            persistent_workers=self.settings.workers > 0,
            pin_memory=self.me.device.type == "cuda",
        )

    def _read(self, split: str, batches: list[list[int]]) -> DataLoader[Any]:
        loader = self.loaders[split]
        assert isinstance(loader.batch_sampler, Batches)
        loader.batch_sampler.batches = batches
        return loader

    @torch.inference_mode()
    def _validate(self) -> dict[str, float]:
        """Losses on the validation patients; every epoch sees the same cubes with the same corruptions."""
        self.task.eval()
        rows = np.arange(len(self.data["validation"]))
        batches = [rows[i : i + self.per_process] for i in range(0, len(rows), self.per_process)]
        mine = list(range(self.me.rank, len(batches), self.me.world))
        sums = torch.zeros(5, dtype=torch.float64)
        loader = self._read("validation", [batches[i].tolist() for i in mine])
        for number, (cubes, labels) in zip(mine, loader, strict=True):
            noise = generator(self.me.device, self.recipe.seed, "validation", number)
            corrupted, target = self._corrupt(cubes.to(self.me.device), noise)
            losses = self._losses(self.task, corrupted, target, labels.to(self.me.device))
            without = F.mse_loss(corrupted, target)
            parts = [losses["cross_entropy"], losses["top1"], losses.get("mse", without), without, torch.tensor(1.0)]
            sums += torch.stack([part.double().cpu() for part in parts]) * len(labels)
            if number == 0 and self.joint and self.at.epoch % self.settings.picture_every == 0:
                restored, _ = self.task(corrupted, True)
                figures.restorations(target, corrupted, restored, self.folder / "restorations.png")
        sums = self.me.sum(sums)
        entropy, top1, mse, without, _ = (sums / sums[-1]).tolist()
        values = {"validation_cross_entropy": entropy, "validation_top1": top1, "validation_loss": entropy}
        if self.joint:
            values |= {"validation_mse": mse, "validation_mse_corrupted": without}
            values["validation_loss"] = self.settings.lambda_rec * mse + self.settings.lambda_cls * entropy
        return values

    def _end_epoch(self, started: float, cubes_per_second: float) -> None:
        values = self._validate()
        if not math.isfinite(values["validation_loss"]):
            raise InvalidInputError(
                f"the validation loss of epoch {self.at.epoch + 1} is {values['validation_loss']}: training diverged; "
                "lower pretrain.lr, or use pretrain.precision=float32, and start afresh in another run=FOLDER"
            )
        if self.at.epoch == self.settings.classification_epochs:  # the loss is another one from here on
            self.at.best, self.at.stale = math.inf, 0
        better = values["validation_loss"] < self.at.best
        self.at.best = min(self.at.best, values["validation_loss"])
        self.at.stale = 0 if better else self.at.stale + 1
        if better and self.me.is_main:
            self.model.save_pretrained(self.folder / "model")
        train = {key: value / self.steps for key, value in self._train_sums().items()}
        self.metrics.write(
            stage="joint" if self.joint else "classification",
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
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "at": vars(self.at),
            "sums": self._train_sums(),
            "metrics": self.metrics.position(),
        }
        save_checkpoint(self.folder / "checkpoint.pt", state)

    def _resume(self) -> None:
        state = load_checkpoint(self.folder / "checkpoint.pt", self.determined_by)
        if state is None:
            self.metrics.truncate(0)
            return
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.at = Progress(**state["at"])
        self.sums = {k: torch.tensor(v, dtype=torch.float64, device=self.me.device) for k, v in state["sums"].items()}
        self.metrics.truncate(state["metrics"])
        if self.show:
            tqdm.write(f"resuming at epoch {self.at.epoch + 1}, step {self.at.step} of {self.steps}")
