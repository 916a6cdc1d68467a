"""The same places in two scans: by the similarity of their feature maps, checked both ways."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sg_hub.inference.feature_maps import FeatureMaps

CANDIDATES = 3
"""Places that are looked at in the other scan: the most similar ones, apart from each other."""
APART = 20.0
"""mm between candidates, at least."""
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
        return score_of(self.cosine, self.back)


def score_of(cosine: Tensor, back: Tensor) -> Tensor:
    return cosine.clamp(0, 1) * torch.exp2(-back / TOLERANCE)


def match(templates: Sequence[Mapped], places: Sequence[Tensor], other: Mapped) -> Matches:
    """Find places of labelled scans in another one.

    The vectors of several templates are averaged, which is a vote: the similarity to their mean is the mean of the
    similarities. Of the most similar places, the one is taken that is mapped back best.

    Args:
        places: of each template the same points, (n, 3) in voxels of the network's grid.
    """
    wanted = mean_vectors(templates, places)
    count = len(places[0])
    tops = [_peaks(found, other) for found in _similarities(other.maps, wanted)]
    cosine = torch.cat([values for values, _ in tops])  # (n, candidates)
    found = torch.cat([cells for _, cells in tops])
    flat = other.maps.voxels(found.flatten(0, 1))
    vectors = vectors_at(other, flat)
    back = torch.stack([_back(vectors, one, at) for one, at in zip(templates, places, strict=True)])
    apart = back.median(0).values.view(count, -1)  # of an even number the lower one
    best = score_of(cosine, apart).argmax(1)
    rows = torch.arange(count)
    return Matches(flat.view(count, -1, 3)[rows, best], cosine[rows, best], apart[rows, best])


def mean_vectors(templates: Sequence[Mapped], places: Sequence[Tensor]) -> list[Tensor]:
    """Of each level, the vectors (n, channels) of the points, as the mean of the templates."""
    vectors = [vectors_at(one, at) for one, at in zip(templates, places, strict=True)]
    return [torch.stack(level).mean(0) for level in zip(*vectors, strict=True)]


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
    """How far (mm) from their origin (n, 3) places of the other scan are mapped back, by their vectors
    (n * candidates, channels) of each level."""
    found = []
    for similarity in _similarities(template.maps, vectors):
        flat = similarity.flatten(1).argmax(1)
        found.append(template.maps.voxels(refined(similarity, _cells(flat, similarity.shape[1:]))))
    repeated = origin.repeat_interleave(len(vectors[0]) // len(origin), 0)
    apart: Tensor = (torch.cat(found) - repeated) * repeated.new_tensor(template.voxel)
    distance: Tensor = torch.linalg.vector_norm(apart, dim=1)
    return distance


def _peaks(similarity: Tensor, other: Mapped) -> tuple[Tensor, Tensor]:
    """The highest peaks (n, CANDIDATES) of similarity (n, X, Y, Z), APART mm from each other, and their cells
    (n, CANDIDATES, 3), which are no whole numbers."""
    left, size = similarity.clone(), similarity.shape[1:]
    step = [s * mm for s, mm in zip(other.maps.strides[other.maps.finest], other.voxel, strict=True)]
    axes = [torch.arange(side, dtype=torch.float32) for side in size]
    values, cells = [], []
    for _ in range(CANDIDATES):
        highest, flat = left.flatten(1).max(1)
        place = _cells(flat, size)
        values.append(highest.clamp(min=-1))
        cells.append(refined(similarity, place))
        far = [((axis - place[:, i, None]) * step[i]) ** 2 for i, axis in enumerate(axes)]
        near = far[0][:, :, None, None] + far[1][:, None, :, None] + far[2][:, None, None, :] < APART**2
        left.masked_fill_(near, -2.0)
    return torch.stack(values, 1), torch.stack(cells, 1)


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
