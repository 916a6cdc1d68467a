"""Where every patient lies on the references: written once, by cells of a few voxels, and read by crop.

A zarr group beside the store: `<patient>` float16 (references, 4, X, Y, Z), of each cell x, y and z in the reference in
mm from its edge, and how unlike the features are there (squared distance, 0 to 4; 4 where the reference does not
reach). A patient that is a reference lies on itself as it is. How many voxels a cell has along each axis is in the
array's attributes.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from torch import Tensor
from tqdm import tqdm
from zarr.codecs import BloscCodec, Crc32cCodec

from sg_hub.errors import InvalidInputError, ReadError, shortened
from sg_hub.inference.deformation import Compared, align, bent, in_mm
from sg_hub.inference.matching import Mapped
from sg_hub.models.input_checks import per_axis

from ...data.store import Store
from ...run.processes.process_group import Process
from ...run.seeds import rng
from ..located import CELLS, mapped
from .references import OUTSIDE, References

FAR = 4.0
"""Squared distance of features where nothing is alike: the largest one."""
_ANCHORS = 100
"""Places of a reference that are looked for in a patient, for the coarse alignment."""
_CELL = 5.0
"""mm that a cell measures, at least: smaller ones take long, and give hardly more."""
_CHUNK = 16
"""Cells along each axis of what is read at once."""
_OF = "sg_hub_alignments"
"""Of the group: what the places depend on."""


class _Reference:
    """A reference as scans are compared with it."""

    def __init__(
        self, network: Any, store: Store, name: str, extent: np.ndarray, finest: int, tissue_hu: float
    ) -> None:
        self.name, self.extent = name, torch.from_numpy(extent)
        self.scan = mapped(network, store, store.names().index(name), finest)
        whole = [slice(0, side) for side in self.scan.maps.levels[self.scan.maps.finest].shape[1:]]
        self.compared = Compared(self.scan, whole)
        tissue = np.argwhere(store.whole(name)[0] > tissue_hu)
        if not len(tissue):
            raise InvalidInputError(f"the reference {name} has no voxel above discover.tissue_hu={tissue_hu:g}")
        chosen = rng(0, "anchors", name).permutation(len(tissue))[:_ANCHORS]
        self.anchors = torch.from_numpy(tissue[chosen]).float()

    def places_of(self, target: Mapped, cells: Tensor) -> Tensor:
        """(4, cells) of the target's cells (n, 3), by number; far where hardly anything is found again."""
        at = target.maps.voxels(cells)
        size = target.maps.levels[target.maps.finest].shape[1:]
        try:
            alignment = align(self.scan, target, self.anchors)
        except InvalidInputError:
            return torch.cat([torch.zeros(3, len(cells)), torch.full((1, len(cells)), FAR)])
        bending = bent(self.compared, target, [slice(0, side) for side in size], alignment)
        mm, unlike = bending.at(at, target)
        inside = ((mm > -OUTSIDE) & (mm < self.extent + OUTSIDE)).all(1)
        return torch.cat([mm.float().T, unlike.float().masked_fill(~inside, FAR)[None]])


def align_patients(
    network: Any,
    store: Store,
    references: References,
    path: Path,
    of: str,
    me: Process,
    *,
    tissue_hu: float,
    progress: bool = True,
) -> tuple[str, list[int]]:
    """Bend every patient of the store onto each reference. Each process does its share of the patients, and those that
    are there already are kept.

    Args:
        network: as `located.finder` gives it.
        path: of the zarr group, which `begin` has made.
        of: what the places depend on.
        tissue_hu: above which a voxel of a reference may be looked for in patients.

    Returns:
        a fingerprint of what was found, and in how many other patients each reference was.

    Raises:
        InvalidInputError: no reference is found in anybody else.
    """
    group, names = zarr.open_group(str(path), mode="r+"), store.names()
    mine = [number for number in range(len(names))[me.rank :: me.world] if not _is_there(group, names[number])]
    finest = _finest(network, store)
    compared = [
        _Reference(network, store, name, extent, finest, tissue_hu)
        for name, extent in zip(references.names if mine else (), references.extents, strict=False)
    ]
    for number in tqdm(mine, desc="bending scans", unit="scan", disable=not (progress and me.is_main)):
        target = mapped(network, store, number, finest)
        size = target.maps.levels[target.maps.finest].shape[1:]
        cells = torch.cartesian_prod(*(torch.arange(side, dtype=torch.float32) for side in size))
        own = in_mm(target.maps.voxels(cells), target).float().T
        own = torch.cat([own, torch.zeros(1, len(cells))])
        found = [own if names[number] == one.name else one.places_of(target, cells) for one in compared]
        places = torch.stack(found).view(len(found), 4, *size).half().numpy()
        _write(path, names[number], places, target.maps.strides[target.maps.finest], target.maps.size)
    me.barrier()
    digest, counts = hashlib.sha256(of.encode()), [0] * len(references.names)
    for name in names:
        said: Any = group[name].attrs
        digest.update(said["sha256"].encode())
        counts = [
            count + (alike and name != own)
            for count, alike, own in zip(counts, said["alike"], references.names, strict=True)
        ]
    if not any(counts):
        raise InvalidInputError(
            "no reference is found in any other patient: expected scans of the same part of the body, and "
            "regions.weights that know it"
        )
    return digest.hexdigest(), counts


def _finest(network: Any, store: Store) -> int:
    """Voxels of the cells on which scans are compared: in all scans of a store the same."""
    smallest = min(min(item.spacing) for item in store.patients)
    deepest, finest = max(per_axis(network.encoder.strides[-1], 3)), CELLS
    while finest < deepest and finest * smallest < _CELL:
        finest *= 2
    return finest


def begin(path: Path, of: str) -> bool:
    """Make the group, or go on with it; one of other references, weights or scans is begun afresh. Returns whether it
    was begun.

    Raises:
        InvalidInputError: something is there that is none.
    """
    if path.is_dir():
        there = made_of(path)
        if there == of:
            return False
        left = [one for one in path.iterdir() if not one.name.endswith(".partial")]  # zarr's own, of a killed process
        if path.is_symlink() or (there is None and left):
            raise InvalidInputError(f"{path} is none of sg_hub's: it is left as it is; give another run=FOLDER")
        if there is not None:
            print(f"{path} is of other scans, references or weights: it is made afresh", flush=True)
        shutil.rmtree(path)
    elif path.exists() or path.is_symlink():
        raise InvalidInputError(f"{path} is no folder: it is left as it is; give another run=FOLDER")
    zarr.create_group(str(path), attributes={_OF: of})
    return True


def made_of(path: Path) -> str | None:
    """What the places of a group depend on; None where there is none."""
    try:
        found = zarr.open_group(str(path), mode="r").attrs.get(_OF)
        return None if found is None else str(found)
    except (ValueError, OSError, KeyError, TypeError):
        return None


def _is_there(group: zarr.Group, name: str) -> bool:
    try:
        return "sha256" in group[name].attrs  # written last
    except (KeyError, ValueError, TypeError):
        return False


def _write(path: Path, name: str, places: np.ndarray, cell: Sequence[int], size: Sequence[int]) -> None:
    stored = zarr.open_group(str(path), mode="r+").create_array(
        name,
        shape=places.shape,
        dtype=places.dtype,
        chunks=(*places.shape[:2], *(min(_CHUNK, side) for side in places.shape[2:])),
        compressors=(BloscCodec(cname="zstd", clevel=3, shuffle="shuffle", typesize=2), Crc32cCodec()),
        fill_value=float("nan"),  # what a missing chunk is read as
        config={"write_empty_chunks": True},
        overwrite=True,
    )
    stored[:] = places
    alike = [bool((one[3] < FAR).any()) for one in places]
    stored.attrs.update({"cell": list(cell), "size": list(size), "alike": alike})
    stored.attrs["sha256"] = hashlib.sha256(places.tobytes()).hexdigest()


class Alignments:
    """What `align_patients` wrote, read by crop. Can be pickled, and read from forked and spawned processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._forget()

    def _forget(self) -> None:
        self._process, self._arrays = os.getpid(), dict[str, Any]()

    def crop(
        self,
        name: str,
        corner: Sequence[float],
        extent: Sequence[float],
        size: Sequence[int],
        reference: int | None = None,
    ) -> Tensor:
        """(references, 4, *size) float32 of a box of a patient, interpolated; outside of the scan as at its border, and
        nothing is alike.

        Args:
            corner, extent: in voxels of the stored scan, from the edge of the first one on; may reach outside.
            reference: of this one alone.

        Raises:
            ReadError: a chunk is missing or damaged.
        """
        stored = self._array(name)
        most = np.array(stored.shape[2:])
        voxels = [
            start + side * (np.arange(count) + 0.5) / count
            for start, side, count in zip(corner, extent, size, strict=True)
        ]
        at = [axis / cell - 0.5 for axis, cell in zip(voxels, stored.attrs["cell"], strict=True)]
        low = np.clip([math.floor(axis[0]) for axis in at], 0, most - 1)
        high = np.clip([math.floor(axis[-1]) + 2 for axis in at], low + 1, most)
        of = slice(None) if reference is None else slice(reference, reference + 1)
        try:
            box = stored[(of, slice(None), *map(slice, low.tolist(), high.tolist()))]
        except Exception as error:  # every codec has its own
            raise ReadError(
                f"{self.path}/{name} cannot be read ({shortened(str(error))}): run `sg-hub discover` again"
            ) from error
        places = torch.from_numpy(np.asarray(box, dtype=np.float32)).flatten(0, 1)
        if places.isnan().any():
            raise ReadError(f"{self.path}/{name} lacks chunks: copy it again, or run `sg-hub discover` again")
        inside = torch.ones(*size, dtype=torch.bool)
        for number, axis in enumerate(at):
            where = torch.from_numpy(np.clip(axis - low[number], 0, high[number] - low[number] - 1)).float()
            first = where.long().clamp(max=max(0, places.shape[1 + number] - 2))
            second, share = (first + 1).clamp(max=places.shape[1 + number] - 1), where - first
            view = [1, 1, 1, 1]
            view[1 + number] = -1
            places = places.index_select(1 + number, first).lerp(
                places.index_select(1 + number, second), share.view(view)
            )
            within = torch.from_numpy((voxels[number] > 0) & (voxels[number] < stored.attrs["size"][number]))
            inside &= within.view([-1 if one == number else 1 for one in range(3)])
        places = places.unflatten(0, (-1, 4))
        places[:, 3].masked_fill_(~inside, FAR)
        return places

    def _array(self, name: str) -> Any:
        if self._process != os.getpid():
            self._forget()
        if name not in self._arrays:
            try:
                self._arrays[name] = zarr.open_group(str(self.path), mode="r")[name]
            except Exception as error:
                raise ReadError(
                    f"{self.path} has no {name} ({shortened(str(error))}): run `sg-hub discover` again"
                ) from error
        return self._arrays[name]

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.path = state["path"]
        self._forget()
