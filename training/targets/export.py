"""The images of a target as files, for a pre-training on them that sees no label."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from sg_hub import Image, Scan
from sg_hub.errors import InvalidInputError
from sg_hub.io.files import given_path, writing_folder

from .items import Item
from .protocol import Target

SPLIT = "split.csv"
HU = (-1000.0, 1000.0)
"""What scans are written in: the window of the recipes, where the target's own is none of whole numbers of HU."""
LEAST_WINDOW = 200
"""Of whole numbers, to be written as it is."""


def export_images(target: Target, items: Sequence[Item], folder: str | Path, *, progress: bool = True) -> Path:
    """Write each item's image on the target's grid: a scan as NIfTI in HU, a picture as PNG; and `split.csv` with the
    columns image, patient and split. Both are what a recipe of pre-training takes as source and split.

    A file is called after the target and the item, so that those of several targets can be of one source. Where items
    are resized (`grid.size`), how large a voxel is is not known, and files say 1 mm.

    Args:
        items: with their parts.
        folder: new, or empty.

    Returns:
        the folder, which is there as a whole or not at all.

    Raises:
        InvalidInputError: the folder holds something, two items would be one file, or images cannot be written so:
            several channels, slices for a 2D network, scans that keep their own spacing, values that are not finite.
        ReadError: an item cannot be read, or the folder not be written.
    """
    folder = check_new(folder)
    _check(target)
    named = [(f"{target.name}_{item.name}".replace("/", "_"), item) for item in items]
    file, count = Counter(name.lower() for name, _ in named).most_common(1)[0] if named else ("", 0)
    if count > 1:
        raise InvalidInputError(f"target {target.name}: {count} items would be the file {file!r}")
    with writing_folder(folder) as new:
        for name, item in tqdm(named, desc="writing", unit="image", disable=not progress):
            _write(target, item, new / name)
        rows = ((name, item.patient, item.split) for name, item in named)
        with open(new / SPLIT, "w", newline="", encoding="utf-8") as table:
            writer = csv.writer(table, lineterminator="\n")
            writer.writerow(("image", "patient", "split"))
            writer.writerows(sorted(rows))
    return folder


def check_new(folder: str | Path) -> Path:
    """A folder that is not there yet, or empty.

    Raises:
        InvalidInputError: it is there.
    """
    folder = given_path(folder, "the folder of the images")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InvalidInputError(f"{folder} is there already: give a new folder for the images")
    return folder


def _check(target: Target) -> None:
    why = ""
    if target.channels > 1:
        why = f"its images have {target.channels} channels, and are written of one"
    elif target.sliced:
        why = "it is of slices for a 2D network, and its data are scans: give the target of a 3D one"
    elif target.data_ndim == 3 and target.grid.size is None and target.grid.spacing is None:
        why = "its scans keep their own spacing: pre-train on their own folder, and write who is who by --split"
    if why:
        raise InvalidInputError(f"target {target.name}: {why}")


def _write(target: Target, item: Item, path: Path) -> None:
    grid = target.grid.of_scans() if target.data_ndim == 3 else target.grid.of_pictures((1, 1))
    low, high = grid.values
    image = ((target.load(item).image.astype(np.float32) - low) / (high - low)).clip(0, 1)
    if not np.isfinite(image).all():
        raise InvalidInputError(f"target {target.name}: {item.name} has values that are not finite")
    if target.data_ndim == 2:
        Image(image).save(image[0], path.with_name(f"{path.name}.png"))
        return
    own = grid.intensity == "window" and grid.high - grid.low >= LEAST_WINDOW and max(-grid.low, grid.high) < 2**15
    bottom, top = (grid.low, grid.high) if own else HU
    voxels = (bottom + (top - bottom) * image[0]).round().astype(np.int16)
    x, y, z = target.voxel or (1.0, 1.0, 1.0)
    Scan(image, (x, y, z)).save(voxels, path.with_name(f"{path.name}.nii.gz"))
