"""Scans and label maps as NIfTI files for a browser: in LPS order, and no larger than one can hold."""

from __future__ import annotations

import math

import nibabel
import numpy as np

from sg_hub.io.scan import Scan

MOST_VOXELS = 160 << 20
"""Of what is shown: 512 x 512 x 640."""
LONGEST_SIDE = 2048
"""What WebGL 2 promises of the sides of a volume."""


def steps_of(scan: Scan, most_voxels: int = MOST_VOXELS) -> tuple[int, int, int]:
    """Every how-manieth voxel is shown along x, y and z."""
    step = [math.ceil(side / LONGEST_SIDE) for side in scan.size]
    while math.prod(-(-side // each) for side, each in zip(scan.size, step, strict=True)) > most_voxels:
        finest = min(range(3), key=lambda axis: scan.spacing[axis] * step[axis])
        step[finest] += 1
    return step[0], step[1], step[2]


def nifti_bytes(scan: Scan, array: np.ndarray, most_voxels: int = MOST_VOXELS) -> bytes:
    """A NIfTI file, uncompressed, of an array (X, Y, Z) on a scan's grid: whole numbers of 8 or 16 bits where that
    changes nothing, or float32."""
    step = steps_of(scan, most_voxels)
    array = array[tuple(slice(None, None, each) for each in step)]
    if array.dtype.kind == "f" and float(array.min()) >= -32768 and float(array.max()) <= 32767:
        whole = array.astype(np.int16)
        array = whole if np.array_equal(whole, array) else array.astype(np.float32)
    affine = np.eye(4)
    affine[:3, :3] = np.array(scan.direction).reshape(3, 3) * scan.spacing * np.array(step)
    affine[:3, 3] = scan.origin
    image = nibabel.Nifti1Image(array, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)  # LPS to NIfTI's RAS
    image.header.set_xyzt_units("mm")
    data: bytes = image.to_bytes()
    return data
