"""What the page shows: scans, and what networks make of them. It knows no HTTP, and several threads may call it."""

from __future__ import annotations

import io
import re
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sg_hub.errors import InvalidInputError, SgHubError
from sg_hub.inference.amounts import amounts_of
from sg_hub.inference.embed import embed
from sg_hub.inference.locate import Locator
from sg_hub.inference.matching import FOUND
from sg_hub.inference.predict import predict
from sg_hub.io.files import given_path
from sg_hub.io.finder import find_scans
from sg_hub.io.formats.dicom.series import find_series
from sg_hub.io.pictures import colour_of, coronal, grey
from sg_hub.io.scan import Scan, load_scan
from sg_hub.models import PretrainedModel
from sg_hub.models.heads import found_names
from sg_hub.view.shown import nifti_bytes, steps_of
from sg_hub.view.uploads import MOST_BYTES, Uploads
from sg_hub.view.windows import windows

KEPT = 3
"""Scans in memory: two that are shown, and one more."""
_THUMBNAIL = 120
"""Pixels of its width."""


@dataclass
class Entry:
    """A scan that the page can show."""

    number: int
    name: str
    path: Path
    series: str | None = None
    """SeriesInstanceUID, where its folder holds several."""
    upload: int | None = None
    """That it came with; absent: it lies where the user has it."""
    features: np.ndarray | None = None
    thumbnail: bytes = b""


class Session:
    """A context manager: what was uploaded is removed at its end.

    Args:
        model: 3D weights that describe scans: places and nearest patients.
        segmenter: 3D weights with classes; absent: `model` if it has some, or none.
        reading: arguments of `load_scan`, for every scan.
    """

    def __init__(
        self,
        model: PretrainedModel,
        segmenter: PretrainedModel | None = None,
        reading: Mapping[str, Any] | None = None,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        for one in (model, *([segmenter] if segmenter else [])):
            if one.NDIM != 3:
                raise InvalidInputError(f"{type(one).__name__} takes images, and the page shows scans: give 3D weights")
        if segmenter is not None and not segmenter.head.has_labels:
            raise InvalidInputError(
                f"the weights that are to segment have a {segmenter.head_name} head and know no classes: give a folder "
                "that was fine-tuned for segmentation (sg-hub finetune)"
            )
        self.model = model
        self.segmenter = segmenter or (model if model.head.has_labels else None)
        self.entries: dict[int, Entry] = {}
        self._reading = dict(reading or {})
        self._locate = Locator(model, progress=False, kept=KEPT)
        self._scans: dict[int, Scan] = {}
        self._labels: dict[int, np.ndarray] = {}
        self._last = 0
        self._tables = threading.RLock()  # of what is held here; never waits for the other one
        self._networks = threading.RLock()  # one at a time
        self._temporary = tempfile.TemporaryDirectory(prefix="sg-hub-view-", ignore_cleanup_errors=True)
        self.uploads = Uploads(Path(self._temporary.name), most_bytes)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self._temporary.cleanup()

    def add(self, paths: Sequence[str | Path]) -> list[Entry]:
        """Scans by their paths; of a folder all that it holds. They are read when they are shown.

        Raises:
            InvalidInputError, ReadError: paths that cannot be.
        """
        with self._tables:
            return [entry for path in paths for entry in self._found(given_path(path, "a scan"), None)]

    def open_upload(self, number: int) -> list[Entry]:
        """The scans of an upload, of which the first is read, so that what is wrong is said at once.

        Raises:
            InvalidInputError, ReadError, MemoryError: see `load_scan`. The upload is gone then.
        """
        with self._tables:
            folder = self.uploads.path(number)
            inside = list(folder.iterdir())
            entries: list[Entry] = []
            try:
                if not inside:
                    raise InvalidInputError("nothing was given: drop a scan file, or a folder of DICOM slices")
                entries = self._found(inside[0] if len(inside) == 1 else folder, number)
                self.scan(entries[0].number)
            except (SgHubError, MemoryError):
                for entry in entries:
                    self.entries.pop(entry.number)
                self.uploads.drop(number)
                raise
            return entries

    def close(self, number: int) -> None:
        """Forget a scan; an upload of which nothing is left is removed."""
        with self._tables:
            entry = self.entry(number)
            del self.entries[number]
            self._forget(number)
            if entry.upload is not None and all(other.upload != entry.upload for other in self.entries.values()):
                self.uploads.drop(entry.upload)

    def entry(self, number: int) -> Entry:
        """
        Raises:
            InvalidInputError: there is none of that number.
        """
        if number not in self.entries:
            raise InvalidInputError(f"there is no scan {number}: it was closed, or the page is of an earlier call")
        return self.entries[number]

    def listed(self) -> list[Entry]:
        """All scans, in the order in which they were given."""
        with self._tables:
            return list(self.entries.values())

    def scan(self, number: int) -> Scan:
        """The scan, read if it is not among the last ones.

        Raises:
            InvalidInputError, ReadError: see `load_scan`.
        """
        with self._tables:
            entry = self.entry(number)
            scan = self._scans.pop(number, None)
            if scan is None:
                while len(self._scans) >= KEPT:
                    self._forget(next(iter(self._scans)))
                reading = self._reading | ({"series": entry.series} if entry.series else {})
                if entry.upload is not None:
                    reading.pop("outside", None)  # a header of unknown origin names no file of this machine
                scan = load_scan(entry.path, **reading)
            self._scans[number] = scan
            return scan

    def described(self, number: int) -> dict[str, Any]:
        """What the page says of a scan, in JSON types."""
        scan = self.scan(number)
        levels, offered = windows(scan, self.model.preprocessing)
        step = steps_of(scan)
        notes = [self.model.preprocessing.doubt(scan)]
        if max(step) > 1:
            notes.append(
                f"Shown with every {'/'.join(map(str, step))} voxel along x/y/z, for a browser holds no more; what is "
                "computed is computed on all."
            )
        if scan.array.shape[0] > 1:
            notes.append(f"The first of {scan.array.shape[0]} channels is shown.")
        return {
            "id": number,
            "name": self.entry(number).name,
            "size": list(scan.size),
            "spacing": [round(value, 4) for value in scan.spacing],
            "orientation": scan.file_grid.orientation if scan.file_grid else "LPS",
            "levels": levels,
            "windows": [vars(window) for window in offered],
            "notes": [self.said(note) for note in notes if note],
        }

    def volume(self, number: int) -> bytes:
        """The scan as a NIfTI file, in LPS order."""
        scan = self.scan(number)
        return nifti_bytes(scan, scan.array[0])

    def segment(self, number: int) -> list[dict[str, Any]]:
        """Segment a scan: every class but the background with its colour and its amount.

        Raises:
            InvalidInputError: no weights that segment, or a scan that they do not take.
        """
        if self.segmenter is None:
            raise InvalidInputError(
                "no weights that segment were given: fine-tune some (sg-hub finetune), then sg-hub view --segmenter "
                "FOLDER"
            )
        with self._networks:
            scan, labels = self.scan(number), self._labels.get(number)
            if labels is None:
                labels = predict(self.segmenter, scan, output="labels", progress=False)
                with self._tables:
                    if number in self.entries:  # not closed meanwhile
                        self._scans.setdefault(number, scan)
                        self._labels[number] = labels
        amounts = amounts_of(self.segmenter, scan, labels)
        return [
            {"value": one.value, "name": one.name, "amount": one.share, "colour": list(colour_of(one.value))}
            for one in amounts
        ]

    def labels(self, number: int) -> bytes:
        """The label map as a NIfTI file, on the grid of `volume`.

        Raises:
            InvalidInputError: it was not segmented.
        """
        labels = self._labels.get(number)
        if labels is None:
            raise InvalidInputError(f"scan {number} was not segmented, or too long ago: segment it again")
        return nifti_bytes(self.scan(number), labels)

    def place(self, number: int, other: int, at: Sequence[float]) -> dict[str, Any]:
        """Where a place (mm, LPS) of a scan is in another one.

        Raises:
            InvalidInputError: see `sg_hub.locate`.
        """
        with self._networks:
            places, score = self._locate(self.scan(number), [at], self.scan(other), least=0)
        return {
            "place": [round(float(value), 2) for value in places[0]],
            "score": round(float(score[0]), 3),
            "found": bool(score[0] >= FOUND),
        }

    def embed(self, number: int) -> None:
        """Describe a scan as a whole, once.

        Raises:
            InvalidInputError, ReadError: see `sg_hub.embed` and `load_scan`.
        """
        with self._networks:
            entry = self.entry(number)
            if entry.features is None:
                scan = self.scan(number)
                entry.thumbnail = self._thumbnail(scan)
                entry.features = embed(self.model, scan, progress=False)

    def nearest(self, number: int) -> list[dict[str, Any]]:
        """The other scans that were embedded, the nearest first, with the distance of their features."""
        self.embed(number)
        own = self.entry(number).features
        distances = [
            (float(np.linalg.norm(entry.features - own)), entry)
            for entry in self.listed()
            if entry.features is not None and entry.number != number
        ]
        ranked = sorted(distances, key=lambda pair: pair[0])
        return [{"id": entry.number, "name": entry.name, "distance": distance} for distance, entry in ranked]

    def about(self, model: PretrainedModel) -> dict[str, Any]:
        """Which weights these are, in JSON types: their name, what they were trained on, licence, modality, classes."""
        known = {key: str(model.provenance.get(key) or "") for key in ("data", "licence")}
        return known | {
            "name": Path(model.load_report.source).name if model.load_report else type(model).__name__,
            "modality": model.preprocessing.modality,
            "classes": list(found_names(model.class_names)) if model.head.has_labels else [],
        }

    def said(self, text: object) -> str:
        """A message, in which files that were dropped are called as they were when they were dropped."""
        within = re.sub(re.escape(str(self.uploads.folder)) + r"/\d+/", "", str(text))
        return re.sub(re.escape(str(self.uploads.folder)) + r"/\d+", "what was dropped", within)

    def _found(self, path: Path, upload: int | None) -> list[Entry]:
        """Entries of a path; what is no folder of several is one, and is said to be wrong when it is read."""
        paths = list(find_scans(path).values()) if path.is_dir() else []
        new = []
        for each in paths or [path]:
            name = "dropped slices" if each.parent == self.uploads.folder else each.name or str(each)
            several = find_series(each) if each.is_dir() and not self._reading.get("series") else []
            if len({one.uid for one in several}) > 1:
                new += [self._entry(f"{name}: {one.description or one.uid}", each, one.uid, upload) for one in several]
            else:
                new.append(self._entry(name, each, None, upload))
        return new

    def _entry(self, name: str, path: Path, series: str | None, upload: int | None) -> Entry:
        taken = {entry.name for entry in self.entries.values()}
        if name in taken and path.parent.name and self.uploads.folder not in (path.parent, path.parent.parent):
            name = f"{path.parent.name}/{name}"  # often that of the patient
        if name in taken:
            name = next(f"{name} ({count})" for count in range(2, len(taken) + 3) if f"{name} ({count})" not in taken)
        self._last += 1
        self.entries[self._last] = Entry(self._last, name, path, series, upload)
        return self.entries[self._last]

    def _forget(self, number: int) -> None:
        self._scans.pop(number, None)
        self._labels.pop(number, None)

    def _thumbnail(self, scan: Scan) -> bytes:
        """PNG of the coronal slice through the middle."""
        window = windows(scan, self.model.preprocessing)[1][0]
        plane = coronal(scan.array[0], scan.size[1] // 2)
        picture = Image.fromarray(grey((plane - window.low) / max(window.high - window.low, 1e-6)))
        height = max(1, round(_THUMBNAIL * scan.extent[2] / scan.extent[0]))
        written = io.BytesIO()
        picture.resize((_THUMBNAIL, min(height, 3 * _THUMBNAIL)), Image.Resampling.BILINEAR).save(written, format="PNG")
        return written.getvalue()
