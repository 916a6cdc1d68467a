"""What a network takes, with an affine: for tools whose images are arrays and affines in RAS (MONAI, TorchIO)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sg_hub.errors import InvalidInputError
from sg_hub.io.formats.orientation import FileGrid, from_affine, grid_of
from sg_hub.io.scan import Scan
from sg_hub.models.wrapped import unwrapped
from sg_hub.preprocessing.preprocessing import Preprocessing
from sg_hub.preprocessing.steps import resize_labels, tensor_of


@dataclass(frozen=True)
class Taken:
    """What a network takes, without the network."""

    preprocessing: Preprocessing
    in_chans: int | None
    """Absent: those that a scan has."""


def taken_by(model: Any) -> Taken:
    """What a model takes, or how a preprocessing by itself takes scans.

    Raises:
        InvalidInputError: it takes images, or is neither.
    """
    model = unwrapped(model)
    preprocessing = getattr(model, "preprocessing", model)
    if not isinstance(preprocessing, Preprocessing):
        raise InvalidInputError(
            f"{type(model).__name__}: expected a model of scans (3D) as sg_hub.from_pretrained gives it, or a "
            "Preprocessing"
        )
    return Taken(preprocessing, getattr(model, "in_chans", None))


def prepared(taken: Taken, scan: Scan, labels: bool) -> tuple[Tensor, np.ndarray]:
    """A scan, or a label map of one, on the network's grid.

    Returns:
        (C, X, Y, Z) float32, x to the patient's left, y to posterior, z to superior: values as the network takes them,
        or the label of the nearest voxel; and the affine of that grid (4, 4), voxels to mm in RAS.
    """
    size = taken.preprocessing.grid_size(scan)
    x = resize_labels(tensor_of(scan.array)[None], size) if labels else taken.preprocessing.apply(scan, taken.in_chans)
    scale = np.array(scan.size) / size
    step = np.diag([*scale, 1.0])
    step[:3, 3] = (scale - 1) / 2  # the outer edges stay where they are
    return x[0], scan.affine @ step


def brought_back(preprocessing: Preprocessing, x: Tensor, size: Any, affine: np.ndarray, nearest: bool) -> Tensor:
    """(C, i, j, k), a result on the network's grid, on the grid and along the axes that the array came with.

    Args:
        size, affine: of that array.
        nearest: take the nearest value, as for labels, instead of interpolating.
    """
    grid: FileGrid = grid_of(from_affine(np.broadcast_to(np.float32(0), (1, *size)), affine, "array"))
    sides = [grid.size[axis] for axis in grid.axes]
    spacing = [grid.spacing[axis] for axis in grid.axes]
    scan = Scan(np.broadcast_to(np.float32(0), (1, *sides)), (spacing[0], spacing[1], spacing[2]))
    wanted = preprocessing.grid_size(scan)
    if tuple(x.shape[1:]) != wanted:
        raise InvalidInputError(f"result of shape {tuple(x.shape)}: expected (C, {', '.join(map(str, wanted))})")
    back = resize_labels(x[None], scan.size) if nearest else preprocessing.restore_grid(x[None], scan)
    return torch.from_numpy(np.ascontiguousarray(grid.file_view(back[0].cpu().numpy())))
