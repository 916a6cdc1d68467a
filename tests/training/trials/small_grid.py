"""A small grid, for the tests of what runs it and of what becomes of it."""

from pathlib import Path

import torch

from sg_hub import Preprocessing, SemanticGenesis2D, SemanticGenesis3D
from training.trials.grids.benchmark import benchmark

QUICK = [
    "grid.size=[16, 16, 8]",
    "crop=16",
    "settings.steps=1",
    "settings.validate_every=1",
    "settings.batch_size=2",
    'settings.precision="float32"',
]


def small_weights(folder: Path, **provenance) -> str:
    torch.manual_seed(1)
    model = SemanticGenesis3D(
        width=2, num_classes=3, norm="batch", preprocessing=Preprocessing(), provenance=provenance
    )
    model.save_pretrained(folder)
    return str(folder)


def small_weights_2d(folder: Path) -> str:
    torch.manual_seed(1)
    SemanticGenesis2D(encoder="lcnet_050", decoder_width=4).save_pretrained(folder)
    return str(folder)


def run(place, out, trials=2, inits=None, **more):
    inits = inits or [str(place / "small"), f"random:{place / 'small'}"]
    more = {"targets": ["lidc-candidates"], "data": place / "data", "overrides": QUICK} | more
    return benchmark(more.pop("targets"), inits, trials, out, progress=False, **more)


def command(place, out, *more):
    inits = [str(place / "small"), f"random:{place / 'small'}"]
    return ["benchmark", "--targets", "lidc-nodules", "--inits", *inits, "--trials", "3", "--out", str(out), "--data",
            str(place / "data"), "--quiet", *QUICK, *more]  # fmt: skip
