"""One trial: a network fine-tuned on a target's training items, and what it does on the test items.

The settings of a target are the same for every initialisation, and so is the order of the batches. The weights that do
best on the validation items are kept; the test items are read once, at the end.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

import sg_hub.inference
from sg_hub.errors import InvalidInputError

from ..data.leakage import check_disjoint, check_unseen
from ..run.environment import commit, machine
from ..run.layout import layout, to_device
from ..run.seeds import generator, seed_of
from ..targets import Item, Target, identities, in_parts
from ..targets.splits import label_fraction
from .initialisation import head_parameters, initialise
from .item_arrays import Batches, ItemArrays, axial_slices, from_axial_slices, middle_slices
from .metrics import auc_by_class, overlap


@dataclass
class Scores:
    """What a network does on some items."""

    value: float
    """The target's metric."""
    values: dict[str, float]
    """All figures by name: the metrics, and each by class."""
    by_item: list[dict[str, Any]] = field(default_factory=list)
    """Item, patient, and IoU and Dice by class, or the label and the probabilities."""
    left_out: list[str] = field(default_factory=list)
    """Classes with too few positives for an AUC."""


@dataclass
class Trial:
    """A finished trial."""

    model: Any
    test: Scores
    curve: list[list[float]]
    """[step, validation metric, training loss] at every validation."""
    parts: dict[str, list[Item]]
    minutes: float
    best_step: int
    """Whose weights were kept: the step that did best on the validation part."""
    unchecked: str = ""
    """Why it cannot be told whether the weights have seen test patients; empty where none was seen."""

    def record(self) -> dict[str, Any]:
        """What is written down of it, in JSON types."""
        return {
            "values": self.test.values,
            "left_out": self.test.left_out,
            "items": {part: len(items) for part, items in self.parts.items()},
            "patients": {part: len({item.patient for item in items}) for part, items in self.parts.items()},
            "curve": self.curve,
            "best_step": self.best_step,
            "unchecked": self.unchecked,
            "minutes": round(self.minutes, 3),
            "machine": machine(),
            "commit": commit(),
        }


def parts_of(target: Target, items: list[Item], fraction: float, trial: int) -> dict[str, list[Item]]:
    """Train, validation and test items of a trial.

    A fraction keeps a share of the training patients, drawn by the trial; validation and test are always whole.

    Raises:
        InvalidInputError: parts that share patients.
    """
    parts = in_parts(items)
    parts["train"] = label_fraction(parts["train"], fraction, target.name, trial)
    check_disjoint(identities(target.dataset, [item for part in parts.values() for item in part]))
    return parts


def run_trial(
    target: Target,
    init: str,
    trial: int,
    arrays: ItemArrays,
    items: list[Item],
    fraction: float = 1.0,
    *,
    progress: bool = True,
) -> Trial:
    """Fine-tune, choose on the validation items, test once.

    Raises:
        InvalidInputError: test patients that the weights were pre-trained on, or parts that share patients.
    """
    started = time.monotonic()
    parts = parts_of(target, items, fraction, trial)
    model = initialise(init, target, seed_of("initialise", trial))
    unchecked = check_unseen(model.provenance, target.dataset, identities(target.dataset, items)["test"])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    to_device(model, device, target.ndim)
    curve, best_step = _train(model, target, trial, arrays, parts, f"{target.name}, {init}, trial {trial}", progress)
    test = score(model, target, arrays, parts["test"])
    return Trial(model, test, curve, parts, (time.monotonic() - started) / 60, best_step, unchecked)


def _train(
    model: Any,
    target: Target,
    trial: int,
    arrays: ItemArrays,
    parts: dict[str, list[Item]],
    title: str,
    progress: bool,
) -> tuple[list[list[float]], int]:
    """Train, and put back the weights of the step that did best on the validation part; the curve, and that step."""
    settings = target.settings
    optimizer = torch.optim.AdamW(_parameter_groups(model, settings.lr, settings.body_lr_factor), lr=settings.lr)
    for group in optimizer.param_groups:
        group["weight_decay"] = settings.weight_decay
    warmup = max(1, int(settings.warmup * settings.steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / warmup) * (1 - step / settings.steps) ** 0.9
    )
    device = next(model.parameters()).device
    batches, noise = Batches(target, arrays, parts["train"]), generator("cpu", "batches", target.name, trial)
    best, best_step, best_state, curve = -1.0, 0, copy.deepcopy(model.state_dict()), []
    losses: list[float] = []
    for step in (bar := tqdm(range(1, settings.steps + 1), title, unit="step", disable=not progress, leave=False)):
        model.train()
        x, y = batches.draw(noise)
        with _autocast(target, device):
            logits = model(_in_layout(x.to(device)))
        value = loss(target, logits.float(), y.to(device))
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        schedule.step()
        losses.append(value.item())
        if not math.isfinite(losses[-1]):
            raise InvalidInputError(f"{title}: the loss is {losses[-1]} at step {step}: give a smaller settings.lr")
        if step % settings.validate_every == 0 or step == settings.steps:
            reached = score(model, target, arrays, parts["validation"], validation=True).value
            curve.append([step, round(reached, 5), round(float(np.mean(losses)), 5)])
            losses = []
            bar.set_postfix({f"validation {target.metric}": f"{reached:.3f}"})
            if reached > best:
                best, best_step, best_state = reached, step, copy.deepcopy(model.state_dict())
    model.load_state_dict(best_state)
    return curve, best_step


def _in_layout(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=layout(x.ndim - 2))


def _autocast(target: Target, device: torch.device) -> torch.autocast:
    # On the CPU, the gradient of a 3D convolution in bfloat16 reads memory that nobody wrote where its input has less
    # than 3 voxels along x (torch 2.13, oneDNN): results differ from run to run, or are NaN.
    broken = device.type == "cpu" and target.ndim == 3 and target.patch[0] < 24
    enabled = target.settings.precision == "bfloat16" and not broken
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def _parameter_groups(model: Any, lr: float, factor: float) -> list[dict[str, Any]]:
    """The last layer, which is fresh in every initialisation, and all others: the same groups for all of them."""
    fresh = head_parameters(model)
    named = list(model.named_parameters())
    return [
        {"params": [p for n, p in named if n in fresh], "lr": lr},
        {"params": [p for n, p in named if n not in fresh], "lr": lr * factor},
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


def score(model: Any, target: Target, arrays: ItemArrays, items: Sequence[Item], *, validation: bool = False) -> Scores:
    """Every metric of the target on some items; overlaps are of whole items, and the mean is over items.

    Raises:
        InvalidInputError: no class has enough positives for an AUC.
    """
    results = list(predict(model, target, arrays, items))
    if target.head == "classification":
        scores = np.stack([found for _, found in results])
        labels = np.stack([arrays[item][1].numpy() for item, _ in results])
        least = max(1, target.min_positives // 3) if validation else target.min_positives
        by_class = auc_by_class(scores, labels, target.classes, target.exclusive, least)
        mean = float(np.mean(list(by_class.values())))
        rows = [
            {
                "item": item.name,
                "patient": item.patient,
                "label": label.tolist(),
                "probabilities": found.round(5).tolist(),
            }
            for (item, found), label in zip(results, labels, strict=True)
        ]
        named = {f"auc {name}": value for name, value in by_class.items()} if len(by_class) > 1 else {}
        left_out = [] if target.exclusive else [name for name in target.classes if name not in by_class]
        return Scores(mean, {"auc": mean, **named}, rows, left_out)
    rows = []
    for item, found in results:
        iou, dice = overlap(found, arrays[item][1].numpy(), len(target.classes))
        rows.append({"item": item.name, "patient": item.patient, "iou": iou, "dice": dice})
    values: dict[str, float] = {}
    for metric in ("iou", "dice"):
        table = np.array([row[metric] for row in rows])
        values[metric] = float(table.mean())
        if len(target.classes) > 1:
            values |= {f"{metric} {name}": float(v) for name, v in zip(target.classes, table.mean(0), strict=True)}
    return Scores(values[target.metric], values, rows)


@torch.inference_mode()
def predict(model: Any, target: Target, arrays: ItemArrays, items: Sequence[Item]) -> Iterator[tuple[Item, np.ndarray]]:
    """Probabilities (classes,) of each item, or its class numbers (spatial...) on the target's grid."""
    model.eval()
    device = next(model.parameters()).device
    if target.head == "segmentation" and (
        target.sliced or target.grid.size is None or target.grid.size != target.patch
    ):
        for item in items:
            with _autocast(target, device):
                yield item, _segment(model, target, arrays[item][0].float(), device)
        return
    for start in range(0, len(items), 32):
        part = items[start : start + 32]
        images = [arrays[item][0].float() for item in part]
        with _autocast(target, device):
            logits = model(_in_layout(torch.cat([_views(target, image) for image in images]).to(device))).float().cpu()
        if target.head == "segmentation":
            found = logits.argmax(1).to(torch.uint8)
        else:
            found = logits.softmax(1) if target.exclusive else logits.sigmoid()
            found = found.unflatten(0, (len(part), -1)).mean(1)
        yield from zip(part, found.numpy(), strict=True)


def _views(target: Target, image: Tensor) -> Tensor:
    """What stands for an item: itself, or its middle slices."""
    return middle_slices(image, target.settings.slices) if target.sliced else image[None]


def _segment(model: Any, target: Target, image: Tensor, device: torch.device) -> np.ndarray:
    """Class numbers of an item: by windows in 3D, as a whole in 2D, slice by slice where 3D data are sliced."""
    if target.sliced:
        slices = axial_slices(image)
        parts = [model(_in_layout(part.to(device)), pad=True).argmax(1).cpu() for part in slices.split(16)]
        return from_axial_slices(torch.cat(parts)).to(torch.uint8).numpy()
    if target.ndim == 2:
        return model(_in_layout(image[None].to(device)), pad=True)[0].argmax(0).cpu().to(torch.uint8).numpy()
    found = sg_hub.inference.sliding_window(model, image[None], patch_size=target.patch, overlap=0.25)
    return found[0].argmax(0).to(torch.uint8).numpy()
