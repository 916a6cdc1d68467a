"""The main job from end to end on the samples beside this file: `sg-hub demo`, in a checkout `make demo`.

First what users do with weights that ship: find a place of one patient in another, fine-tune on three labelled
patients, segment one whom the network never saw. Then how such weights are made, at a very small scale: prepare,
autoencode, discover, pre-train, evaluate, publish, in 3D and in 2D.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import sg_hub
from sg_hub.cli import main as command
from sg_hub.cli.browser import open_page
from sg_hub.errors import SgHubError
from sg_hub.io.files import given_path, unwritable

from .page import CARDS, write_page

SAMPLES = Path(__file__).parent / "samples"
RECIPES = ("demo", "demo-2d")
"""They say where the samples are that they are trained on."""
_CT, _XRAYS = SAMPLES / "openkbp" / "ct", SAMPLES / "chestxray14" / "images"
_LABELLED, _NEW = _CT / "pt_222.nii.gz", _CT / "pt_230.nii.gz"
"""A scan to train on, and one of the test part."""
_PLACES = ("263.2,99.5,161.7", "322.6,116.1,237.7")
"""In the labelled scan, in mm: the middle of its larynx and of its left parotid gland."""
_KNOWN = 20.0
"""Seconds: how much the pace that is expected counts beside what was measured so far."""
_MINUTES = "about 2 minutes on two cores"


@dataclass(frozen=True)
class _Step:
    title: str
    seconds: float
    """On two cores: what the estimate begins with."""
    run: Callable[[], None]


def run(options: argparse.Namespace) -> None:
    """Everything, into the folder `out`; the page is there after the first step, and grows."""
    started = time.monotonic()
    out = given_path(options.out, "the folder of the demo")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(out, error) from error
    steps = _steps(options, out)
    print(f"{len(steps)} steps, {_MINUTES}; pictures appear in {out / 'index.html'} as they are made.", flush=True)
    expected, page = _KNOWN, out / "index.html"
    for number, step in enumerate(steps, 1):
        left = sum(later.seconds for later in steps[number - 1 :])
        pace = (_KNOWN + time.monotonic() - started) / expected  # of this machine
        print(f"\n[{number} of {len(steps)}, about {left * pace:.0f} s left] {step.title}", flush=True)
        step.run()
        expected += step.seconds
        page = write_page(out)
    print(f"\nDone in {time.monotonic() - started:.0f} s. {page} shows the pictures, in order.")
    if options.browser:
        open_page(page.resolve().as_uri())


def _steps(options: argparse.Namespace, out: Path) -> list[_Step]:
    device = ("--device", options.device)
    organs, cards, image = out / "organ-model", out / CARDS, min(_XRAYS.glob("*.png"))
    places = [word for place in _PLACES for word in ("--at", place)]
    xray = (image, "--model", "semantic-genesis-2d-tiny")
    target = SAMPLES / "organs.toml"

    def pre_train() -> None:
        for recipe in RECIPES:
            here = (f"run={out / 'run' / recipe}", "--cards", cards)
            _run("regenerate", recipe, *options.overrides, *here, *device)
            print(sg_hub.from_pretrained(cards / recipe, head="segmentation", num_classes=2).load_report)

    return [
        _Step(
            "A CT, as it is read and as networks see it",
            2,
            lambda: _run("preprocess", _NEW, "--picture", out / "seen.png", *device),
        ),
        _Step(
            "The same place in another patient: no labels, no training",
            8,
            lambda: _run("locate", _LABELLED, _NEW, *places, "--picture", out / "places.png", *device),
        ),
        _Step(
            "Fine-tune on three labelled patients: spinal cord and mandible",
            60,
            lambda: _run(
                *("finetune", "--init", "semantic-genesis-3d-tiny", "--target", target, "--out", organs),
                *(*options.finetune, *device),
            ),
        ),
        _Step(
            "Segment a patient whom the network never saw",
            5,
            lambda: _run(
                *("segment", _NEW, "--model", organs, "--out", out / "labels.nii.gz"),
                *("--picture", out / "segmented.png", *device),
            ),
        ),
        _Step(
            "What pre-training taught: hidden parts of a CT are restored",
            4,
            lambda: _run("restore", _NEW, "--out", out / "restored.png", *device),
        ),
        _Step("And of an X-ray", 3, lambda: _run("restore", *xray, "--out", out / "restored-2d.png", *device)),
        _Step("How such weights are made, at a very small scale: twelve CT, twelve X-rays", 45, pre_train),
    ]


def _run(*arguments: str | Path) -> None:
    """A command of sg-hub, as a user gives it."""
    given = [str(argument) for argument in arguments]
    print(f"$ sg-hub {' '.join(given)}", flush=True)
    if command(given) != 0:
        raise SgHubError(f"the demo's command `sg-hub {given[0]}` failed, as is said above")
