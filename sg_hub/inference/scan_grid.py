"""Results on the network's grid, brought to the scan's own while they come: nothing is held twice as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sg_hub.inference.sliding_window import Size

_LINEAR = {1: "linear", 2: "bilinear"}


def collect(slabs: Iterable[Tensor], size: Size, wanted: Size) -> np.ndarray:
    """All slabs in one array (C', *wanted) float32, interpolated where the grids differ.

    Args:
        slabs: (C', some planes, ...) of a grid of `size`, in order.
        wanted: size of the scan, which covers the same extent edge to edge.
    """
    result: np.ndarray | None = None
    for first, piece in _ready(slabs, size[0], wanted[0]):
        if result is None:
            result = np.empty((piece.channels, *wanted), dtype=np.float32)
        for channel in range(piece.channels):
            result[channel, first : first + len(piece)] = piece.resized(channel, wanted).numpy()
    assert result is not None
    return result


def collect_labels(slabs: Iterable[Tensor], size: Size, wanted: Size) -> np.ndarray:
    """The most probable class of every voxel; class by class, so that one class is interpolated at a time."""
    result: np.ndarray | None = None
    for first, piece in _ready(slabs, size[0], wanted[0]):
        if result is None:
            result = np.empty(wanted, dtype=np.uint8 if piece.channels <= 256 else np.int16)
        best = piece.resized(0, wanted)
        labels = ((best > 0.5) & (piece.channels == 1)).to(torch.int16)
        for channel in range(1, piece.channels):
            values = piece.resized(channel, wanted)
            labels[values > best] = channel
            best = torch.maximum(best, values)
        result[first : first + len(piece)] = labels.numpy()
    assert result is not None
    return result


@dataclass(frozen=True)
class _Piece:
    """Planes of the network's grid, and how those of the scan lie between them."""

    planes: Tensor
    """(C', planes, ...)."""
    low: Tensor
    """Per plane of the scan: index of the plane before it."""
    high: Tensor
    share: Tensor
    """Of the plane `high`."""

    @property
    def channels(self) -> int:
        return self.planes.shape[0]

    def __len__(self) -> int:
        return len(self.low)

    def resized(self, channel: int, wanted: Size) -> Tensor:
        """One channel on the scan's grid: (planes of the scan, ...), linear along every axis."""
        planes = self.planes[channel]
        if planes.shape[1:] != wanted[1:]:
            mode = _LINEAR[planes.ndim - 1]
            planes = F.interpolate(planes[None], wanted[1:], mode=mode, align_corners=False)[0]
        if not self.share.any():
            same = torch.equal(self.low, torch.arange(len(planes)))
            return planes if same else planes[self.low]
        share = self.share.view(-1, *(1,) * (planes.ndim - 1))
        return torch.lerp(planes[self.low], planes[self.high], share)


def _ready(slabs: Iterable[Tensor], size: int, wanted: int) -> Iterator[tuple[int, _Piece]]:
    """Turn slabs of the network's `size` planes into pieces of the scan's `wanted` planes, each as soon as
    it can be.

    Both grids cover the same extent edge to edge, so that plane i of the scan lies at (i + 0.5) * size /
    wanted - 0.5.
    """
    place = ((torch.arange(wanted, dtype=torch.float64) + 0.5) * size / wanted - 0.5).clamp(0, size - 1)
    low = place.floor().long()
    high = place.ceil().long()
    share = (place - low).float()
    held: Tensor | None = None
    base = arrived = done = 0
    for slab in slabs:
        arrived += slab.shape[1]
        held = slab if held is None or not held.shape[1] else torch.cat([held, slab], dim=1)
        until = int(torch.searchsorted(high, arrived))
        if until > done:
            part = slice(done, until)
            yield done, _Piece(held, low[part] - base, high[part] - base, share[part])
            done = until
        drop = min(int(low[done]) if done < wanted else size, arrived) - base
        held, base = held[:, drop:].clone(), base + drop  # a copy, for the slab is overwritten
