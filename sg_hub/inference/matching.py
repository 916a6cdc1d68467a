"""The same places in two scans: by the similarity of their feature maps, and how sure that is: by the way back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sg_hub.inference.feature_maps import FeatureMaps

FOUND = 0.5
"""The least score of a place that is there."""
CANDIDATES = 8
"""Places that are looked at in the other scan: the most similar ones, apart from each other."""
APART = 20.0
"""mm between candidates, at least."""
NEAR = 10.0
"""mm around a candidate in which the place is looked for whose surroundings are the most alike."""
AROUND = 16.0
"""mm from a place to the 26 others around it that are its surroundings, along each axis."""
_STEP = 4.0
"""mm between the places that are looked at near a candidate, or a cell where those are larger."""
TOLERANCE = 15.0
"""mm: a place that is mapped back so far from where it came has half the score."""
_CHUNK = 1 << 25
"""Values of similarity that are held at a time."""


@dataclass(frozen=True)
class Mapped:
    """A scan as its feature maps."""

    maps: FeatureMaps
    """Normalised."""
    voxel: tuple[float, ...]
    """mm per voxel of the network's grid, along each axis."""


@dataclass(frozen=True)
class Matches:
    """Where places of some scans are in another one."""

    places: Tensor
    """(n, 3) in voxels of the network's grid of the other scan."""
    cosine: Tensor
    """(n,): how similar the place is, -1..1."""
    back: Tensor
    """(n,): how many mm from where it came the place is mapped back to; of several templates at least
    half map it back so near."""

    @property
    def score(self) -> Tensor:
        """(n,) in 0..1: the cosine, halved for every TOLERANCE mm that the place comes back elsewhere."""
        return self.cosine.clamp(0, 1) * torch.exp2(-self.back / TOLERANCE)


def match(templates: Sequence[Mapped], places: Sequence[Tensor], other: Mapped, surroundings: bool = True) -> Matches:
    """Find places of labelled scans in another one, and look how sure that is.

    Args:
        templates, places, other, surroundings: as for `places_in`.
    """
    best = places_in(other, templates, places, surroundings)
    vectors = vectors_at(other, best)
    pairs = zip(vectors, mean_vectors(templates, places), strict=True)
    cosine = torch.stack([(a * b).sum(1) for a, b in pairs]).mean(0).clamp(min=-1)
    back = torch.stack([_back(vectors, one, at) for one, at in zip(templates, places, strict=True)])
    return Matches(best, cosine, back.median(0).values)  # of an even number the lower one


def places_in(
    other: Mapped, templates: Sequence[Mapped], places: Sequence[Tensor], surroundings: bool = True
) -> Tensor:
    """Where places of labelled scans are in another one, (n, 3) in voxels of the network's grid.

    The vectors of several templates are averaged, which is a vote: the similarity to their mean is the mean of the
    similarities. Near the most similar places, the one is taken whose surroundings are the most alike, too.

    Args:
        places: of each template the same points, (n, 3) in voxels of the network's grid.
        surroundings: absent, the most similar place itself is taken: enough where many points support each other.
    """
    count = CANDIDATES if surroundings else 1
    found = _similarities(other.maps, mean_vectors(templates, places))
    candidates = torch.cat([_peaks(similarity, other, count) for similarity in found])
    return _alike(templates, places, other, candidates) if surroundings else candidates[:, 0]


def mean_vectors(templates: Sequence[Mapped], places: Sequence[Tensor]) -> list[Tensor]:
    """Of each level, the vectors (n, channels) of the points, as the mean of the templates."""
    vectors = [vectors_at(one, at) for one, at in zip(templates, places, strict=True)]
    return [torch.stack(level).mean(0) for level in zip(*vectors, strict=True)]


def _cell(scan: Mapped) -> list[float]:
    """mm of a cell of the finest level, along each axis."""
    return [side * mm for side, mm in zip(scan.maps.strides[scan.maps.finest], scan.voxel, strict=True)]


def vectors_at(scan: Mapped, places: Tensor) -> list[Tensor]:
    """Of each level, the vectors (n, channels) of length one at places in voxels of the network's grid."""
    return [F.normalize(level) for level in scan.maps.at(places)]


def _similarities(maps: FeatureMaps, vectors: Sequence[Tensor]) -> Iterator[Tensor]:
    """(some, X, Y, Z) on the finest level's cells, a few points at a time."""
    cells = maps.levels[maps.finest][0].numel()
    step = max(1, _CHUNK // cells)
    for start in range(0, len(vectors[0]), step):
        yield maps.similarity([level[start : start + step] for level in vectors])


def _back(vectors: Sequence[Tensor], template: Mapped, origin: Tensor) -> Tensor:
    """How far (mm) from their origin (n, 3) places of the other scan are mapped back, by their vectors (n, channels) of
    each level."""
    found = []
    for similarity in _similarities(template.maps, vectors):
        flat = similarity.flatten(1).argmax(1)
        found.append(template.maps.voxels(refined(similarity, _cells(flat, similarity.shape[1:]))))
    apart: Tensor = (torch.cat(found) - origin) * origin.new_tensor(template.voxel)
    distance: Tensor = torch.linalg.vector_norm(apart, dim=1)
    return distance


def _peaks(similarity: Tensor, other: Mapped, count: int) -> Tensor:
    """The highest peaks (n, count, 3) of similarity (n, X, Y, Z), APART mm from each other, in voxels."""
    left, size = similarity.clone() if count > 1 else similarity, similarity.shape[1:]
    axes = [torch.arange(side, dtype=torch.float32) for side in size]
    cells = []
    for number in range(count):
        place = _cells(left.flatten(1).argmax(1), size)
        cells.append(refined(similarity, place))
        if number + 1 < count:
            far = [
                ((axis - place[:, i, None]) * mm) ** 2
                for i, (axis, mm) in enumerate(zip(axes, _cell(other), strict=True))
            ]
            near = far[0][:, :, None, None] + far[1][:, None, :, None] + far[2][:, None, None, :] < APART**2
            left.masked_fill_(near, -2.0)
    return other.maps.voxels(torch.stack(cells, 1))


def _alike(templates: Sequence[Mapped], points: Sequence[Tensor], other: Mapped, candidates: Tensor) -> Tensor:
    """Near each point's candidates (n, count, 3), the place (n, 3) whose surroundings are the most like those of the
    point (n, 3) in each template; all in voxels of the scan's own grid."""
    step = torch.tensor([max(_STEP, mm) for mm in _cell(other)])  # mm between places of a lattice
    near, around = (NEAR / step).ceil().long(), (AROUND / step).round().clamp(min=1).long()  # in steps
    shifts = _lattice(torch.ones(3)) * around  # (27, 3)
    at = [one[:, None] + shifts * step / step.new_tensor(t.voxel) for one, t in zip(points, templates, strict=True)]
    inside = torch.stack([_inside(t, one) for one, t in zip(at, templates, strict=True)]).all(0)  # (n, 27)
    inside[:, len(shifts) // 2] = True  # the place itself, whatever rounding does at a border
    candidates = _within(other, candidates)  # of a scan thinner than a cell
    in_voxels = step / step.new_tensor(other.voxel)
    lattice, middle = _lattice(near + around), _box(around, near)
    sides = (2 * (near + around) + 1).tolist()
    found = []
    for point, places in enumerate(candidates):
        kept = inside[point]
        wanted = mean_vectors(templates, [one[point, kept] for one in at])
        boxes = [_box(around + shift, near) for shift in shifts[kept]]
        alike, there = [], []
        for looked_at in places[:, None] + lattice * in_voxels:
            pairs = zip(wanted, vectors_at(other, looked_at), strict=True)
            each = torch.stack([a @ b.T for a, b in pairs]).sum(0).unflatten(1, sides)  # (27 or fewer, X, Y, Z)
            total = torch.stack([one[box] for one, box in zip(each, boxes, strict=True)]).sum(0)
            alike.append(total)
            there.append(_inside(other, looked_at).view(sides)[middle])
        volumes = torch.stack(alike)
        best = volumes.masked_fill(~torch.stack(there), -torch.inf).flatten(1)
        which = int(best.max(1).values.argmax())
        cell = _cells(best[which].argmax()[None], volumes.shape[1:])
        place = places[which] + (refined(volumes[which][None], cell)[0] - near) * in_voxels
        found.append(_within(other, place))
    return torch.stack(found)


def _box(corner: Tensor, near: Tensor) -> tuple[slice, ...]:
    """The places near one, in steps."""
    return tuple(slice(start, start + 2 * side + 1) for start, side in zip(corner.tolist(), near.tolist(), strict=True))


def _lattice(reach: Tensor) -> Tensor:
    """(places, 3) whole numbers from -reach to reach along each axis, in the order of an array's elements."""
    return torch.cartesian_prod(*(torch.arange(-side, side + 1) for side in reach.long().tolist()))


def _within(scan: Mapped, places: Tensor) -> Tensor:
    return places.clamp(min=-0.5).minimum(places.new_tensor(scan.maps.size) - 0.5)


def _inside(scan: Mapped, places: Tensor) -> Tensor:
    inside: Tensor = ((places >= -0.5) & (places <= places.new_tensor(scan.maps.size) - 0.5)).all(-1)
    return inside


def _cells(flat: Tensor, size: Sequence[int]) -> Tensor:
    """(n, 3) whole numbers, as floating point."""
    return torch.stack([flat // (size[1] * size[2]), flat // size[2] % size[1], flat % size[2]], 1).float()


def refined(similarity: Tensor, cells: Tensor) -> Tensor:
    """Peaks between the cells: the top of the parabola through each and its two neighbours, along every axis."""
    rows, place = torch.arange(len(cells)), cells.long()
    shift = torch.zeros_like(cells)
    for axis in range(3):
        last = similarity.shape[1 + axis] - 1
        around = []
        for step in (-1, 0, 1):
            at = place.clone()
            at[:, axis] = (at[:, axis] + step).clamp(0, last)
            around.append(similarity[rows, at[:, 0], at[:, 1], at[:, 2]])
        before, here, behind = around
        bend = before - 2 * here + behind
        inside = (place[:, axis] > 0) & (place[:, axis] < last) & (bend < -1e-6)
        shift[:, axis] = torch.where(inside, (0.5 * (before - behind) / bend.clamp(max=-1e-6)).clamp(-0.5, 0.5), 0.0)
    return cells + shift
