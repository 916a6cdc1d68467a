"""Small scans on disk, for the tests of what reads them."""

import csv
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from training.run.recipe import Recipe
from training.run.recipe_file import load_recipe

SIZE = (20, 16, 12)


def write_scan(path: Path, seed: int = 0, size=SIZE, spacing=(2.0, 2.0, 3.0)) -> Path:
    array = np.random.default_rng(seed).integers(-1500, 1500, size[::-1], dtype=np.int16)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


def write_dicom(folder: Path, slices: int = 4) -> None:
    folder.mkdir(parents=True)
    series = f"1.2.826.0.1.3680043.2.1125.{abs(hash(folder.name)) % 10**6}"
    for i in range(slices):
        image = sitk.GetImageFromArray(np.random.default_rng(i).integers(0, 900, (1, 8, 8), dtype=np.int16))
        for tag, value in (
            ("0008|0060", "CT"),
            ("0020|000e", series),
            ("0020|0032", f"0\\0\\{3 * i}"),
            ("0020|0037", "1\\0\\0\\0\\1\\0"),
            ("0020|0013", str(i)),
            ("0018|0050", "3"),
            ("0008|0018", f"{series}.{i + 1}"),
        ):
            image.SetMetaData(tag, value)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(folder / f"slice{i}.dcm"))
        writer.Execute(image)


def write_split(path: Path, rows: dict[str, str], encoding="utf-8") -> Path:
    with open(path, "w", newline="", encoding=encoding) as file:
        csv.writer(file).writerows([("patient", "split"), *rows.items()])
    return path


def write_source(folder: Path) -> Path:
    """Six patients a to f."""
    for i, name in enumerate("abcdef"):
        write_scan(folder / f"{name}.nii.gz", seed=i)
    return folder


def recipe_of(source: Path, run: Path, *overrides: str) -> Recipe:
    settings = ["prepare.workers=1", "prepare.spacing=[2.0, 2.0, 3.0]", "validation_share=0.1", "seed=3"]
    return load_recipe("demo", [f"source={source}", f"run={run}", *settings, *overrides])
