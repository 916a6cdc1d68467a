"""The main job from end to end on the samples beside this file: `sg-hub demo`, in a checkout `make demo`.

First with the weights that ship: read a CT and an X-ray, embed them, restore corrupted cubes and patches. Then the
training at a very small scale, in 3D and in 2D: prepare, autoencode, discover, pre-train, evaluate, publish; and the
results loaded like any other model.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import sg_hub
from sg_hub.cli import main as command
from sg_hub.errors import SgHubError
from sg_hub.io.files import given_path, unwritable

from .page import CARDS, write_page

SAMPLES = Path(__file__).parent / "samples"
RECIPES = ("demo", "demo-2d")
"""They say where the samples are that they are trained on."""


def run(options: argparse.Namespace) -> None:
    """Everything, into the folder `out`."""
    started = time.monotonic()
    out = given_path(options.out, "the folder of the demo")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(out, error) from error
    scan = SAMPLES / "openkbp" / "ct" / "pt_201.nii.gz"
    image = min((SAMPLES / "chestxray14" / "images").glob("*.png"))
    print("1. A real CT and a real X-ray, and what they are")
    print(sg_hub.load_scan(scan))
    print(sg_hub.load_image(image))
    print("\n2. The weights that ship")
    _run("models")
    print("\n3. The scan as one feature vector")
    _run("embed", scan, "--out", out / "features.npy", "--device", options.device)
    print("\n4. Corrupted cubes, restored")
    _run("restore", scan, "--out", out / "restored.png", "--device", options.device)
    print("\n5. Corrupted patches of the X-ray")
    here = ("--out", out / "restored-2d.png", "--device", options.device)
    _run("restore", image, "--model", "semantic-genesis-2d-tiny", *here)
    print("\n6. The whole training, at a very small scale, on twelve CT and on twelve X-rays")
    cards = out / CARDS
    for recipe in RECIPES:
        run = f"run={out / 'run' / recipe}"
        _run("regenerate", recipe, run, *options.overrides, "--cards", cards, "--device", options.device)
    print("\n7. The published models, loaded like any other")
    for recipe in RECIPES:
        print(sg_hub.from_pretrained(cards / recipe, head="segmentation", num_classes=2).load_report)
    print(f"\nDone in {time.monotonic() - started:.0f} s. Open {write_page(out)} in a browser: the pictures, in order.")


def _run(*arguments: str | Path) -> None:
    """A command of sg-hub, as a user gives it."""
    given = [str(argument) for argument in arguments]
    print(f"$ sg-hub {' '.join(given)}", flush=True)
    if command(given) != 0:
        raise SgHubError(f"the demo's command `sg-hub {given[0]}` failed, as is said above")
