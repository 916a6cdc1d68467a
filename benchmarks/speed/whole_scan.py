"""One whole scan in a process of its own, whose peak memory is its own.

python -m benchmarks.speed.whole_scan predict|monai|locate|hundred X Y Z WIDTH
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sg_hub
from sg_hub import Preprocessing, Scan, SemanticGenesis3D

PATCH, OVERLAP = (64, 64, 32), 0.25


def main() -> None:
    what, *size, width = sys.argv[1:]
    shape = tuple(map(int, size))
    head: dict[str, Any] = {"head": "features"} if what == "locate" else {"head": "segmentation", "num_classes": 2}
    torch.manual_seed(0)
    model = SemanticGenesis3D(width=int(width), norm="batch", preprocessing=Preprocessing(), **head).eval()
    before = _status("VmRSS")
    rng = np.random.default_rng(0)
    array = np.empty((1, *shape), np.float32)
    for plane in array[0]:
        plane[:] = rng.integers(-1000, 1000, plane.shape)
    scan = Scan(array, (1.0, 1.0, 1.0), source="made")
    works = {"predict": _predict, "monai": _monai, "locate": _locate, "hundred": _hundred}
    start = time.perf_counter(), time.process_time()
    more = works[what](model, scan)
    taken = {"wall": time.perf_counter() - start[0], "processor": time.process_time() - start[1]}
    memory = {"peak": _status("VmHWM") - before, "scan": array.nbytes / 2**20}
    print(json.dumps(taken | memory | more))


def _predict(model: Any, scan: Scan) -> dict[str, float]:
    found = sg_hub.predict(model, scan, patch_size=PATCH, overlap=OVERLAP, progress=False)
    return {"sum": float(found[0, ::16, ::16, ::16].sum())}


def _monai(model: Any, scan: Scan) -> dict[str, float]:
    """The same network, patch, overlap and weighing, and the same result: probabilities of both classes."""
    from monai.inferers import sliding_window_inference

    with torch.inference_mode():
        x = model.preprocess(scan)
        logits: Any = sliding_window_inference(x, PATCH, 4, model, OVERLAP, mode="gaussian")
        found = logits.softmax(1)[0].numpy()
    return {"sum": float(found[0, ::16, ::16, ::16].sum())}


def _locate(model: Any, scan: Scan) -> dict[str, float]:
    _, score = sg_hub.locate(model, scan, [(10.0, 20.0, 30.0)], scan, least=0, progress=False)
    return {"score": float(score[0])}


def _hundred(model: Any, scan: Scan) -> dict[str, float]:
    """Memory after the tenth and after the last of a hundred scans."""
    memory = []
    for _ in range(100):
        sg_hub.predict(model, scan, patch_size=PATCH, overlap=OVERLAP, progress=False)
        memory.append(_status("VmRSS"))
    return {"grown": memory[-1] - memory[9]}


def _status(key: str) -> float:
    """MB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))


if __name__ == "__main__":
    main()
