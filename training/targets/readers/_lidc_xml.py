"""The readers' annotations of LIDC-IDRI: XML to outlines, masks, and groups of outlines of the same nodule.

What the files hold (LIDC-IDRI's annotation documentation, and what pylidc documents of it):

- one `readingSession` per reader; in it one `unblindedReadNodule` per nodule. A nodule of 3 mm or more has an outline
  (`roi`) in every slice that it is seen in, and `characteristics`, which are not read; a smaller one has a single
  point and none of them.
  `nonNodule` marks are points as well, and are not read.
- an outline's `edgeMap` pixels (xCoord: column, yCoord: row, from 0) lie just OUTSIDE of the nodule: they are its first
  pixels that do not belong to it. A mask is therefore the inside without the outline. `edge_is_nodule` counts them in.
- `inclusion` FALSE outlines an area that is to be left out of the nodule (its inside, by the same rule).
- a slice is known by `imageZposition` in mm.
- nodules have no number that the readers share: outlines of several readers are of the same nodule when they come
  nearer to each other than a tolerance (the slice thickness). While a group holds more outlines than there are
  readers, the tolerance is lowered to nine tenths.

pylidc 0.2.3 was run on all 6859 annotations of its 1018 scans. 6633 masks are the same, pixel by pixel, and so are the
groups of 1014 scans, and the consensus wherever the masks are. The rest is a matter of definition:

- pylidc leaves the outline of an excluded area out of the nodule as well (224 masks). Here it is only the inside: of
  992 such outlines, 960 are exactly the neighbours of what they enclose, and 414 enclose a single pixel.
- where two outlines in one slice overlap, pylidc takes the pixels of the later one out of the earlier (1 mask). Here a
  pixel within either of them is nodule.
- where an outline's pixels are not neighbours, those exactly on the straight line between them are outline here; in
  pylidc it depends on the direction of the outline (2 masks).
- pylidc counts the distance of two outlines in voxels and compares it with the slice thickness in mm. Here both
  are in mm. Given distances in mm, pylidc finds the same groups in all scans.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.path import Path as Polygon
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from sg_hub.errors import ReadError, shortened

MOST_READERS = 4
_FACTOR, _LEAST = 0.9, 0.1


@dataclass(frozen=True)
class Outline:
    """One reader's outline in one slice."""

    z: float
    """imageZposition in mm."""
    included: bool
    points: np.ndarray
    """(n, 2) int: column and row of every pixel of the edge map, in order."""


@dataclass(frozen=True)
class Annotation:
    """One reader's outlines of one nodule."""

    reader: int
    nodule: str
    outlines: tuple[Outline, ...]

    def points(self, pixel: tuple[float, float]) -> np.ndarray:
        """(n, 3) in mm: x, y within the slice, and z. pixel: (x, y) in mm."""
        return np.concatenate(
            [np.column_stack([o.points * np.array(pixel), np.full(len(o.points), o.z)]) for o in self.outlines]
        )


@dataclass(frozen=True)
class Reading:
    """One XML file."""

    series: str
    """SeriesInstanceUID."""
    annotations: tuple[Annotation, ...]
    """Nodules of 3 mm and more."""
    small: int
    """Nodules below 3 mm, marked by one point."""


def read_xml(path: Path) -> Reading | None:
    """The annotations of one CT scan; None for XML of something else (the chest X-rays of LIDC-IDRI).

    Raises:
        ReadError: truncated or damaged, or an annotation that is none.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, LookupError, ValueError, OSError) as error:  # also: an encoding that does not exist
        raise ReadError(f"{path} is truncated or damaged ({shortened(error)}): download it again") from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    series = (root.findtext("ResponseHeader/SeriesInstanceUid") or "").strip()
    if root.tag != "LidcReadMessage" or not series:
        return None
    annotations: list[Annotation] = []
    small = 0
    for reader, session in enumerate(root.findall("readingSession")):
        for nodule in session.findall("unblindedReadNodule"):
            name = (nodule.findtext("noduleID") or "").strip()
            try:
                outlines = tuple(_outline(roi) for roi in nodule.findall("roi"))
            except (TypeError, ValueError, OverflowError) as error:
                what = f"{path}: nodule {shortened(name, 40)!r} of reader {reader + 1} is damaged"
                raise ReadError(f"{what} ({shortened(error)})") from error
            if not any(len(outline.points) > 1 for outline in outlines):
                small += 1
                continue
            annotations.append(Annotation(reader, name, outlines))
    return Reading(series, tuple(annotations), small)


def _outline(roi: ElementTree.Element) -> Outline:
    points = [(int(edge.findtext("xCoord", "")), int(edge.findtext("yCoord", ""))) for edge in roi.findall("edgeMap")]
    inclusion = roi.findtext("inclusion", "TRUE").strip().upper()
    if inclusion not in ("TRUE", "FALSE"):
        raise ValueError(f"inclusion is {inclusion!r}")
    z = float(roi.findtext("imageZposition", ""))
    return Outline(z, inclusion == "TRUE", np.array(points, dtype=int).reshape(-1, 2))


def outline_mask(points: np.ndarray, shape: tuple[int, int], edge_is_nodule: bool = False) -> np.ndarray:
    """(columns, rows) bool of the pixels within an outline, without it unless told so."""
    mask = np.zeros(shape, dtype=bool)
    low = np.maximum(points.min(0), 0)
    high = np.minimum(points.max(0) + 1, shape)
    if (low >= high).any():
        return mask
    grid = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij"), axis=-1)
    inside = np.zeros(grid.shape[:2], dtype=bool)
    if len(points) > 2:
        inside = Polygon(points).contains_points(grid.reshape(-1, 2)).reshape(grid.shape[:2])
    edge = _edge(points, low, inside.shape)
    mask[low[0] : high[0], low[1] : high[1]] = inside | edge if edge_is_nodule else inside & ~edge
    return mask


def _edge(points: np.ndarray, low: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The pixels of an outline, and those whose middle is on the straight line between two that are not neighbours."""
    edge = np.zeros(shape, dtype=bool)
    for one, other in zip(points - low, np.roll(points, -1, axis=0) - low, strict=True):
        parts = max(1, math.gcd(*(other - one).tolist()))
        for part in range(parts):
            pixel = one + (other - one) // parts * part
            if (pixel >= 0).all() and (pixel < shape).all():
                edge[tuple(pixel)] = True
    return edge


def annotation_mask(
    annotation: Annotation, shape: tuple[int, int, int], slice_of: dict[float, int], edge_is_nodule: bool = False
) -> np.ndarray:
    """(columns, rows, slices) bool of what one reader outlined: every included area without the excluded ones.

    Args:
        slice_of: slice number of every imageZposition.
    """
    mask = np.zeros(shape, dtype=bool)
    for outline in sorted(annotation.outlines, key=lambda o: not o.included):
        area = outline_mask(outline.points, shape[:2], edge_is_nodule and outline.included)
        k = slice_of[outline.z]
        mask[:, :, k] = mask[:, :, k] | area if outline.included else mask[:, :, k] & ~area
    return mask


def same_nodule(
    annotations: tuple[Annotation, ...], pixel: tuple[float, float], tolerance: float
) -> list[list[Annotation]]:
    """Annotations in groups, one per nodule.

    Args:
        pixel: (x, y) in mm.
        tolerance: distance in mm below which two outlines are of one nodule, at first.
    """
    count = len(annotations)
    trees = [KDTree(annotation.points(pixel)) for annotation in annotations]
    near = np.full((count, count), np.inf)
    for i in range(count):
        for j in range(i + 1, count):
            near[i, j] = float(np.min(trees[i].query(trees[j].data)[0]))
    while True:
        rows, columns = np.nonzero(near <= tolerance)
        graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(count, count))
        groups = connected_components(graph, directed=False)[1] if count else np.array([], dtype=int)
        largest = np.bincount(groups).max() if count else 0
        if largest <= MOST_READERS or tolerance <= _LEAST:
            break
        tolerance *= _FACTOR
    return [[a for a, g in zip(annotations, groups, strict=True) if g == group] for group in range(len(set(groups)))]


def consensus(masks: list[np.ndarray]) -> np.ndarray:
    """Voxels that at least half of the readers who outlined the nodule have in their masks."""
    return np.mean(masks, axis=0) >= 0.5
