"""Discovery: features per second, and the nearest of a million patients."""

from __future__ import annotations

import resource

import numpy as np
import torch

from sg_hub import SemanticGenesis3D
from training.discovery.search import distances, smallest
from training.run.layout import layout, to_device

from ..measuring import Row, alternately, compared, threads

PATIENTS, NUMBERS, NEIGHBOURS = 1_000_000, 512, 200
SCAN = (64, 64, 32)


def run() -> list[Row]:
    return _encoder() + _nearest()


def _encoder() -> list[Row]:
    """The pass of the autoencoder's encoder over one resized scan."""
    with threads(1) as clock, torch.inference_mode():
        model = SemanticGenesis3D(width=8, norm="batch", head="features").eval()
        to_device(model, "cpu", 3)
        scan = torch.rand(1, 1, *SCAN).contiguous(memory_format=layout(3))
        taken = alternately({"ours": lambda: model.encoder(scan)[-1].flatten(2).mean(2)}, clock)
        each = sorted(taken["ours"])[len(taken["ours"]) // 2]
    return [Row("features, width 8, scans of 64 x 64 x 32, one core", 1 / each, "scans/s")]


def _nearest() -> list[Row]:
    """Against the same in one piece, which holds the million differences at once; and against one pass over memory."""
    rng = np.random.default_rng(0)
    features = np.empty((PATIENTS, NUMBERS), np.float32)
    for start in range(0, PATIENTS, 10_000):
        features[start : start + 10_000] = rng.random((10_000, NUMBERS), dtype=np.float32)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = smallest(distances(features, 0), NEIGHBOURS)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024

    def at_once() -> np.ndarray:
        return np.argsort(np.linalg.norm(features - features[0], axis=1), kind="stable")[:NEIGHBOURS]

    assert np.array_equal(found, at_once())
    with threads(1) as clock:
        taken = alternately(
            {
                "ours": lambda: smallest(distances(features, 0), NEIGHBOURS),
                "all at once (numpy)": at_once,
                "one sum over the same memory": lambda: features.sum(),
            },
            clock,
            3,
        )
    rows = compared("200 nearest of a million patients, 512 numbers each, one core", "s", taken, 1)
    return [*rows, Row("memory for it, beside the features (exact: the same patients)", max(grown, 0.0), "MB")]
