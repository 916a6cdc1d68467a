"""What stays of a trial of the grid: its row of the table of results, and the files of its folder."""

from __future__ import annotations

import io
import json
import time

import numpy as np
import torch

from ..examples import examples
from ..task import PROTOCOL
from ..trial import FinishedTrial
from .results import Row


def row_of(done: FinishedTrial) -> Row:
    trial, target = done.trial, done.trial.task.target
    return {
        "key": trial.key,
        "protocol": PROTOCOL,
        "target": target.name,
        "task": trial.task.key,
        "init": trial.start.init,
        "kind": trial.start.kind,
        "weights": trial.start.fingerprint,
        "architecture": trial.start.architecture,
        "trial": trial.number,
        "fraction": trial.fraction,
        "metric": target.metric,
        "value": done.test.value,
        **done.record(),
        "settings": target.model_dump(mode="json", exclude={"root"}),
        "torch": torch.__version__,
        "written": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
    }


def files_of(done: FinishedTrial) -> dict[str, bytes]:
    """`items.jsonl`: every test item; `examples.npz`: a slice of the best, the median and the worst of them."""
    text = "".join(json.dumps(row) + "\n" for row in done.test.by_item)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **examples(done))
    return {"items.jsonl": text.encode(), "examples.npz": buffer.getvalue()}
