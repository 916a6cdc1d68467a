"""The picture of discovery: where patterns lie (the paper's Fig. 4)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from ..data.leakage import patient_hashes
from ..data.store import Store
from ..run.pages.figures import bare, plt, row_label, save
from .consistency import Consistency
from .patterns import PatternTable

REFERENCES = 3
NEIGHBOURS = 4
"""Nearest and farthest patients of each that are shown."""


def discovered_patterns(
    store: Store,
    table: PatternTable,
    features: np.ndarray | None,
    alike: Consistency,
    path: Path,
    dataset: str,
    *,
    relative: bool = False,
) -> None:
    """The paper's Fig. 4: the place of a pattern in its reference, the nearest and the farthest patients.

    Args:
        features: (patients, features), in the order of the store; None where they did not say who is near, and no far
            patients are shown.
        alike: how much the cubes of each pattern are.
        dataset: short name of the data set. The figure is published, so patients stand in it under the hashes that
            the weights' provenance has.
        relative: a place is at the same share of each scan's size, not at the same voxel.
    """
    columns = 1 + NEIGHBOURS * (1 if features is None else 2)
    figure, axes = plt.subplots(REFERENCES, columns, figsize=(1.6 * columns, 1.9 * REFERENCES), squeeze=False)
    base = np.flatnonzero((table.resolution == 0) & (table.split == 0))
    labels = np.unique(table.pattern[base])
    chosen = labels[np.linspace(0, len(labels) - 1, REFERENCES).round().astype(int)]
    for row, label in enumerate(chosen):
        rows = base[table.pattern[base] == label]
        reference = int(table.reference[rows[0]])
        near = rows[1 : 1 + NEIGHBOURS]  # the table has the reference first, and then the nearest
        shown = [(reference, int(rows[0]), "reference", "tab:orange")]
        shown += [(int(table.patient[r]), int(r), "near", "tab:pink") for r in near]
        if features is not None:
            shown += [(p, -1, "far", "tab:blue") for p in _farthest(store, features, reference, NEIGHBOURS)]
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
            (shown_name,) = patient_hashes(dataset, [store.patients[patient].patient])
            axis.set_title(f"{kind}: {shown_name}", fontsize=7, color=colour)
        row_label(axes[row, 0], f"pattern {label}\nalike {alike.of_patterns[label]:.2f}")
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
    bare(axis)
