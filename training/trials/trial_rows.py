"""Cells of a grid: one trial each, the row of the table that it becomes, and the files beside it."""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sg_hub.errors import SgHubError

from ..targets import Target
from . import PROTOCOL
from .initialisation import Start, kind_of
from .item_arrays import axial_slices
from .prepared_task import PreparedTask
from .results import Row
from .trial import Trial, predict, run_trial


@dataclass(frozen=True)
class Cell:
    """One trial of the grid."""

    task: PreparedTask
    start: Start
    fraction: float
    trial: int

    @property
    def key(self) -> str:
        text = json.dumps([PROTOCOL, self.task.key, self.start.fingerprint, self.fraction, self.trial])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def __str__(self) -> str:
        share = f", {self.fraction:.0%} of the labels" if self.fraction < 1 else ""
        return f"{self.task.target.name}, {self.start.init}{share}, trial {self.trial}"


Finished = Callable[[Cell, tuple[Row, dict[str, bytes]]], None]
"""Takes a cell, its row and its files."""
Failure = tuple[Cell, Exception]
Engine = Callable[[list[Cell], Finished], list[Failure]]
"""Runs cells, and returns those that failed."""


def one_by_one(cells: list[Cell], finished: Finished, *, progress: bool = True) -> list[Failure]:
    """Run cells here, one after the other; returns those that failed, which do not keep the others from running."""
    failed: list[Failure] = []
    for cell in cells:
        try:
            result = run_cell(cell, progress=progress)
        except (SgHubError, RuntimeError) as error:  # such as: out of memory
            failed.append((cell, error))
            print(f"{cell} failed: {error}", flush=True)
        else:
            finished(cell, result)
    return failed


def run_cell(cell: Cell, *, progress: bool = True) -> tuple[Row, dict[str, bytes]]:
    """One trial: its row of the table, and the files of its folder."""
    task = cell.task
    trial = run_trial(
        task.target, cell.start.init, cell.trial, task.arrays, task.items, cell.fraction, progress=progress
    )
    return row_of(cell, trial), files_of(task, trial)


def row_of(cell: Cell, trial: Trial) -> Row:
    target = cell.task.target
    return {
        "key": cell.key,
        "protocol": PROTOCOL,
        "target": target.name,
        "task": cell.task.key,
        "init": cell.start.init,
        "kind": kind_of(cell.start.init),
        "weights": cell.start.fingerprint,
        "architecture": cell.start.architecture,
        "trial": cell.trial,
        "fraction": cell.fraction,
        "metric": target.metric,
        "value": trial.test.value,
        **trial.record(),
        "settings": target.model_dump(mode="json", exclude={"root"}),
        "torch": torch.__version__,
        "written": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
    }


def files_of(task: PreparedTask, trial: Trial) -> dict[str, bytes]:
    """`items.jsonl`: every test item; `examples.npz`: a slice of the best, the median and the worst of them."""
    rows = trial.test.by_item
    text = "".join(json.dumps(row) + "\n" for row in rows)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **examples(task, trial))
    return {"items.jsonl": text.encode(), "examples.npz": buffer.getvalue()}


def examples(task: PreparedTask, trial: Trial) -> dict[str, Any]:
    """Image (rows, columns) uint8 of the best, median and worst test item; masks of what is there and was found."""
    target, rows = task.target, trial.test.by_item
    order = sorted(range(len(rows)), key=lambda i: (-_goodness(target, rows[i]), i))
    items = {item.name: item for item in trial.parts["test"]}
    arrays: dict[str, Any] = {}
    for rank, index in (("best", order[0]), ("median", order[len(order) // 2]), ("worst", order[-1])):
        item = items[rows[index]["item"]]
        image, label = task.arrays[item]
        plane = label.shape[-1] // 2 if target.head == "segmentation" else image.shape[-1] // 2
        if target.head == "segmentation":
            found = next(predict(trial.model, target, task.arrays, [item]))[1]
            if target.data_ndim == 3:
                plane = int((label > 0).sum((0, 1)).argmax()) if bool(label.any()) else plane
                label, found = axial_slices(label)[plane], axial_slices(torch.from_numpy(found))[plane].numpy()
            arrays |= {f"{rank}_truth": label.numpy(), f"{rank}_found": found}
        if target.data_ndim == 3:
            image = axial_slices(image)[plane]
        arrays[f"{rank}_image"] = (image[0].float().clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        arrays[f"{rank}_title"] = np.array(_title(target, rows[index]))
    return arrays


def _goodness(target: Target, row: dict[str, Any]) -> float:
    """How well a test item went: its overlap, or the probability of what is right."""
    if target.head == "segmentation":
        return float(np.mean(row[target.metric]))
    probabilities = np.array(row["probabilities"])
    if target.exclusive:
        return float(probabilities[row["label"]])
    label = np.array(row["label"])
    return float(np.mean(np.where(label, probabilities, 1 - probabilities)))


def _title(target: Target, row: dict[str, Any]) -> str:
    if target.head == "segmentation":
        return f"{row['item']}\n{target.metric} {np.mean(row[target.metric]):.2f}"
    if target.exclusive:
        return f"{row['item']}\n{target.classes[row['label']]}, found with p = {row['probabilities'][row['label']]:.2f}"
    findings = [name for name, value in zip(target.classes, row["label"], strict=True) if value] or ["no finding"]
    return f"{row['item']}\n{', '.join(findings)}"
