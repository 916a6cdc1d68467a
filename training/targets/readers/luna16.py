"""Nodule candidates in chest CT: LUNA16 as downloaded.

On disk: `subset0` to `subset9` with `<series>.mhd` and `.raw`, and `candidates_V2.csv` with the columns seriesuid,
coordX, coordY, coordZ (world coordinates in mm, LPS) and class (1 nodule, 0 none). Subsets 0-4 are for training, 5-6
for validation, 7-9 for test, as in the paper. Cubes are read as regions of the scan: the scans are not decoded whole.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import numpy as np
from pydantic import NonNegativeInt

from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.io.finder import walk
from sg_hub.io.formats.meta_image import check_meta_image

from ...data.csv_table import numbered_rows
from ...run.recipe import Split
from ...run.seeds import rng
from ..items import Found, Item, LoadedItem
from ..on_grid import AIR, box, cube_on_grid
from ..protocol import Target

PARTS: dict[int, Split] = {n: "train" if n < 5 else "validation" if n < 7 else "test" for n in range(10)}


class Luna16(Target):
    """Nodule or not: reduction of false positives."""

    table: str = "candidates_V2.csv"
    """CSV of the candidates, below root."""
    negatives_per_scan: NonNegativeInt = 20
    """Candidates that are no nodule, drawn by the name of the scan (of 750,000); 0: all of them. The AUC does not
    depend on how many there are, but for its scatter."""

    def find(self) -> Found:
        folder, found = self.folder(), Found()
        scans: dict[str, tuple[Path, Split]] = {}
        for path in (place / name for place, names in walk(folder) for name in names if name.endswith(".mhd")):
            subset = re.fullmatch(r"subset(\d)", path.parent.name)
            if subset is None:
                continue
            if path.stem in scans:
                raise InvalidInputError(f"scan {path.stem} is in two subsets: {scans[path.stem][0]} and {path}")
            scans[path.stem] = (path, PARTS[int(subset.group(1))])
        if not scans:
            raise ReadError(f"{folder} holds no subset*/*.mhd: give root=FOLDER of LUNA16 as it is downloaded")
        rows: dict[str, list[tuple[tuple[float, ...], int]]] = defaultdict(list)
        columns = ("seriesuid", "coordX", "coordY", "coordZ", "class")
        for number, row in numbered_rows(folder / self.table, columns):
            try:
                label = int(row["class"])
                if label not in (0, 1):
                    raise ValueError(f"class {label}")
                rows[row["seriesuid"]].append((tuple(float(row[c]) for c in columns[1:4]), label))
            except ValueError as error:
                raise ReadError(f"{folder / self.table}, line {number}: {error}; expected numbers") from error
        for series, candidates in sorted(rows.items()):
            if series not in scans:
                found.skipped[series] = f"its .mhd is in no subset ({len(candidates)} candidates)"
                continue
            path, part = scans[series]
            for index in self._drawn(series, [label for _, label in candidates]):
                place, label = candidates[index]
                found.items.append(Item(f"{series}_{index}", series, str(path), label, place, part))
        return found

    def _drawn(self, series: str, labels: list[int]) -> list[int]:
        """Numbers of the scan's candidates to use: every nodule, and some of the others."""
        others = [i for i, label in enumerate(labels) if label == 0]
        if 0 < self.negatives_per_scan < len(others):
            order = rng("negatives", self.splits.seed, series).permutation(len(others))
            others = [others[i] for i in order[: self.negatives_per_scan]]
        return sorted([i for i, label in enumerate(labels) if label] + others)

    def load(self, item: Item) -> LoadedItem:
        assert self.grid.size is not None
        cube = read_cube(Path(item.image), item.place, self.grid.size, self.grid.spacing)
        return cube_on_grid(self, cube[None], np.array(item.label, dtype=np.int64))


def read_cube(
    path: Path, centre: tuple[float, ...], size: tuple[int, ...], spacing: tuple[float, float, float] | None
) -> np.ndarray:
    """The cube around a point, in HU; air where it reaches beyond the scan.

    Args:
        centre: (x, y, z) in mm, LPS.
        size: voxels (x, y, z) of `spacing`, or of the scan's own where that is None.

    Returns:
        (X, Y, Z) in LPS order, in voxels of the scan.

    Raises:
        ReadError: a missing or truncated file.
        InvalidInputError: a centre outside of the scan, or a header that `load_scan` would refuse.
    """
    import SimpleITK as sitk

    check_meta_image(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        voxel = reader.GetSpacing()
        direction = np.array(reader.GetDirection()).reshape(3, 3)
        index = np.linalg.solve(direction * voxel, np.array(centre) - reader.GetOrigin())
        full = np.array(reader.GetSize())
        if (index < -0.5).any() or (index > full - 0.5).any():
            raise InvalidInputError(
                f"{path}: the candidate at {np.round(centre, 1)} mm is voxel {np.round(index, 1)} of "
                f"{tuple(full)}, outside of the scan; are the coordinates of this scan?"
            )
        axes = np.abs(direction).argmax(axis=0)  # of the patient, for every axis of the file
        wanted = np.array([size[axis] * (spacing[axis] / voxel[i] if spacing else 1) for i, axis in enumerate(axes)])
        wanted = np.maximum(1, np.round(wanted)).astype(int)
        corner = np.floor(index - wanted / 2 + 1).astype(int)
        low, high = np.maximum(corner, 0), np.minimum(corner + wanted, full)
        reader.SetExtractIndex([int(v) for v in low])
        reader.SetExtractSize([int(v) for v in high - low])
        image = reader.Execute()
    except np.linalg.LinAlgError as error:
        raise ReadError(f"{path} is damaged: its axes (TransformMatrix) are not three directions") from error
    except RuntimeError as error:
        raise ReadError(f"{path}, or the .raw beside it, is missing or truncated: download it again") from error
    array = sitk.GetArrayFromImage(image).transpose(2, 1, 0).astype(np.float32)
    array = box(array, [int(v) for v in corner - low], [int(v) for v in wanted], AIR)
    order = [int(np.flatnonzero(axes == axis)[0]) for axis in range(3)]
    flips = [slice(None, None, -1 if direction[axis, order[axis]] < 0 else 1) for axis in range(3)]
    return array.transpose(order)[tuple(flips)]
