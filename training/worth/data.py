"""The items of a target as weights take them: on the weights' own grid, with feature maps that are kept on disk."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.inference.feature_maps import FeatureMaps, feature_maps, has_decoder, level_names
from sg_hub.io.files import write_atomic

from ..run.precision import bfloat16
from ..run.seeds import rng
from ..targets import Item, Target, in_parts
from ..targets.sections import Grid
from ..trials.task.initialisation import Initialisation, seen_by
from ..trials.task.item_arrays import ITEMS, ItemArrays
from ..trials.task.prepared_task import described, find_items, read_items
from .networks import Contender

STRIDE = 2
"""Voxels of the smallest cells of feature maps."""
_HELD = 1 << 30
"""Bytes of feature maps in memory."""


class Data:
    """Items of a target, by part.

    Args:
        others: what the weights are held against: whom one of them has seen is tested in none.
    """

    def __init__(
        self,
        target: Target,
        contender: Contender,
        out: Path,
        *,
        others: Sequence[Initialisation] = (),
        progress: bool = True,
    ) -> None:
        self.target = on_grid_of(target, contender)
        found = find_items(self.target, [contender.start], seen=seen_by(others), progress=progress)
        task = read_items(found, out, progress=progress)
        self.parts, self.arrays, self.scored = in_parts(task.items), task.arrays, task.scored

    @property
    def voxel(self) -> tuple[float, float, float]:
        """mm. Resampling keeps the edges of a scan, so that a voxel of it differs by less than a percent."""
        spacing = self.target.grid.spacing
        assert spacing is not None
        return spacing

    def patches(self, size: tuple[int, ...]) -> Iterator[Tensor]:
        """Clean random patches (C, *size) of training items; the same ones at every call."""
        noise, items = rng("worth", "patches"), self.parts["train"]
        few = [items[i] for i in noise.permutation(len(items))[:16]]
        while True:
            image = self.arrays[few[noise.integers(len(few))]][0].float()
            short = [max(0, side - have) for side, have in zip(size, image.shape[1:], strict=True)]
            if any(short):
                padding = [value for amount in reversed(short) for value in (0, amount)]
                image = torch.nn.functional.pad(image[None], padding, mode="replicate")[0]
            corner = [int(noise.integers(have - side + 1)) for side, have in zip(size, image.shape[1:], strict=True)]
            yield image[(slice(None), *(slice(c, c + side) for c, side in zip(corner, size, strict=True)))]


def data_key(target: Target, starts: Sequence[Initialisation], out: Path) -> str:
    """A hash of the items, their parts and what is in their files; empty where they are not there: who measures
    something says so."""
    try:
        arrays, items = ItemArrays(target, out / ITEMS), target.split_items(seen_by(starts)).items
        text = json.dumps(described(items, arrays))
    except ReadError:
        return ""
    arrays.save_hashes()
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def on_grid_of(target: Target, contender: Contender) -> Target:
    """The target with the scans as the weights expect them; a classification stays on its own grid.

    Raises:
        InvalidInputError: a task that cannot be measured, or of which no spacing is known.
    """
    if target.ndim != contender.start.ndim or target.sliced:
        raise InvalidInputError(
            f"target {target.name} takes {target.ndim}D networks{' on slices' if target.sliced else ''}; "
            f"{contender.start.init} is {contender.start.ndim}D: give a target of their dimensions"
        )
    if target.head != "segmentation" or target.ndim == 2:
        return target
    own: Any = contender.start.config["preprocessing"]
    spacing = own.spacing or target.grid.spacing
    if spacing is None:
        raise InvalidInputError(
            f"target {target.name}: neither the weights nor the target says a spacing: give grid.spacing=[x, y, z]"
        )
    grid = Grid(intensity=own.intensity, low=own.low, high=own.high, spacing=spacing)
    settings = target.settings.model_copy(update={"patch": tuple(own.input_size)})
    return target.model_copy(update={"grid": grid, "settings": settings})


class Held:
    """The feature maps that were asked for last, in bounded memory."""

    def __init__(self) -> None:
        self._maps: OrderedDict[str, FeatureMaps] = OrderedDict()
        self._bytes = 0

    def get(self, name: str, make: Callable[[], FeatureMaps]) -> FeatureMaps:
        """Those of that name, made where they are not held."""
        if name not in self._maps:
            maps = make()
            self._maps[name] = maps
            self._bytes += _size(maps)
        self._maps.move_to_end(name)
        while self._bytes > _HELD and len(self._maps) > 1:
            self._bytes -= _size(self._maps.popitem(last=False)[1])
        return self._maps[name]


class Maps:
    """Feature maps of items by one network, of all levels of its encoder and its decoder; kept in a folder until
    `clear`, and the last ones in memory.

    Args:
        folder: named by all that they depend on, for a stopped run leaves them; beside others of the kind.
    """

    def __init__(self, network: Any, data: Data, folder: Path) -> None:
        self.network, self.data, self.folder = network, data, folder
        self.encoder = level_names(network, "encoder")
        self.decoder = level_names(network, "decoder") if has_decoder(network) else []
        self._held = Held()

    def __getitem__(self, item: Item) -> FeatureMaps:
        return self._held.get(item.name, lambda: self._of(item))

    def _of(self, item: Item) -> FeatureMaps:
        path = self.folder / f"{hashlib.sha256(item.name.encode()).hexdigest()[:20]}.pt"
        if path.is_file():
            state = torch.load(path, weights_only=True)
            maps = FeatureMaps(*(tuple(state[key]) for key in ("names", "levels", "strides", "size")))
        else:
            x = self.data.arrays[item][0].float()[None]
            names = [*self.encoder, *self.decoder]
            with bfloat16(next(self.network.parameters()).device):
                maps = feature_maps(self.network, x, names=names, finest=STRIDE)
            buffer = io.BytesIO()
            state = {"names": maps.names, "levels": maps.levels, "strides": maps.strides, "size": maps.size}
            torch.save(state, buffer)
            write_atomic(path, buffer.getvalue())
        return maps

    def clear(self) -> None:
        """Forget what is on disk, with what a stopped run of others left: feature maps are large, and made again in
        seconds."""
        shutil.rmtree(self.folder.parent, ignore_errors=True)


def _size(maps: FeatureMaps) -> int:
    return sum(2 * level.numel() for level in maps.levels)


def centre(mask: np.ndarray) -> np.ndarray:
    """Of a mask (X, Y, Z), in voxels."""
    result: np.ndarray = np.argwhere(mask).mean(0)
    return result
