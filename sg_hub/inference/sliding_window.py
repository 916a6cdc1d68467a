"""Windows over a scan: where they lie, what they weigh, and their blended output plane by plane."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from sg_hub.errors import InvalidInputError
from sg_hub.preprocessing.scan_preprocessing import Preprocessing

_SIGMA = 0.125
"""Width of the Gaussian that weighs a window, as a share of its side."""
_LEAST_WEIGHT = 1e-3

Size = tuple[int, int, int]


@dataclass(frozen=True)
class Windows:
    """Where the windows lie on a grid, and what each weighs there."""

    size: Size
    """Of the grid, before padding."""
    patch: Size
    before: Size
    """Padding in front of each axis."""
    after: Size
    starts: tuple[tuple[int, ...], ...]
    """Of the windows along x, y, z, in the padded grid."""

    @classmethod
    def of(cls, model: nn.Module, x: Tensor, patch_size: Sequence[int] | None, overlap: float) -> Windows:
        if x.ndim != 5 or x.shape[0] != 1:
            raise InvalidInputError(f"input of shape {tuple(x.shape)}: expected one scan (1, C, X, Y, Z)")
        if isinstance(overlap, bool) or not isinstance(overlap, (int, float)) or not 0 <= overlap < 1:
            raise InvalidInputError(f"overlap={overlap!r}: expected a share from 0 to below 1, such as 0.5")
        patch = _check_patch(model, patch_size)
        size = x.shape[2:]
        missing = [max(0, side - have) for side, have in zip(patch, size, strict=True)]
        before = [short // 2 for short in missing]
        starts = (_starts(have + short, side, overlap) for have, short, side in zip(size, missing, patch, strict=True))
        after = [short - front for short, front in zip(missing, before, strict=True)]
        return cls(_size(size), patch, _size(before), _size(after), tuple(starts))

    def __len__(self) -> int:
        return math.prod(len(starts) for starts in self.starts)

    def pad(self, x: Tensor) -> Tensor:
        padding = [value for pair in zip(self.before[::-1], self.after[::-1], strict=True) for value in pair]
        return F.pad(x, padding, mode="replicate") if any(padding) else x

    def cut(self, x: Tensor, corners: Sequence[Sequence[int]]) -> Tensor:
        """(N, C, *patch): the windows at those corners of the padded (1, C, X, Y, Z)."""
        a, b, c = self.patch
        return torch.stack([x[0, :, i : i + a, j : j + b, k : k + c] for i, j, k in corners])

    def weights(self) -> list[dict[int, Tensor]]:
        """For x, y, z: what a window at a start weighs along that axis. At every voxel they add up to 1.

        Windows lie on a lattice, so that the weight of a window is the product of one factor per axis, and
        so is the sum that it is divided by.
        """
        factors = []
        for side, starts in zip(self.patch, self.starts, strict=True):
            position = (torch.arange(side, dtype=torch.float64) - (side - 1) / 2) / (_SIGMA * side)
            bell = torch.exp(-0.5 * position**2).clamp_min(_LEAST_WEIGHT)
            total = torch.zeros(starts[-1] + side, dtype=torch.float64)
            for start in starts:
                total[start : start + side] += bell
            factors.append({start: (bell / total[start : start + side]).float() for start in starts})
        return factors


def slabs_of(
    model: nn.Module, x: Tensor, windows: Windows, batch_size: int, device: torch.device, progress: bool
) -> Iterator[Tensor]:
    """The blended output, plane by plane along x: (C', some planes, Y, Z) float32, as soon as no window adds
    to them.

    Only the planes that the current windows cover are held.
    """
    x = windows.pad(x)
    along_x, along_y, along_z = windows.weights()
    rows = list(itertools.product(*windows.starts[1:]))
    side, first = windows.patch[0], windows.before[0]
    last = first + windows.size[0]
    inner = tuple(slice(start, start + size) for start, size in zip(windows.before[1:], windows.size[1:], strict=True))
    slab: Tensor | None = None
    with tqdm(total=len(windows), unit="window", disable=not progress) as bar:
        for start, following in zip(windows.starts[0], (*windows.starts[0][1:], last), strict=True):
            for batch in batches(rows, batch_size):
                found = _run(model, windows.cut(x, [(start, *row) for row in batch]).to(device)).cpu()
                if slab is None:
                    slab = torch.zeros(found.shape[1], side, *x.shape[3:])
                for (y, z), values in zip(batch, found, strict=True):
                    weight = along_x[start][:, None, None] * along_y[y][:, None] * along_z[z]
                    slab[:, :, y : y + windows.patch[1], z : z + windows.patch[2]] += values * weight
                bar.update(len(batch))
            assert slab is not None
            # The scan's planes in [start, following); what lies before `first` is padding.
            yield slab[:, max(0, first - start) : following - start][:, :, inner[0], inner[1]]
            for channel in slab:
                channel[: max(0, start + side - following)] = channel[following - start :].clone()
                channel[max(0, start + side - following) :] = 0


def _run(model: nn.Module, batch: Tensor) -> Tensor:
    """Output of the network for one batch, float32: probabilities, restoration, or what it gives."""
    with torch.inference_mode():
        found = model(batch)
        head = getattr(model, "head_name", None)
        if head == "pretext":
            found = found.restoration
        if not isinstance(found, Tensor) or found.shape[2:] != batch.shape[2:]:
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise InvalidInputError(
                f"the model gives {shape} for a patch of {tuple(batch.shape)}: expected (N, classes, X, Y, "
                "Z) of the same size"
            )
        found = found.float()
        if head == "segmentation":
            found = found.softmax(1) if found.shape[1] > 1 else found.sigmoid()
        return found


def _starts(size: int, side: int, overlap: float) -> tuple[int, ...]:
    """Evenly spread starts of windows that cover `size` with at least that overlap."""
    step = max(1, math.floor(side * (1 - overlap)))
    count = math.ceil((size - side) / step) + 1
    return tuple(i * (size - side) // max(1, count - 1) for i in range(count))


def batches(corners: Iterable[Any], batch_size: int) -> Iterator[list[Any]]:
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise InvalidInputError(f"batch_size={batch_size!r}: expected a whole number of at least 1")
    corners = iter(corners)
    while batch := list(itertools.islice(corners, batch_size)):
        yield batch


def _check_patch(model: nn.Module, patch_size: Sequence[int] | None) -> Size:
    patch = tuple(patch_size) if patch_size is not None else preprocessing_of(model).input_size
    if len(patch) != 3 or any(not isinstance(side, (int, np.integer)) or side < 1 for side in patch):
        raise InvalidInputError(f"patch_size={patch_size!r}: expected three whole numbers of voxels (x, y, z)")
    strides = getattr(getattr(model, "encoder", None), "strides", (1,))
    if any(side % strides[-1] for side in patch):
        nearest = tuple(max(1, round(side / strides[-1])) * strides[-1] for side in patch)
        raise InvalidInputError(
            f"patch_size={patch}: every side must be a multiple of {strides[-1]}, for instance {nearest}"
        )
    return _size(patch)


def _size(values: Iterable[int]) -> Size:
    x, y, z = (int(value) for value in values)
    return x, y, z


def preprocessing_of(model: nn.Module) -> Preprocessing:
    found = getattr(model, "preprocessing", None)
    if getattr(model, "NDIM", 3) != 3:
        raise InvalidInputError(
            f"a scan given to a {type(model).__name__}, which takes images: sg_hub.load_image(path) reads them; for "
            "scans load 3D weights"
        )
    if not isinstance(found, Preprocessing):
        raise InvalidInputError(
            f"{type(model).__name__} has no preprocessing: give a model of sg_hub.from_pretrained, or set "
            "model.preprocessing = sg_hub.Preprocessing(...)"
        )
    return found
