"""How one scan is bent onto another: smoothly, so that features lie on features that are like them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sg_hub.inference.matching import Mapped, vectors_at

DIMENSIONS = 24
"""Of the vectors that are compared: the principal components of all levels' features around the labels."""
CONTROL = 16.0
"""mm between the control points that are moved."""
STEPS = 60
RATE = 1.5
"""mm that a control point is moved by in a step, at most about."""
STIFFNESS = 0.2
"""Weight of the squared strain, beside the squared distance of the features."""
_SAMPLE = 4096
"""Cells that the principal components are found on."""


class Compared:
    """The features of a labelled scan in a box of its cells, as few numbers a cell.

    Args:
        scan: the labelled scan.
        box: of the cells of its finest level.
    """

    def __init__(self, scan: Mapped, box: Sequence[slice]) -> None:
        self.scan, self.box = scan, tuple(box)
        sides = [one.stop - one.start for one in box]
        count = sides[0] * sides[1] * sides[2]
        chosen = torch.randperm(count, generator=torch.Generator().manual_seed(0))[:_SAMPLE]
        first = torch.tensor([one.start for one in box])
        cells = torch.stack(torch.unravel_index(chosen, sides), 1) + first
        joined = torch.cat(vectors_at(scan, scan.maps.voxels(cells.float())), 1)
        mean = joined.mean(0)
        _, axes = torch.linalg.eigh((joined - mean).T @ (joined - mean))
        self.axes = axes[:, -DIMENSIONS:] / len(scan.maps.levels) ** 0.5
        self.offset = mean @ self.axes
        self.vectors = self.of(scan, box)

    def of(self, scan: Mapped, box: Sequence[slice]) -> Tensor:
        """(dimensions, X, Y, Z) of a box of the cells of a scan. Levels are projected before they are interpolated: it
        is the same, and small."""
        finest = scan.maps.strides[scan.maps.finest]
        total: Tensor | float = 0.0
        parts = self.axes.split([len(level) for level in scan.maps.levels])
        for level, stride, part in zip(scan.maps.levels, scan.maps.strides, parts, strict=True):
            scale = [a // b for a, b in zip(stride, finest, strict=True)]
            # A cell more on either side, for the interpolation.
            cut = [slice(max(0, one.start // s - 1), -(-one.stop // s) + 1) for one, s in zip(box, scale, strict=True)]
            small = torch.einsum("cd,cxyz->dxyz", part, level[:, *cut].float())
            if max(scale) > 1:
                small = F.interpolate(small[None], scale_factor=tuple(map(float, scale)), mode="trilinear")[0]
            inner = [
                slice(one.start - had.start * s, one.stop - had.start * s)
                for one, had, s in zip(box, cut, scale, strict=True)
            ]
            total = total + small[:, *inner]
        assert isinstance(total, Tensor)
        centred: Tensor = total - self.offset.view(-1, 1, 1, 1)
        return centred


def bent(compared: Compared, target: Mapped, box: Sequence[slice], aligned: Tensor) -> tuple[Tensor, Tensor]:
    """Where the cells of a box of the target are in the labelled scan.

    Control points are moved down the gradient of the squared distance of the features and of the squared strain.

    Args:
        box: of the cells of the target's finest level.
        aligned: (X, Y, Z, 3) where they are aligned to, in mm from the edge of the labelled scan.

    Returns:
        (3, X, Y, Z) how many mm beside that place they are, and (X, Y, Z) the squared distance of the features there,
        0 to 4.
    """
    with torch.inference_mode(False), torch.enable_grad():
        wanted = compared.of(target, box)
        there, aligned = compared.vectors.clone(), aligned.float().clone()
        labelled = compared.scan
        cell = aligned.new_tensor(labelled.maps.strides[labelled.maps.finest]) * aligned.new_tensor(labelled.voxel)
        low = aligned.new_tensor([float(one.start) for one in compared.box]) * cell
        extent = aligned.new_tensor(there.shape[1:]) * cell
        own = [s * mm for s, mm in zip(target.maps.strides[target.maps.finest], target.voxel, strict=True)]
        sides = wanted.shape[1:]
        points = [max(2, round(side * mm / CONTROL) + 1) for side, mm in zip(sides, own, strict=True)]
        apart = [max(1, side - 1) * mm / (count - 1) for side, mm, count in zip(sides, own, points, strict=True)]
        moved = torch.zeros(1, 3, *points, dtype=torch.float32, device=aligned.device, requires_grad=True)
        optimiser = torch.optim.Adam([moved], lr=RATE)
        for step in range(STEPS + 1):
            shift = F.interpolate(moved, size=tuple(sides), mode="trilinear", align_corners=True)[0]
            place = 2 * (aligned + shift.movedim(0, -1) - low) / extent - 1
            found = F.grid_sample(there[None], place.flip(-1)[None], padding_mode="border", align_corners=False)[0]
            distance = (found - wanted).square().sum(0)
            if step == STEPS:
                return shift.detach(), distance.detach()
            inside = (place.detach().abs() < 1).all(-1)
            strain = sum((moved.diff(dim=2 + axis) / gap).square().mean() for axis, gap in enumerate(apart))
            loss = (distance * inside).sum() / inside.sum().clamp(min=1) + STIFFNESS * strain
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    raise AssertionError("the last step returns")
