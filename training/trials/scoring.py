"""What a network does on some items: its predictions, and every metric of the target."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sg_hub.errors import InvalidInputError
from sg_hub.inference import sliding_window

from ..run.layout import layout
from ..run.precision import autocast
from ..targets import Item, Target
from .task.metrics import auc_by_class, overlap, with_enough
from .task.prepared_task import PreparedTask
from .task.slices import axial_slices, from_axial_slices, middle_slices
from .task.surface import IN_MM, measured_in_mm

OVERLAPS = ("iou", "dice")
BATCH = 32
"""Items that are predicted at once, where they are small."""
SLICES = 16
"""Slices of an item that are predicted at once."""


@dataclass
class Scores:
    """What a network does on some items."""

    value: float
    """The target's metric."""
    values: dict[str, float]
    """All figures by name: the metrics, and each by class."""
    by_item: list[dict[str, Any]] = field(default_factory=list)
    """Item, patient, and IoU and Dice by class (None: neither there nor found), or the label and the probabilities."""
    left_out: list[str] = field(default_factory=list)
    """Classes with too few positives for an AUC."""
    absent: dict[str, int] = field(default_factory=dict)
    """By class, the items in which it is neither there nor found: they are in no mean of it."""
    without_doubtful: dict[str, float] = field(default_factory=dict)
    """All figures without the items whose reference is known to be wrong; empty where there are none."""
    in_mm: dict[str, float] = field(default_factory=dict)
    """Surface Dice at 3 mm and the centres' distance in mm, and each by class, where they were asked for and the target
    says how large a voxel is; doubtful items are among them. A class that is in one of the masks only has no centre's
    distance, and is in no mean of it."""
    seconds: float = 0.0
    """That the predictions took, without the scoring."""


def score(network: Any, task: PreparedTask, items: Sequence[Item], *, in_mm: bool = False) -> Scores:
    """Every metric of the target on some items; overlaps are of whole items, and the mean is over items, then classes.

    Args:
        in_mm: whether surfaces and centres are measured, too.

    Raises:
        InvalidInputError: there is nothing to score.
    """
    target, arrays = task.target, task.arrays
    voxel = target.voxel if in_mm and target.head == "segmentation" else None
    predictions, rows, seconds = predict(network, task, items), [], 0.0
    while True:
        started = time.monotonic()
        prediction = next(predictions, None)
        seconds += time.monotonic() - started
        if prediction is None:
            break
        item, found = prediction
        rows.append(_row(target, item, found, arrays[item][1].numpy(), voxel))
    figures = _overlaps if target.head == "segmentation" else _aucs
    values = figures(task, rows)
    if target.metric not in values:
        raise InvalidInputError(f"target {target.name}: none of {len(rows)} items has a score")
    sure = [row for row in rows if row["item"] not in target.doubtful]
    without = figures(task, sure) if 0 < len(sure) < len(rows) else {}
    one_curve = target.exclusive and len(target.classes) == 2
    left_out = [] if one_curve else [name for name in target.classes if name not in task.scored]
    for row in rows if target.head == "classification" else ():
        row["probabilities"] = [float(f"{value:.9g}") for value in row["probabilities"]]  # tells any two float32 apart
    distances = _overlaps(task, rows, IN_MM) if voxel else {}
    return Scores(values[target.metric], values, rows, left_out, _absent(target, rows), without, distances, seconds)


def _row(
    target: Target, item: Item, found: np.ndarray, label: np.ndarray, voxel: Sequence[float] | None
) -> dict[str, Any]:
    row: dict[str, Any] = {"item": item.name, "patient": item.patient}
    if target.head == "classification":
        return row | {"label": label.tolist(), "probabilities": found.tolist()}
    table = dict(zip(OVERLAPS, overlap(found, label, len(target.classes)), strict=True))
    if voxel is not None:
        table |= measured_in_mm(found, label, voxel, len(target.classes))
    return row | {
        metric: [None if np.isnan(value) else value for value in by_class] for metric, by_class in table.items()
    }


def _overlaps(task: PreparedTask, rows: list[dict[str, Any]], metrics: Sequence[str] = OVERLAPS) -> dict[str, float]:
    """IoU and Dice (or other measures), and each by class; what has no score in any item is left out."""
    values: dict[str, float] = {}
    for metric in metrics:
        table = np.array([row[metric] for row in rows], dtype=float)
        by_class = {
            name: float(np.nanmean(column))
            for name, column in zip(task.target.classes, table.T, strict=True)
            if not np.isnan(column).all()
        }
        if by_class:
            values[metric] = float(np.mean(list(by_class.values())))
        if len(task.target.classes) > 1:
            values |= {f"{metric} {name}": value for name, value in by_class.items()}
    return values


def _aucs(task: PreparedTask, rows: list[dict[str, Any]]) -> dict[str, float]:
    """The mean AUC of the classes that are scored, and each; of fewer items, a class may have no positive left."""
    target = task.target
    scores = np.array([row["probabilities"] for row in rows])
    labels = np.array([row["label"] for row in rows])
    enough = with_enough(labels, target.classes, target.exclusive, 1)
    by_class = auc_by_class(scores, labels, target.classes, target.exclusive, {*task.scored} & {*enough})
    if not by_class:
        return {}
    named = {f"auc {name}": value for name, value in by_class.items()} if len(by_class) > 1 else {}
    return {"auc": float(np.mean(list(by_class.values()))), **named}


def _absent(target: Target, rows: list[dict[str, Any]]) -> dict[str, int]:
    if target.head != "segmentation":
        return {}
    counts = {name: sum(row["iou"][number] is None for row in rows) for number, name in enumerate(target.classes)}
    return {name: count for name, count in counts.items() if count}


@torch.inference_mode()
def predict(network: Any, task: PreparedTask, items: Sequence[Item]) -> Iterator[tuple[Item, np.ndarray]]:
    """Probabilities (classes,) of each item, or its class numbers (spatial...) on the target's grid."""
    network.eval()
    target = task.target
    forward = _Forward(network, target)
    if target.head == "segmentation" and (target.sliced or target.grid.size != target.patch):
        for item in items:
            yield item, _segmented(forward, target, task.arrays[item][0].float())
        return
    for start in range(0, len(items), BATCH):
        part = items[start : start + BATCH]
        logits = forward(torch.cat([_views(target, task.arrays[item][0].float()) for item in part])).float()
        if target.head == "segmentation":
            found = logits.argmax(1).to(torch.uint8)
        else:
            found = logits.softmax(1) if target.exclusive else logits.sigmoid()
            found = found.unflatten(0, (len(part), -1)).mean(1)
        yield from zip(part, found.numpy(), strict=True)


class _Forward:
    """A network's output on the CPU, in the precision that it was trained in."""

    def __init__(self, network: Any, target: Target) -> None:
        self.network, self.target = network, target
        self.device = next(network.parameters()).device
        self.stride = network.encoder.strides[-1]

    def precision(self) -> torch.autocast:
        return autocast(self.device, self.target.settings.precision, self.target.patch, self.stride)

    def __call__(self, x: Tensor, **options: Any) -> Tensor:
        with self.precision():
            return self.network(x.to(self.device).contiguous(memory_format=layout(x.ndim - 2)), **options).cpu()


def _views(target: Target, image: Tensor) -> Tensor:
    """What stands for an item: itself, or its middle slices."""
    return middle_slices(image, target.settings.slices) if target.sliced else image[None]


def _segmented(forward: _Forward, target: Target, image: Tensor) -> np.ndarray:
    """Class numbers of an item: by windows in 3D, as a whole in 2D, slice by slice where 3D data are sliced."""
    if target.sliced:
        parts = [forward(part, pad=True).argmax(1) for part in axial_slices(image).split(SLICES)]
        return from_axial_slices(torch.cat(parts)).to(torch.uint8).numpy()
    if target.ndim == 2:
        return forward(image[None], pad=True)[0].argmax(0).to(torch.uint8).numpy()
    with forward.precision():
        found = sliding_window(forward.network, image[None], patch_size=target.patch, overlap=0.25)
    return found[0].argmax(0).to(torch.uint8).numpy()
