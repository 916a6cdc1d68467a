"""How one scan is bent onto another: smoothly, so that features lie on features that are like them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sg_hub.errors import InvalidInputError
from sg_hub.inference.matching import FOUND, Mapped, match, vectors_at

DIMENSIONS = 24
"""Of the vectors that are compared: the principal components of all levels' features around the labels."""
CONTROL = 16.0
"""mm between the control points that are moved."""
STEPS = 90
RATE = 2.0
"""mm that a control point is moved by in the first step, at most about; in later ones less, down to 0."""
STIFFNESS = 0.2
"""Weight of the squared strain, beside the squared distance of the features."""
_LEAST_ANCHORS = 8
_SAMPLE = 4096
"""Cells that the principal components are found on."""


def align(labelled: Mapped, target: Mapped, anchors: Tensor) -> Tensor:
    """(4, 3): mm in the target, with a 1 behind them, to mm in the labelled scan, both from the scan's edge. Anchors
    that do not fit the others are left out.

    Args:
        anchors: (n, 3) places of the labelled scan, in voxels of its network's grid.

    Raises:
        InvalidInputError: hardly any anchor is found in the target.
    """
    found = match([labelled], [anchors], target, surroundings=False)
    sure = found.score >= FOUND
    there, here = in_mm(found.places[sure], target), in_mm(anchors[sure], labelled)
    if len(there) < _LEAST_ANCHORS:
        raise InvalidInputError(
            f"of {len(anchors)} places around the labels {len(there)} are found in the other scan: expected two scans "
            "of the same part of the body, and weights that know it"
        )
    scale = there.std(0).clamp(min=1.0)
    middle = there.mean(0)
    solution = torch.zeros(4, 3, dtype=torch.float64)
    kept = torch.ones(len(there), dtype=torch.bool)
    for _ in range(6):
        # Towards a shift alone where few anchors are left: what they do not say stays as it is.
        x, y = with_one((there[kept] - middle) / scale), here[kept] - there[kept]
        ridge = torch.diag(x.new_tensor([2.0, 2.0, 2.0, 0.0]))
        solution = torch.linalg.solve(x.T @ x + ridge, x.T @ y)
        error = (with_one((there - middle) / scale) @ solution + there - here).norm(dim=1)
        kept = error <= max(10.0, float(2 * error.median()))
    linear = solution[:3] / scale[:, None]
    return torch.cat([linear + torch.eye(3, dtype=torch.float64), (solution[3] - middle @ linear)[None]])


@dataclass(frozen=True)
class Bending:
    """How a target lies on another scan."""

    alignment: Tensor
    """(4, 3), as `align` gives it."""
    displacement: Tensor
    """(3, X, Y, Z) mm on the finest cells of the target: how far beside its aligned place each one is."""
    distance: Tensor
    """(X, Y, Z) there: the squared distance of the features, 0 to 4."""

    def at(self, places: Tensor, target: Mapped) -> tuple[Tensor, Tensor]:
        """Where places (n, 3) in voxels of the target's network grid are in the other scan, (n, 3) in mm from its edge,
        and (n,) the squared distance of the features."""
        cells = (places + 0.5) / places.new_tensor(target.maps.strides[target.maps.finest])
        grid = (2 * cells / cells.new_tensor(self.distance.shape) - 1).flip(1)[None, :, None, None].float()
        fields = torch.cat([self.displacement, self.distance[None]])[None]
        found = F.grid_sample(fields, grid, padding_mode="border", align_corners=False)[0, :, :, 0, 0].T
        return with_one(in_mm(places, target)) @ self.alignment + found[:, :3], found[:, 3]


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


def bent(compared: Compared, target: Mapped, box: Sequence[slice], alignment: Tensor) -> Bending:
    """Where the cells of a box of the target are in the labelled scan.

    Control points are moved down the gradient of the squared distance of the features and of the squared strain.

    Args:
        box: of the cells of the target's finest level; the others are only aligned, and at no distance.
        alignment: as `align` gives it.
    """
    with torch.inference_mode(False), torch.enable_grad():
        wanted, there = compared.of(target, box), compared.vectors.clone()
        cells = torch.stack(
            torch.meshgrid(
                *(torch.arange(float(one.start), one.stop, dtype=torch.float32) for one in box), indexing="ij"
            ),
            -1,
        )
        aligned = with_one(in_mm(target.maps.voxels(cells.flatten(0, 2)), target)) @ alignment
        aligned = aligned.view(*cells.shape).float()
        labelled = compared.scan
        cell = aligned.new_tensor(labelled.maps.strides[labelled.maps.finest]) * aligned.new_tensor(labelled.voxel)
        low = aligned.new_tensor([float(one.start) for one in compared.box]) * cell
        extent = aligned.new_tensor(there.shape[1:]) * cell
        own = [s * mm for s, mm in zip(target.maps.strides[target.maps.finest], target.voxel, strict=True)]
        sides = wanted.shape[1:]
        points = [max(2, round(side * mm / CONTROL) + 1) for side, mm in zip(sides, own, strict=True)]
        apart = [max(1, side - 1) * mm / (count - 1) for side, mm, count in zip(sides, own, points, strict=True)]
        between = [_interpolation(side, count).to(aligned.device) for side, count in zip(sides, points, strict=True)]
        moved = torch.zeros(3, *points, dtype=torch.float32, device=aligned.device, requires_grad=True)
        optimiser = torch.optim.Adam([moved], lr=RATE)
        for step in range(STEPS + 1):
            # Of two neighbours along an axis one at a time, in turn, where control points are not nearer than that.
            some: tuple[slice, ...] = tuple(
                slice(step >> axis & 1, None, 2) if step < STEPS and side > 1 and 2 * mm <= CONTROL else slice(None)
                for axis, (side, mm) in enumerate(zip(sides, own, strict=True))
            )
            shift = torch.einsum(
                "dijk,xi,yj,zk->dxyz", moved, *(one[part] for one, part in zip(between, some, strict=True))
            )
            place = 2 * (aligned[some] + shift.movedim(0, -1) - low) / extent - 1
            found = F.grid_sample(there[None], place.flip(-1)[None], padding_mode="border", align_corners=False)[0]
            distance = (found - wanted[:, *some]).square().sum(0)
            if step == STEPS:
                break
            inside = (place.detach().abs() < 1).all(-1)
            strain = sum((moved.diff(dim=1 + axis) / gap).square().mean() for axis, gap in enumerate(apart))
            loss = (distance * inside).sum() / inside.sum().clamp(min=1) + STIFFNESS * strain
            optimiser.param_groups[0]["lr"] = RATE * (1 - step / STEPS)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    size = target.maps.levels[target.maps.finest].shape[1:]
    fields = torch.zeros(4, *size, dtype=torch.float32)
    fields[(slice(None), *box)] = torch.cat([shift, distance[None]]).detach()
    return Bending(alignment, fields[:3], fields[3])


def in_mm(places: Tensor, scan: Mapped) -> Tensor:
    """Voxels of a network's grid to mm from the scan's edge, double precision."""
    return (places.double() + 0.5) * places.new_tensor(scan.voxel, dtype=torch.float64)


def with_one(x: Tensor) -> Tensor:
    return torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)


def _interpolation(cells: int, points: int) -> Tensor:
    """(cells, points): linear, from control points at both ends and evenly between them."""
    at = torch.linspace(0, points - 1, cells, dtype=torch.float32)[:, None]
    return (1 - (at - torch.arange(points)).abs()).clamp(min=0)
