"""What a network says of every place of a scan: its feature maps over the whole of it, held in bounded memory."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from sg_hub.errors import InvalidInputError
from sg_hub.inference.running import at_home, finite
from sg_hub.inference.sliding_window import Size, Windows, batches, patch_of
from sg_hub.models.input_checks import pad_to_multiple, per_axis

Part = Literal["encoder", "decoder"]
OVERLAP = 0.25
_WINDOW = 1 << 24
"""Numbers in the first feature map of a window: the larger it is, the less of it is near a border."""
_LEAST = 1e-6
_SLAB = 16
"""Planes that are taken at a time."""


@dataclass(frozen=True)
class FeatureMaps:
    """Feature maps of one scan, each on its own grid of cells.

    Where every vector has length one (`normalised`), the similarity of two places is the mean over the levels of their
    cosines.
    """

    names: tuple[str, ...]
    """Of the levels: `encoder 0` (finest) and on, `decoder 0` (finest) and on."""
    levels: tuple[Tensor, ...]
    """(channels, X, Y, Z) in half precision: cell i covers the voxels from i * stride on of the network's grid."""
    strides: tuple[Size, ...]
    """Voxels of the network's grid per cell, along each axis."""
    size: Size
    """Voxels of the network's grid."""

    @property
    def finest(self) -> int:
        """The level with the smallest cells."""
        return min(range(len(self.levels)), key=lambda level: math.prod(self.strides[level]))

    def only(self, names: Sequence[str]) -> FeatureMaps:
        """Some of the levels."""
        kept = [self.names.index(name) for name in names]
        return FeatureMaps(
            tuple(names), tuple(self.levels[i] for i in kept), tuple(self.strides[i] for i in kept), self.size
        )

    def normalised(self) -> FeatureMaps:
        """Vectors of length one at every cell. The maps themselves are changed: they are too large to be held twice."""
        for level in self.levels:
            for plane in level.unbind(1):
                plane.copy_(F.normalize(plane.float(), dim=0, eps=_LEAST))
        return self

    def at(self, places: Tensor) -> list[Tensor]:
        """Vectors (n, channels) of each level, between the cells, at places (n, 3) in voxels of the network's grid."""
        found = []
        for level, stride in zip(self.levels, self.strides, strict=True):
            cells = (places + 0.5) / places.new_tensor(stride)  # edge to edge: 0 to the number of cells
            cells = cells.clamp(min=0).minimum(cells.new_tensor(level.shape[1:]))
            box = [  # what is looked at and its neighbours: a whole map in single precision would take long
                slice(max(0, math.floor(low) - 1), math.ceil(high) + 1)
                for low, high in zip(cells.amin(0).tolist(), cells.amax(0).tolist(), strict=True)
            ]
            near = level[:, *box]
            cells = cells - cells.new_tensor([one.start for one in box])
            grid = (2 * cells / cells.new_tensor(near.shape[1:]) - 1).flip(1)[None, :, None, None].float()
            part = F.grid_sample(near[None].float(), grid, padding_mode="border", align_corners=False)
            found.append(part[0, :, :, 0, 0].T)
        return found

    def similarity(self, vectors: Sequence[Tensor]) -> Tensor:
        """(n, X, Y, Z) float32 in -1..1 on the finest level's cells, of vectors (n, channels) of each level."""
        finest = self.finest
        size, fine = self.levels[finest].shape[1:], self.strides[finest]
        total: Tensor | float = 0.0
        for level, stride, wanted in zip(self.levels, self.strides, vectors, strict=True):
            slabs = level.split(_SLAB, dim=1)  # as single precision, which a CPU multiplies ten times as fast
            found = torch.cat([torch.einsum("nc,cxyz->nxyz", wanted, slab.float()) for slab in slabs], 1)
            scale = tuple(float(coarse // step) for coarse, step in zip(stride, fine, strict=True))
            if max(scale) > 1:
                found = F.interpolate(found[:, None], scale_factor=scale, mode="trilinear")[:, 0]
            total = total + found[:, : size[0], : size[1], : size[2]]
        assert isinstance(total, Tensor)
        return total / len(self.levels)

    def voxels(self, cells: Tensor) -> Tensor:
        """Where cells (n, 3) of the finest level have their centres, in voxels of the network's grid."""
        return (cells + 0.5) * cells.new_tensor(self.strides[self.finest]) - 0.5


def feature_maps(
    model: nn.Module,
    x: Tensor,
    *,
    names: Sequence[str],
    finest: int = 1,
    patch_size: Sequence[int] | None = None,
    batch_size: int = 1,
    progress: bool = False,
) -> FeatureMaps:
    """Feature maps of a whole preprocessed scan, window by window. The model is in evaluation mode already.

    Windows lie so that their cells fall on one another, and are blended by a Gaussian where they overlap.

    Args:
        x: (1, C, X, Y, Z), as `model.preprocess` gives it.
        names: of the levels, as `level_names` gives them.
        finest: maps with cells of fewer voxels are averaged to cells of so many.
        patch_size: window (x, y, z) in voxels; absent: as large as can be.

    Returns:
        the maps, in half precision, on the CPU.
    """
    network: Any = model
    deepest = per_axis(network.encoder.strides[-1], 3)
    patch = _patch(network, x, patch_size)
    units = Windows.of(
        tuple(-(-side // step) for side, step in zip(x.shape[2:], deepest, strict=True)),
        tuple(side // step for side, step in zip(patch, deepest, strict=True)),
        OVERLAP,
    )
    voxels = _in_cells(units, (1, 1, 1), deepest)
    padded = voxels.pad(pad_to_multiple(x, deepest))
    gathered: list[_Gathered] = []
    with tqdm(total=len(voxels), unit="window", disable=not progress) as bar, torch.inference_mode():
        for corners in batches(itertools.product(*units.starts), batch_size):
            places = [tuple(c * s for c, s in zip(corner, deepest, strict=True)) for corner in corners]
            maps = _maps_of(network, at_home(network, voxels.cut(padded, places)), names)
            if not gathered:
                gathered = [_Gathered(one, patch, deepest, units, finest, x.shape[2:]) for one in maps]
            for one, into in zip(maps, gathered, strict=True):
                into.add(one, corners)
            bar.update(len(corners))
    return FeatureMaps(
        tuple(names),
        tuple(_held(one.finished(), network, name) for one, name in zip(gathered, names, strict=True)),
        tuple(one.stride for one in gathered),
        tuple(x.shape[2:]),
    )


def _held(map_: Tensor, model: nn.Module, name: str) -> Tensor:
    """A map in half precision that is numbers.

    Raises:
        InvalidInputError: it is not, because its windows were not or went beyond half precision.
    """
    try:
        return finite(map_, model)
    except InvalidInputError as error:
        raise InvalidInputError(
            f"{error}; or its features ({name}) are above 65504, the largest number of the half precision in which "
            "maps of whole scans are held"
        ) from None


def level_names(model: Any, part: str) -> list[str]:
    """Names of the levels of a model's encoder, or of its decoder (and the deepest map, from which it starts), finest
    first."""
    count = len(model.encoder.channels) if part == "encoder" else len(model.decoder.levels) + 1
    return [f"{part} {level}" for level in range(count)]


def has_decoder(model: Any) -> bool:
    """Whether the levels of a model's decoder can be had."""
    return hasattr(getattr(model, "decoder", None), "maps")


def _maps_of(model: Any, x: Tensor, names: Sequence[str]) -> list[Tensor]:
    """The named feature maps of a batch (N, C, X, Y, Z)."""
    features: list[Tensor] = model.encoder(x)
    found = {f"encoder {level}": one for level, one in enumerate(features)}
    if any(name.startswith("decoder") for name in names):
        found |= {f"decoder {level}": one for level, one in enumerate(model.decoder.maps(features))}
    return [found[name] for name in names]


class _Gathered:
    """One map of the whole scan, into which windows are blended."""

    def __init__(self, first: Tensor, patch: Size, deepest: Size, units: Windows, finest: int, size: Size) -> None:
        own = tuple(side // have for side, have in zip(patch, first.shape[2:], strict=True))
        self.stride: Size = tuple(min(max(step, finest), deep) for step, deep in zip(own, deepest, strict=True))
        self._pool = tuple(step // have for step, have in zip(self.stride, own, strict=True))
        self._windows = _in_cells(units, self.stride, deepest)
        self._weights = self._windows.weights()
        self._per_unit = tuple(deep // step for deep, step in zip(deepest, self.stride, strict=True))
        self._inner = tuple(
            slice(start, start - (-side // step))
            for start, side, step in zip(self._windows.before, size, self.stride, strict=True)
        )
        ends = (starts[-1] + side for starts, side in zip(self._windows.starts, self._windows.patch, strict=True))
        self._total = torch.zeros(first.shape[1], *ends, dtype=torch.float16)

    def add(self, maps: Tensor, corners: Sequence[Size]) -> None:
        """Maps (N, channels, ...) of windows at those corners, in units of the deepest stride."""
        if max(self._pool) > 1:
            maps = F.avg_pool3d(maps.float(), self._pool)  # a CPU does not do it in half precision
        for values, corner in zip(maps.float().cpu(), corners, strict=True):
            place = tuple(c * per for c, per in zip(corner, self._per_unit, strict=True))
            x, y, z = (factors[start] for factors, start in zip(self._weights, place, strict=True))
            weighted = values * x[:, None, None] * y[:, None] * z
            self._total[(slice(None), *self._windows.place(place))] += weighted.half()

    def finished(self) -> Tensor:
        """(channels, cells of the scan)."""
        return self._total[(slice(None), *self._inner)].clone()


def _in_cells(units: Windows, stride: Size, deepest: Size) -> Windows:
    """Windows that are counted in the deepest stride, in cells of another."""
    per = tuple(deep // step for deep, step in zip(deepest, stride, strict=True))
    return Windows(
        tuple(side * count for side, count in zip(units.size, per, strict=True)),
        tuple(side * count for side, count in zip(units.patch, per, strict=True)),
        tuple(start * count for start, count in zip(units.before, per, strict=True)),
        tuple(tuple(start * count for start in starts) for starts, count in zip(units.starts, per, strict=True)),
    )


def _patch(model: Any, x: Tensor, patch_size: Sequence[int] | None) -> Size:
    """The window: as given, or the whole scan; of a large scan the fewest parts that overlap and can be held."""
    deepest = per_axis(model.encoder.strides[-1], 3)
    if patch_size is not None:  # none larger than the scan: its border is of this size
        whole = (math.ceil(side / step) * step for side, step in zip(x.shape[2:], deepest, strict=True))
        return tuple(map(min, patch_of(model, patch_size, 3), whole))
    counts = [1, 1, 1]
    while True:
        parts = [side / (count - OVERLAP * (count - 1)) for side, count in zip(x.shape[2:], counts, strict=True)]
        patch = tuple(math.ceil(part / step) * step for part, step in zip(parts, deepest, strict=True))
        axis = max(range(3), key=lambda axis: patch[axis])
        if math.prod(patch) * model.encoder.channels[0] <= _WINDOW or patch[axis] == deepest[axis]:
            return patch
        counts[axis] += 1
