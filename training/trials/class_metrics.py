"""Every class of a segmentation on some items: Dice, IoU and the distance of the surfaces, as rows and as one table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..targets import Item, Target
from .scoring import predict
from .task.metrics import auc_by_class, overlap, with_enough
from .task.prepared_task import PreparedTask
from .task.surface import surface_distances

COLUMNS = ("dice", "iou", "surface", "surface95")
"""Of a row: by class, NaN where there is none. `surface` is the mean distance of the surfaces, `surface95` its 95th
percentile."""


def item_row(name: str, found: np.ndarray, truth: np.ndarray, classes: int, spacing: Sequence[float]) -> dict[str, Any]:
    """How one item went, class by class.

    Args:
        found, truth: class numbers of one shape; 0 is background.
    """
    iou, dice = overlap(found, truth, classes)
    numbers = range(1, classes + 1)
    apart = [surface_distances(found == number, truth == number, spacing) for number in numbers]
    none = float("nan")
    surface = [float(one.mean()) if len(one) else none for one in apart]
    surface95 = [float(np.percentile(one, 95)) if len(one) else none for one in apart]
    return {"item": name, "dice": dice, "iou": iou, "surface": surface, "surface95": surface95}


def rows_on_grid(network: Any, task: PreparedTask, items: Sequence[Item]) -> tuple[list[dict[str, Any]], str]:
    """Rows of items on the target's grid, and the unit of their distances: mm where the target says its spacing."""
    target = task.target
    spacing = target.voxel
    unit = "mm" if spacing is not None else ("voxels" if target.data_ndim == 3 else "pixels")
    rows = [
        item_row(item.name, found, task.arrays[item][1].numpy(), len(target.classes), spacing or (1,) * found.ndim)
        for item, found in predict(network, task, items)
    ]
    return rows, unit


def class_table(target: Target, rows: Sequence[dict[str, Any]], unit: str) -> str:
    """A CSV with a line for each class: mean and standard deviation over the items in which it is there or found, and
    how many those are. A surface that is in one of the masks only has no distance: such items are counted in `missed`.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    named = [name if name in ("dice", "iou") else f"{name}_{unit}" for name in COLUMNS]
    writer.writerow(["class", "items", "missed", *(column for name in named for column in (name, f"{name}_sd"))])
    for place, name in enumerate(target.classes):
        values = {key: np.array([row[key][place] for row in rows], dtype=float) for key in COLUMNS}
        scored = ~np.isnan(values["dice"])
        missed = scored & np.isnan(values["surface"])
        cells = [cell for key in COLUMNS for cell in _mean_and_sd(values[key])]
        writer.writerow([name, int(scored.sum()), int(missed.sum()), *cells])
    return text.getvalue()


def auc_table(target: Target, rows: Sequence[dict[str, Any]]) -> str:
    """The same of a classification: the AUC of each class, and how many items are of it; empty where there is none.
    Two classes that exclude each other have one curve, which is that of both.

    Args:
        rows: `label` and `probabilities` of each item, as `scoring.score` has them.
    """
    labels = np.array([row["label"] for row in rows])
    scores = np.array([row["probabilities"] for row in rows])
    enough = with_enough(labels, target.classes, target.exclusive, 1)
    found = auc_by_class(scores, labels, target.classes, target.exclusive, enough)
    if target.exclusive and len(target.classes) == 2:  # one curve, of both
        found |= dict.fromkeys(target.classes, next(iter(found.values()))) if found else {}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["class", "items", "positives", "auc"])
    for number, name in enumerate(target.classes):
        positives = int((labels == number).sum() if target.exclusive else labels[:, number].sum())
        writer.writerow([name, len(rows), positives, f"{found[name]:.5g}" if name in found else ""])
    return text.getvalue()


def _mean_and_sd(values: np.ndarray) -> tuple[str, str]:
    values = values[~np.isnan(values)]
    mean = f"{values.mean():.5g}" if len(values) else ""
    return mean, f"{values.std(ddof=1):.5g}" if len(values) > 1 else ""
