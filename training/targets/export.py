"""The images of a target as files, for a pre-training on them that sees no label."""

from __future__ import annotations

import csv
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
"""What 0 and 1 are written as where the values of the target's scans are no HU: the window of the recipes."""


def export_images(target: Target, items: Sequence[Item], folder: str | Path, *, progress: bool = True) -> Path:
    """Write each item's image on the target's grid: a scan as NIfTI in HU, a picture as PNG; and `split.csv` with the
    columns image, patient and split. Both are what a recipe of pre-training takes as source and split.

    A file is called after the target and the item, so that those of several targets can be of one source.

    Args:
        items: with their parts.
        folder: new, or empty.

    Returns:
        the folder, which is there as a whole or not at all.

    Raises:
        InvalidInputError: the folder holds something, or images have several channels.
        ReadError: an item cannot be read, or the folder not be written.
    """
    folder = given_path(folder, "the folder of the images")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InvalidInputError(f"{folder} is there already: give a new folder for the images")
    if target.channels > 1:
        raise InvalidInputError(
            f"target {target.name}: its images have {target.channels} channels, and scans are written of one"
        )
    with writing_folder(folder) as new:
        rows = []
        for item in tqdm(items, desc="writing", unit="image", disable=not progress):
            name = f"{target.name}_{item.name}".replace("/", "_")
            _write(target, item, new / name)
            rows.append((name, item.patient, item.split))
        with open(new / SPLIT, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("image", "patient", "split"))
            writer.writerows(sorted(rows))
    return folder


def _write(target: Target, item: Item, path: Path) -> None:
    image = target.load(item).image.astype(np.float32)
    if target.data_ndim == 2:
        picture = Image(image)
        picture.save(image[0].clip(0, 1), path.with_name(f"{path.name}.png"))
        return
    grid = target.grid.of_scans()
    low, high = (grid.low, grid.high) if grid.intensity == "window" else HU
    voxels = (low + (high - low) * image[0]).round().astype(np.int16)
    x, y, z = target.voxel or (1.0, 1.0, 1.0)
    Scan(image, (x, y, z)).save(voxels, path.with_name(f"{path.name}.nii.gz"))
