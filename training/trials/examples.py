"""Example pictures of a trial: how its best, its median and its worst test item went."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ..targets import Item, Target
from .scoring import predict
from .task.metrics import METRICS
from .task.slices import axial_slices
from .trial import FinishedTrial

SIDES = "RLAP"
"""Of an axial slice, as it is shown: left, right, top, bottom."""
RANKS = ("best", "median", "worst")


def examples(done: FinishedTrial) -> dict[str, Any]:
    """Pictures of test items, each shown once: fewer than three where there are fewer, none where none has a score.

    Returns:
        for each rank that there is, `<rank>_image` (rows, columns) uint8, `<rank>_title`, and of a segmentation the
        class numbers `<rank>_truth` and `<rank>_found`; of a slice of a scan `<rank>_sides`: what is at its left,
        right, top and bottom.
    """
    target, rows = done.trial.task.target, done.test.by_item
    goodness = {number: _goodness(target, row) for number, row in enumerate(rows)}
    order = sorted((n for n, value in goodness.items() if value is not None), key=lambda n: (-goodness[n], n))  # type: ignore[operator]
    chosen = dict(zip(RANKS, (0, len(order) // 2, len(order) - 1), strict=True))
    if len(order) < len(RANKS):
        chosen = dict(zip(("best", "worst"), range(len(order)), strict=False))
    items = {item.name: item for item in done.parts["test"]}
    arrays: dict[str, Any] = {}
    for rank, place in chosen.items():
        row = rows[order[place]]
        shown = _picture(done, items[row["item"]]) | {"title": np.array(_title(target, row))}
        arrays |= {f"{rank}_{what}": array for what, array in shown.items()}
    return arrays


def _picture(done: FinishedTrial, item: Item) -> dict[str, np.ndarray]:
    """A picture, or of a scan the axial slice with most of what is there (the middle one where nothing is)."""
    task, target = done.trial.task, done.trial.task.target
    image, label = task.arrays[item]
    shown: dict[str, np.ndarray] = {}
    plane = image.shape[-1] // 2
    if target.head == "segmentation":
        found = torch.from_numpy(next(predict(done.network, task, [item]))[1])
        if target.data_ndim == 3:
            plane = int((label > 0).sum((0, 1)).argmax()) if bool(label.any()) else plane
            label, found = axial_slices(label)[plane], axial_slices(found)[plane]
        shown = {"truth": label.numpy(), "found": found.numpy()}
    if target.data_ndim == 3:
        image = axial_slices(image)[plane]
        shown["sides"] = np.array(SIDES)
    return shown | {"image": (image[0].float().clamp(0, 1) * 255).round().to(torch.uint8).numpy()}


def _goodness(target: Target, row: Mapping[str, Any]) -> float | None:
    """How well a test item went: its overlap, or the probability of what is right; None where it has no score."""
    if target.head == "segmentation":
        values = [value for value in row[target.metric] if value is not None]
        return float(np.mean(values)) if values else None
    probabilities = np.array(row["probabilities"])
    if target.exclusive:
        return float(probabilities[row["label"]])
    label = np.array(row["label"])
    return float(np.mean(np.where(label, probabilities, 1 - probabilities)))


def _title(target: Target, row: Mapping[str, Any]) -> str:
    if target.head == "segmentation":
        text = f"{METRICS[target.metric]} {_goodness(target, row):.2f}"
    elif target.exclusive:
        text = f"{target.classes[row['label']]}, found with p = {row['probabilities'][row['label']]:.2f}"
    else:
        findings = [name for name, value in zip(target.classes, row["label"], strict=True) if value] or ["no finding"]
        text = ", ".join(findings)
    doubtful = f"\ndoubtful reference: {target.doubtful[row['item']]}" if row["item"] in target.doubtful else ""
    return f"{row['item']}\n{text}{doubtful}"
