"""One scan in files of several orientations, with its labels; no mirror image of it is like it."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

ORIENTATIONS = ("RAS", "LPS", "LAS", "PIR", "oblique")


def write_oriented(folder: Path, orientation: str) -> tuple[Path, Path]:
    """ct.nii.gz and labels.nii.gz, 20 x 16 x 12 voxels of 2 x 1.5 x 3 mm along the axes of the file."""
    rng = np.random.default_rng(0)
    array = rng.integers(-900, 900, (20, 16, 12)).astype(np.int16)
    labels = np.zeros(array.shape, np.uint8)
    labels[:10, :6, :4], labels[15:, :, :2] = 1, 2
    if orientation == "oblique":
        angle = np.deg2rad(20)
        rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        affine = np.eye(4)
        affine[:3, :3] = rotation @ np.diag([-2, 1.5, 3])
        affine[:3, 3] = (12, -30, 7)
    else:
        own = nib.orientations.axcodes2ornt(orientation)
        affine = nib.orientations.inv_ornt_aff(own, array.shape) @ np.diag([2, 1.5, 3, 1])
        affine[:3, 3] += (12, -30, 7)
    paths = folder / "ct.nii.gz", folder / "labels.nii.gz"
    for path, values in zip(paths, (array, labels), strict=True):
        nib.save(nib.Nifti1Image(values, affine), path)
    return paths
