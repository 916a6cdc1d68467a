"""The pictures of a run. Every function writes one PNG.

Slices are shown as radiologists see them: axial (seen from the feet, so x to the right is the patient's left and
y runs downwards to posterior).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor, nn

if TYPE_CHECKING:
    from ..data.store import Store
    from ..discovery.patterns import PatternTable


def restorations(
    target: Tensor, corrupted: Tensor, restored: Tensor, path: Path, names: list[str] | None = None, most: int = 8
) -> None:
    """Columns of cubes: original, corrupted, restored, and what is wrong with the restored one.

    Args:
        target, corrupted, restored: (N, C, spatial...) in 0..1; the first channel is shown, of a cube its middle
            axial slice.
    """
    count = min(most, len(target))
    rows = [("original", target), ("corrupted", corrupted), ("restored", restored)]
    figure, axes = plt.subplots(4, count, figsize=(1.5 * count + 0.6, 6.4), squeeze=False)
    for row, (label, batch) in enumerate(rows):
        for column in range(count):
            _slice(axes[row, column], batch[column, 0].float().cpu().numpy())
        _row_label(axes[row, 0], label)
    for column in range(count):
        error = (restored[column, 0] - target[column, 0]).abs().float().cpu().numpy()
        _slice(axes[3, column], error, vmax=0.3, cmap="magma")
        if names:
            axes[0, column].set_title(names[column], fontsize=8)
    _row_label(axes[3, 0], "|error| (0 to 0.3)")
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
            _slice(axes[row, column], batch[row, 0].float().cpu().numpy())
        axes[0, column].set_title(name, fontsize=9)
    save(figure, path)


def discovered_patterns(
    store: Store,
    table: PatternTable,
    features: np.ndarray,
    path: Path,
    relative: bool,
    references: int = 3,
    neighbours: int = 4,
) -> None:
    """The paper's Fig. 4: the place of a pattern in its reference, the nearest and the farthest patients.

    Args:
        features: (patients, features), in the order of the store.
        relative: a place is the same fraction of every scan's size; else it is the same voxel.
    """
    figure, axes = plt.subplots(
        references, 1 + 2 * neighbours, figsize=(1.6 * (1 + 2 * neighbours), 1.9 * references), squeeze=False
    )
    base = np.flatnonzero((table.resolution == 0) & (table.split == 0))
    labels = np.unique(table.pattern[base])
    chosen = labels[np.linspace(0, len(labels) - 1, references).round().astype(int)]
    for row, label in enumerate(chosen):
        rows = base[table.pattern[base] == label]
        reference = int(table.reference[rows[0]])
        distance = np.linalg.norm(features[table.patient[rows]] - features[reference], axis=1)
        near = rows[np.argsort(distance)][1 : 1 + neighbours]
        shown = [(reference, int(rows[np.argmin(distance)]), "reference", "tab:orange")]
        shown += [(int(table.patient[r]), int(r), "near", "tab:pink") for r in near]
        shown += [(p, -1, "far", "tab:blue") for p in _farthest(store, features, reference, neighbours)]
        size = table.size[rows[0]].astype(int)
        centre = (table.corner[rows[0]] + size / 2) / np.array(store.patients[int(table.patient[rows[0]])].shape)
        for column, axis in enumerate(axes[row]):
            if column >= len(shown):
                axis.axis("off")
                continue
            patient, cube_row, kind, colour = shown[column]
            shape = np.array(store.patients[patient].shape)
            if cube_row >= 0:
                corner = table.corner[cube_row]
            else:
                corner = np.round(centre * shape - size / 2) if relative else table.corner[rows[0]]
            _patient_slice(axis, store, patient, corner.astype(int), size, colour)
            axis.set_title(f"{kind}: {store.patients[patient].name}", fontsize=7, color=colour)
        _row_label(axes[row, 0], f"pattern {label}")
    save(figure, path)


def training_curves(metrics: list[dict[str, float]], path: Path) -> None:
    """Pattern accuracy and restoration error of the validation patients, over the epochs."""
    rows = [m for m in metrics if "validation_top1" in m]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
    epochs = range(1, len(rows) + 1)
    left.plot(epochs, [m["validation_top1"] for m in rows])
    left.set(xlabel="epoch", ylabel="top-1 of the patterns, validation", ylim=(0, 1))
    joint = [(e, m) for e, m in zip(epochs, rows, strict=True) if "validation_mse" in m]
    if joint:
        right.plot([e for e, _ in joint], [m["validation_mse"] for _, m in joint], label="restored")
        right.plot([e for e, _ in joint], [m["validation_mse_corrupted"] for _, m in joint], "--", label="corrupted")
        right.legend()
    right.set(xlabel="epoch", ylabel="mean squared error, validation", yscale="log")
    save(figure, path)


@torch.inference_mode()
def reconstructions(model: nn.Module, scans: np.ndarray, rows: list[int], path: Path, count: int = 6) -> None:
    """Whole scans (or images) and what the autoencoder makes of them. scans: (patients, C, spatial...) in 0..1."""
    device = next(model.parameters()).device
    count = min(count, len(rows))
    model.eval()
    x = torch.from_numpy(np.array(scans[np.sort(rows)[:count]])).float()
    restored = model(x.to(device)).cpu()
    figure, axes = plt.subplots(2, count, figsize=(1.7 * count, 3.6), squeeze=False)
    for column in range(count):
        _slice(axes[0, column], x[column, 0].numpy(), axis=0)
        _slice(axes[1, column], restored[column, 0].numpy(), axis=0)
    _row_label(axes[0, 0], "scan (sagittal)" if x.ndim == 5 else "image")
    _row_label(axes[1, 0], "autoencoder")
    save(figure, path)


def _farthest(store: Store, features: np.ndarray, reference: int, count: int) -> list[int]:
    train = np.array([i for i, patient in enumerate(store.patients) if patient.split == "train"])
    distance = np.linalg.norm(features[train] - features[reference], axis=1)
    return [int(train[i]) for i in np.argsort(distance)[::-1][:count]]


def _patient_slice(axis: Axes, store: Store, patient: int, corner: np.ndarray, size: np.ndarray, colour: str) -> None:
    shape, name = store.patients[patient].shape, store.patients[patient].name
    if store.ndim == 2:
        axis.imshow(store.whole(name)[0], cmap="gray", vmin=store.window[0], vmax=store.window[1])
        corner, size = corner[::-1], size[::-1]  # rows run downwards
    else:
        z = int(np.clip(corner[2] + size[2] // 2, 0, shape[2] - 1))
        plane = store.crop(name, (0, 0, z), (shape[0], shape[1], 1))[0, :, :, 0]
        axis.imshow(plane.T, cmap="gray", vmin=-400, vmax=400)
    axis.add_patch(Rectangle((corner[0], corner[1]), size[0], size[1], fill=False, edgecolor=colour, linewidth=1.3))
    _bare(axis)


def _slice(axes: Axes, volume: np.ndarray, *, axis: int = 2, vmax: float = 1.0, cmap: str = "gray") -> None:
    """The middle slice across `axis` of (X, Y, Z); across x or y, superior is up. An image (H, W) as it is."""
    if volume.ndim == 2:
        plane = volume
    else:
        plane = np.take(volume, volume.shape[axis] // 2, axis=axis).T
        plane = plane if axis == 2 else plane[::-1]
    axes.imshow(plane, cmap=cmap, vmin=0, vmax=vmax)
    _bare(axes)


def _bare(axis: Axes) -> None:
    axis.set_xticks([])
    axis.set_yticks([])


def _row_label(axis: Axes, label: str) -> None:
    axis.set_ylabel(label, fontsize=9)


def save(figure: Figure, path: Path) -> None:
    """Write a figure and close it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout(pad=0.4)
    figure.savefig(path, dpi=130, bbox_inches="tight")
    plt.close(figure)
