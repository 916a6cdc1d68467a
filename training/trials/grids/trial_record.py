"""What stays of a trial of the grid: its row of the table of results, and the files of its folder."""

from __future__ import annotations

import io
import json
import time

import numpy as np
import torch

from ...run.folder.environment import machine
from ...targets import in_parts
from ..examples import examples
from ..task import PROTOCOL
from ..trial import FinishedTrial, TrainedTrial
from .results import ITEMS, Row


def row_of(done: FinishedTrial) -> Row:
    trial, target = done.trial, done.trial.task.target
    return {
        **_cell_of(done),
        "protocol": PROTOCOL,
        "task": trial.task.key,
        "kind": trial.start.kind,
        "architecture": trial.start.architecture,
        "trial": trial.number,
        "metric": target.metric,
        "value": done.test.value,
        **done.record(),
        "settings": target.model_dump(mode="json", exclude={"root"}),
        "torch": torch.__version__,
        "written": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
    }


def choice_of(done: TrainedTrial) -> Row:
    """The row of a trial that was run to choose settings: what its last validation reached."""
    return {
        **_cell_of(done),
        "value": done.curve[-1][1],
        "curve": done.curve,
        "minutes": round(done.minutes, 3),
        "machine": machine(),
    }


def _cell_of(done: TrainedTrial) -> Row:
    trial = done.trial
    cell: Row = {
        "key": trial.key,
        "target": trial.task.target.name,
        "init": trial.start.init,
        "weights": trial.start.fingerprint,
        "fraction": trial.fraction,
    }
    if trial.patients is not None:
        everybody = {item.patient for item in in_parts(trial.task.items)["train"]}
        cell |= {"labelled": trial.patients, "fraction": round(trial.patients / len(everybody), 6)}
    return cell | ({"own": trial.own.record()} if trial.own is not None else {})


def files_of(done: FinishedTrial) -> dict[str, bytes]:
    """`items.jsonl`: every test item; `examples.npz`: a slice of the best, the median and the worst of them."""
    text = "".join(json.dumps(row) + "\n" for row in done.test.by_item)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **examples(done))
    return {ITEMS: text.encode(), "examples.npz": buffer.getvalue()}
