"""The picture of dense patterns: the regions of a reference, and where they are in other patients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...data.leakage import patient_hashes
from ...data.store import Store
from ...run.pages.figures import bare, plt, row_label, save
from ..cubes import to_network
from .alignments import Alignments
from .references import References, in_mm, smoothed

PATIENTS = 5
UNLIKE = 0.5
"""Squared distance of features from which on nothing is drawn."""


_AT_ONCE = 1 << 14
"""Points whose distances are held together."""


def regions_of_patients(store: Store, references: References, alignments: Alignments, path: Path, dataset: str) -> None:
    """A coronal plane of the first reference and, of patients of all splits, the plane that lies on it in the middle;
    below, the same with its regions in colours, which are those of the reference's.

    Args:
        dataset: short name of the data set: patients stand in the figure under the hashes that the weights' provenance
            has.
    """
    first = store.names().index(references.names[0])
    others = [number for number in range(len(store.patients)) if number != first]
    shown = [
        first,
        *(others[i] for i in np.linspace(0, len(others) - 1, min(PATIENTS, len(others))).round().astype(int)),
    ]
    side = np.array([np.array(store.patients[n].shape) * store.patients[n].spacing for n in shown]).max(0)[[0, 2]]
    figure, axes = plt.subplots(
        2, len(shown), figsize=(1.8 * len(shown), 2 * 1.8 * side[1] / side[0] + 0.4), squeeze=False
    )
    colours = np.random.default_rng(0).uniform(0.15, 1.0, (references.middles.shape[1], 3))
    for column, number in enumerate(shown):
        item = store.patients[number]
        scan = to_network(store.whole(item.name)[:1], store.window, item.shape)
        places = alignments.crop(item.name, [0] * 3, item.shape, item.shape, reference=0)[0]
        row = _row_at(places, references.extents[0, 1] / 2)
        grey = scan[0, :, row].numpy()
        value = in_mm(smoothed(scan[None])[0, :, row], references.scale)
        region = nearest(torch.cat([places[:3, :, row], value[None]]), torch.from_numpy(references.middles[0]))
        drawn = colours[region.numpy()] * (0.35 + 0.65 * grey[..., None])
        drawn[(places[3, :, row] > UNLIKE).numpy() | (grey < 0.35)] = 0
        width, height = item.shape[0] * item.spacing[0], item.shape[2] * item.spacing[2]
        for axis, plane in zip(axes[:, column], (grey, drawn), strict=True):
            extent = (-width / 2, width / 2, -height, 0)
            axis.imshow(plane.swapaxes(0, 1)[::-1], cmap="gray", vmin=0.3, vmax=0.7, extent=extent)
            axis.set(xlim=(-side[0] / 2, side[0] / 2), ylim=(-side[1], 0), facecolor="black")
            bare(axis)
        (hashed,) = patient_hashes(dataset, [item.patient])
        axes[0, column].set_title("reference" if column == 0 else f"{item.split}: {hashed}", fontsize=7)
    row_label(axes[0, 0], "coronal")
    row_label(axes[1, 0], "regions")
    save(figure, path)


def nearest(points: Tensor, middles: Tensor) -> Tensor:
    """The number of the nearest of the middles (n, 4) to each of the points (4, ...)."""
    parts = points.flatten(1).T.float().split(_AT_ONCE)
    return torch.cat([torch.cdist(part, middles).argmin(1) for part in parts]).view(points.shape[1:])


def _row_at(places: Tensor, mm: float) -> int:
    """The coronal plane whose voxels lie, in the median, nearest to this depth of the reference."""
    lies = places[3] < UNLIKE
    depth = [
        float(places[1, :, row][lies[:, row]].median()) if lies[:, row].any() else np.inf
        for row in range(places.shape[2])
    ]
    off = np.abs(np.array(depth) - mm)
    return int(off.argmin()) if np.isfinite(off).any() else places.shape[2] // 2
