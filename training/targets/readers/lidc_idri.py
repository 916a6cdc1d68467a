"""Lung nodule segmentation in chest CT: LIDC-IDRI as downloaded.

On disk: one DICOM folder per series below `LIDC-IDRI-<number>/` in any depth, and the readers' XML, beside the slices
or in any other folder below the root (LIDC-XML-only). An item is a nodule of at least 3 mm: the cube around it, and
the voxels that at least half of the readers who outlined it have in their masks (`lidc_xml` says what an outline is).
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from pathlib import Path

import numpy as np
from pydantic import Field

import sg_hub
from sg_hub import Scan
from sg_hub.errors import InvalidInputError, ReadError, SgHubError
from sg_hub.io.finder import walk
from sg_hub.io.formats.dicom.files import is_dicom_image
from sg_hub.io.formats.dicom.header import read_image_header
from sg_hub.io.formats.dicom.series import find_series

from ..items import Found, Item, LoadedItem
from ..on_grid import AIR, box, cube_on_grid
from ..protocol import Target
from ._lidc_xml import Annotation, Reading, annotation_mask, consensus, read_xml, same_nodule


class LidcIdri(Target):
    """Segmentation of nodules; split by patient, for there is no official split."""

    minimum_readers: int = Field(default=3, ge=1, le=4)
    """Nodules that fewer readers outlined are left out."""
    edge_is_nodule: bool = False
    """Whether the pixels of an outline belong to the nodule; LIDC-IDRI says that they do not."""

    def find(self) -> Found:
        folder, found = self.folder(), Found()
        readings: dict[str, tuple[Path, Reading]] = {}
        for path in (place / name for place, names in walk(folder) for name in names if name.lower().endswith(".xml")):
            reading = read_xml(path)
            if reading is not None:
                readings.setdefault(reading.series, (path, reading))
        if not readings:
            raise ReadError(f"{folder} holds no XML of LIDC-IDRI: download the radiologists' annotations into it too")
        folders = _series(folder)
        for series, (path, reading) in sorted(readings.items()):
            if series not in folders:
                found.skipped[series] = f"annotated in {path.name}, its DICOM folder is not there"
                continue
            try:
                pixel, thickness = _spacing(folders[series])
            except ReadError as error:
                found.skipped[series] = str(error)
                continue
            for number, group in enumerate(same_nodule(reading.annotations, pixel, thickness)):
                patient = _patient(folders[series], series)
                name = f"{patient}_{series.rpartition('.')[2]}_{number}"
                readers = len({annotation.reader for annotation in group})
                if readers < self.minimum_readers:
                    found.skipped[name] = f"outlined by {readers} readers"
                    continue
                place = (number, *pixel, thickness)
                item = Item(name, patient, str(folders[series]), str(path), place, also=(f"luna16/{series}",))
                found.items.append(item)
        return found

    def load(self, item: Item) -> LoadedItem:
        assert self.grid.size is not None
        number, x, y, thickness = item.place
        reading = read_xml(Path(str(item.label)))
        assert reading is not None
        scan = _scan(item.image, reading.series)
        group = same_nodule(reading.annotations, (x, y), thickness)[number]
        mask = nodule_mask(scan, group, self.edge_is_nodule)
        if not mask.any():
            raise InvalidInputError(f"{item.label}: nodule {group[0].nodule} has an empty consensus; leave it out")
        corner, size = cube_around(mask, scan.spacing, self.grid.size, self.grid.spacing)
        return cube_on_grid(self, box(scan.array, corner, size, AIR), box(mask, corner, size, 0))


def nodule_mask(scan: Scan, group: list[Annotation], edge_is_nodule: bool = False) -> np.ndarray:
    """(X, Y, Z) bool on the scan: the consensus of the readers of one nodule.

    Raises:
        InvalidInputError: an outline in a slice that the scan does not have.
    """
    grid = scan.file_grid
    flipped = grid.flipped if grid else (False, False, False)
    slice_of: dict[float, int] = {}
    for z in {outline.z for annotation in group for outline in annotation.outlines}:
        k = (z - scan.origin[2]) / scan.spacing[2]
        if abs(k - round(k)) > 0.45 or not 0 <= round(k) < scan.size[2]:
            raise InvalidInputError(f"{scan.source}: no slice at imageZposition {z:g}; is the series complete?")
        slice_of[z] = round(k)
    by_reader: dict[int, np.ndarray] = {}
    for annotation in group:  # a reader may have outlined two parts of what the others saw as one
        mask = annotation_mask(annotation, scan.size, slice_of, edge_is_nodule)
        by_reader[annotation.reader] = by_reader.get(annotation.reader, False) | mask
    together = consensus(list(by_reader.values()))
    return np.flip(together, tuple(axis for axis in (0, 1) if flipped[axis]))  # outlines are in pixels of the file


def cube_around(
    mask: np.ndarray,
    voxel: tuple[float, float, float],
    size: tuple[int, ...],
    spacing: tuple[float, float, float] | None,
) -> tuple[list[int], list[int]]:
    """Corner and sides, in voxels, of the cube around the middle of a mask.

    Args:
        voxel: of the mask, (x, y, z) in mm.
        size: voxels (x, y, z) of `spacing` mm, or of the mask's own where that is None.
    """
    where = np.argwhere(mask)
    middle = (where.min(0) + where.max(0)) / 2
    sides = [max(1, round(side * spacing[axis] / voxel[axis])) if spacing else side for axis, side in enumerate(size)]
    return [math.floor(float(centre) - side / 2 + 1) for centre, side in zip(middle, sides, strict=True)], sides


def _series(folder: Path) -> dict[str, Path]:
    """SeriesInstanceUID to folder, of everything below that holds DICOM. Two headers of a folder are read, and all of
    them only where it holds several series."""
    found: dict[str, Path] = {}
    for path, names in walk(folder):
        ends = [next(filter(is_dicom_image, (path / name for name in order)), None) for order in (names, names[::-1])]
        files = [file for file in ends if file is not None]
        if not files:
            continue
        try:
            uids = {str(read_image_header(file, "SeriesInstanceUID").get("SeriesInstanceUID", "")) for file in files}
        except ReadError:
            uids = set()
        found |= dict.fromkeys(uids, path) if len(uids) == 1 else {s.uid: s.folder for s in find_series(path)}
    return found


def _spacing(folder: Path) -> tuple[tuple[float, float], float]:
    """Pixel (x, y) and thickness of the slices in mm, of the first header.

    Raises:
        ReadError: no readable slice, or one without them.
    """
    file = next(filter(is_dicom_image, sorted(folder.iterdir())))
    header = read_image_header(file, "PixelSpacing", "SliceThickness")
    try:
        row, column = (float(value) for value in header.PixelSpacing)
        return (column, row), float(header.SliceThickness)
    except (AttributeError, TypeError, ValueError) as error:
        raise ReadError(
            f"{file} has PixelSpacing {header.get('PixelSpacing')} and SliceThickness {header.get('SliceThickness')}; "
            "expected mm"
        ) from error


def _patient(folder: Path, series: str) -> str:
    """LIDC-IDRI-<number> out of the path; the series where the folders have other names."""
    match = re.findall(r"LIDC-IDRI-\d{4}", str(folder))
    return match[-1] if match else series


@lru_cache(maxsize=1)  # the nodules of a scan are read one after the other
def _scan(folder: str, series: str) -> Scan:
    try:
        return sg_hub.load_scan(folder, series=series)
    except SgHubError as error:
        raise ReadError(f"{folder}: {error}") from error
