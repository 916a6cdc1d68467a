"""docs/images/job.png, the picture that README begins with: a sample scan, its reference, and what a network found.

    sg-hub finetune --init semantic-genesis-3d-tiny --target training/demo/samples/organs.toml --out organ-model
    python -m docs.scripts.picture ./organ-model

The scan is the first of the target's test part: the network was trained on three other patients, and pre-trained on
none of the samples.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch

import sg_hub
from training.targets import load_target
from training.trials.task.metrics import overlap

ROOT = Path(__file__).parent.parent.parent
TARGET = ROOT / "training" / "demo" / "samples" / "organs.toml"
OUT = ROOT / "docs" / "images" / "job.png"
COLOURS = ("#ff8c1a", "#2ec4ff", "#7ae582", "#ff5d8f")
WINDOW = (-300, 600)
"""HU."""
MARGIN = 14
"""Voxels around what is outlined, in the axial slice."""


def main(model_folder: str) -> None:
    """Draw it."""
    target = load_target(TARGET)
    item = next(item for item in target.split_items().items if item.split == "test")
    model, scan = sg_hub.from_pretrained(model_folder), sg_hub.load_scan(item.image)
    truth = target.class_numbers(sg_hub.load_scan(str(item.label), labels=True).array[0], str(item.label))
    found = sg_hub.predict(model, scan, output="labels", progress=False)
    _, dice = overlap(found, truth, len(target.classes))
    axial, sagittal = (
        int((truth == number).sum((0, 1) if axis == 2 else (1, 2)).argmax()) for number, axis in ((2, 2), (1, 0))
    )
    dx, dy, dz = scan.spacing
    places = np.argwhere(truth[:, :, axial])
    (left, front), (right, back) = np.maximum(places.min(0) - MARGIN, 0), places.max(0) + MARGIN
    views = (
        (lambda array: array[left:right, front:back, axial].T, "axial", dy / dx, ("R", "L", "A", "P")),
        (lambda array: array[sagittal].T[::-1], "sagittal", dz / dy, ("A", "P", "S", "I")),
    )
    columns = (("the scan", None), ("the reference", truth), ("found by the network", found))
    figure, axes = plt.subplots(2, 3, figsize=(10.5, 7.2), facecolor="black")
    for row, (cut, _, aspect, letters) in zip(axes, views, strict=True):
        for axis, (title, labels) in zip(row, columns, strict=True):
            axis.imshow(
                cut(scan.array[0]), cmap="gray", vmin=WINDOW[0], vmax=WINDOW[1], aspect=aspect, interpolation="bilinear"
            )
            if labels is not None:
                shown = np.ma.masked_equal(cut(labels), 0)
                colours = ListedColormap(COLOURS[: len(target.classes)])
                axis.imshow(
                    shown,
                    cmap=colours,
                    vmin=1,
                    vmax=len(target.classes),
                    alpha=0.75,
                    aspect=aspect,
                    interpolation="nearest",
                )
            axis.axis("off")
            if row is axes[0]:
                axis.set_title(title, color="white", fontsize=13)
            places = ((0.02, 0.5), (0.98, 0.5), (0.5, 0.97), (0.5, 0.03))
            for letter, (x, y) in zip(letters, places, strict=True):
                axis.text(x, y, letter, color="#bbbbbb", transform=axis.transAxes, fontsize=9, ha="center", va="center")
    named = [f"{name} (Dice {value:.2f})" for name, value in zip(target.classes, dice, strict=True)]
    handles = [Patch(color=colour, label=name) for colour, name in zip(COLOURS, named, strict=False)]
    figure.legend(
        handles=handles, loc="lower center", ncols=len(handles), frameon=False, labelcolor="white", fontsize=12
    )
    figure.subplots_adjust(0.01, 0.07, 0.99, 0.94, 0.02, 0.02)
    figure.savefig(OUT, dpi=80)
    print(OUT, dict(zip(target.classes, dice, strict=True)))


if __name__ == "__main__":
    main(sys.argv[1])
