"""The transformations, a cube of 64 x 64 x 32 and an image of 224 x 224, beside MONAI's and TorchIO's nearest ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from training import transforms as ours
from training.transforms import reference

from ..measuring import Row, alternately, compared, threads

CUBES, SIZE = 16, (64, 64, 32)
IMAGES, PIXELS = 8, (224, 224)
GOALS = {
    "elastic": "0.5",
    "nonlinear": "0.3",
    "out_paint": "0.15",
    "local_shuffle, 10000 windows": "5",
    "models_genesis": "3",
}


def run() -> list[Row]:
    rows = []
    for count in (1, 2):
        with threads(count) as clock:
            rows += _cubes(count, clock)
    with threads(1) as clock:
        batch, generator = batch_of(IMAGES, PIXELS, "cpu")
        for name, work in each_of(batch, generator).items():
            taken = alternately({"ours": work}, clock, 5)
            rows += compared(f"{name}, image of 224 x 224, one core", "ms", taken, 1000 / IMAGES)
    return rows


def _cubes(count: int, clock: Callable[[], float]) -> list[Row]:
    rows = []
    batch, generator = batch_of(CUBES, SIZE, "cpu")
    others = {**_monai(batch[0]), **_torchio(batch[0])} if count == 1 else {}
    for name, work in each_of(batch, generator).items():
        mine = alternately({"ours": work}, clock, 7)["ours"]
        mine = [seconds / CUBES for seconds in mine]
        theirs = {label: each for (what, label), each in others.items() if what == name}
        if count == 1 and hasattr(reference, name):
            cube, rng = batch[0, 0].numpy(), np.random.default_rng(0)
            theirs["definition in numpy and scipy"] = partial(getattr(reference, name), cube, rng)
        taken = alternately(theirs, clock, 7)
        cores = "one core" if count == 1 else "two cores"
        goal = GOALS.get(name, "") if count == 1 else ""
        rows += compared(f"{name}, {cores}", "ms", {"ours": mine, **taken}, 1000, goal)
    return rows


def batch_of(count: int, size: tuple[int, ...], device: str) -> tuple[torch.Tensor, torch.Generator]:
    generator = torch.Generator(device).manual_seed(0)
    return torch.rand(count, 1, *size, generator=generator, device=device), generator


def each_of(batch: torch.Tensor, generator: torch.Generator) -> dict[str, Callable[[], object]]:
    names = ("elastic", *ours.CHOICES, "semantic_genesis", "models_genesis")
    found: dict[str, Callable[[], object]] = {name: partial(getattr(ours, name), batch, generator) for name in names}
    found["local_shuffle, 10000 windows"] = partial(ours.local_shuffle, batch, generator, windows=10_000)
    return found


def _monai(cube: torch.Tensor) -> dict[tuple[str, str], Callable[[], object]]:
    import monai.transforms as monai

    box: dict[str, Any] = {"holes": 1, "prob": 1.0}
    all_: dict[str, Any] = {
        "elastic": monai.Rand3DElastic((8, 8), (991, 991), prob=1.0, padding_mode="reflection"),
        "nonlinear": monai.RandHistogramShift(num_control_points=4, prob=1.0),
        "local_shuffle": monai.RandCoarseShuffle(holes=5, spatial_size=(1, 1, 1), max_spatial_size=(6, 6, 3), prob=1.0),
        "in_paint": monai.RandCoarseDropout(
            spatial_size=(10, 10, 5), max_spatial_size=(21, 21, 10), fill_value=(0.0, 1.0), **box
        ),
        "out_paint": monai.RandCoarseDropout(
            spatial_size=(28, 28, 14), max_spatial_size=(37, 37, 18), fill_value=(0.0, 1.0), dropout_holes=False, **box
        ),
    }
    return {(name, f"MONAI {type(each).__name__}"): partial(each, cube) for name, each in all_.items()}


def _torchio(cube: torch.Tensor) -> dict[tuple[str, str], Callable[[], object]]:
    import torchio

    all_: dict[str, Any] = {
        "elastic": torchio.RandomElasticDeformation(num_control_points=8, max_displacement=(7, 7, 0)),
        "nonlinear": torchio.RandomGamma(),
        "local_shuffle": torchio.RandomSwap(patch_size=(3, 3, 2), num_iterations=5),
    }
    return {(name, f"TorchIO {type(each).__name__}"): partial(each, cube) for name, each in all_.items()}
