"""The pictures of a run. Every function writes one PNG.

Slices are shown as radiologists see them: axial (seen from the feet, so x to the right is the patient's left and
y runs downwards to posterior).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from sg_hub.io.files import writing_path

ACCURACIES = ("validation_top1", "validation_accuracy")
"""Measures that lie in 0..1."""


def restorations(
    target: Tensor, corrupted: Tensor, restored: Tensor, path: Path, names: list[str] | None = None
) -> None:
    """Columns of cubes: original, corrupted, restored, and what is wrong with the restored one.

    Args:
        target, corrupted, restored: (N, C, spatial...) in 0..1; the first channel is shown, of a cube its middle
            axial slice.
    """
    count = min(8, len(target))
    rows = [("original", target), ("corrupted", corrupted), ("restored", restored)]
    figure, axes = plt.subplots(4, count, figsize=(1.5 * count + 0.6, 6.4), squeeze=False)
    for row, (label, batch) in enumerate(rows):
        for column in range(count):
            draw_slice(axes[row, column], batch[column, 0].float().cpu().numpy())
        row_label(axes[row, 0], label)
    for column in range(count):
        error = (restored[column, 0] - target[column, 0]).abs().float().cpu().numpy()
        draw_slice(axes[3, column], error, vmax=0.3, cmap="magma")
        if names:
            axes[0, column].set_title(names[column], fontsize=8)
    row_label(axes[3, 0], "|error| (0 to 0.3)")
    save(figure, path)


def transformations(cubes: Tensor, results: dict[str, Tensor], path: Path) -> None:
    """The paper's Fig. 5: every transformation (columns) of some cubes (rows).

    Args:
        cubes: (N, C, spatial...) in 0..1.
        results: transformed cubes of the same shape, by name.
    """
    columns = {"original": cubes, **results}
    figure, axes = plt.subplots(
        len(cubes), len(columns), figsize=(1.6 * len(columns), 1.7 * len(cubes) + 0.3), squeeze=False
    )
    for column, (name, batch) in enumerate(columns.items()):
        for row in range(len(cubes)):
            draw_slice(axes[row, column], batch[row, 0].float().cpu().numpy())
        axes[0, column].set_title(name, fontsize=9)
    save(figure, path)


def planes(rows: list[dict[str, np.ndarray]], path: Path) -> None:
    """Images (X, Y) in 0..1, or (X, Y, 3) in colour, side by side, a row for each cube, by name."""
    names = list(rows[0])
    figure, axes = plt.subplots(len(rows), len(names), figsize=(1.6 * len(names), 1.7 * len(rows) + 0.3), squeeze=False)
    for line, row in zip(axes, rows, strict=True):
        for axis, name in zip(line, names, strict=True):
            axis.imshow(row[name].swapaxes(0, 1), cmap="gray", vmin=0, vmax=1)
            bare(axis)
    for axis, name in zip(axes[0], names, strict=True):
        axis.set_title(name, fontsize=9)
    save(figure, path)


def training_curves(metrics: list[dict[str, Any]], path: Path) -> None:
    """What was measured on the validation patients, over the epochs: one panel a measure.

    A measure of what was not restored (`mse_corrupted`) is drawn beside the one that it is to be held against.
    """
    names = list(dict.fromkeys(key for row in metrics for key in row if key.startswith("validation_")))
    panels = [name for name in names if not name.endswith("_corrupted")]
    figure, axes = plt.subplots(1, len(panels), figsize=(4.5 * len(panels), 3.2), squeeze=False)
    for axis, name in zip(axes[0], panels, strict=True):
        for key, style in ((name, "-"), (f"{name}_corrupted", "--")):
            points = [(epoch, row[key]) for epoch, row in enumerate(metrics, 1) if key in row]
            if points:
                axis.plot(*zip(*points, strict=True), style, label=key.removeprefix("validation_"))
        axis.set(xlabel="epoch", ylabel=f"{name.removeprefix('validation_')}, validation")
        if name.startswith(ACCURACIES):
            axis.set(ylim=(0, 1))
        elif all(row.get(name, 1) > 0 for row in metrics):
            axis.set(yscale="log")
        if f"{name}_corrupted" in names:
            axis.legend()
    save(figure, path)


def reconstructions(scans: Tensor, restored: Tensor, path: Path) -> None:
    """Whole scans, cubes or images (N, C, spatial...) in 0..1, and what the autoencoder makes of them."""
    count = min(6, len(scans))
    figure, axes = plt.subplots(2, count, figsize=(1.7 * count, 3.6), squeeze=False)
    for row, batch in enumerate((scans, restored)):
        for column in range(count):
            draw_slice(axes[row, column], batch[column, 0].float().cpu().numpy(), axis=0)
    row_label(axes[0, 0], "sagittal" if scans.ndim == 5 else "image")
    row_label(axes[1, 0], "autoencoder")
    save(figure, path)


def draw_slice(axes: Axes, volume: np.ndarray, *, axis: int = 2, vmax: float = 1.0, cmap: str = "gray") -> None:
    """The middle slice across `axis` of (X, Y, Z); across x or y, superior is up. An image (H, W) as it is."""
    if volume.ndim == 2:
        plane = volume
    else:
        plane = np.take(volume, volume.shape[axis] // 2, axis=axis).T
        plane = plane if axis == 2 else plane[::-1]
    axes.imshow(plane, cmap=cmap, vmin=0, vmax=vmax)
    bare(axes)


def bare(axis: Axes) -> None:
    axis.set_xticks([])
    axis.set_yticks([])


def row_label(axis: Axes, label: str) -> None:
    axis.set_ylabel(label, fontsize=9)


def save(figure: Figure, path: Path) -> None:
    """Write a figure and close it.

    Raises:
        ReadError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout(pad=0.4)
    with writing_path(path, path.suffix) as temporary:
        figure.savefig(temporary, dpi=130, bbox_inches="tight")
    plt.close(figure)
