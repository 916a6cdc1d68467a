"""Stored values of DICOM files, and what they mean: one path for slices, frames and images."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from sg_hub.errors import InvalidInputError, ReadError, shortened
from sg_hub.io.files import working_folder
from sg_hub.io.formats.dicom.frames import frame_count
from sg_hub.io.formats.dicom.header import reading, whole
from sg_hub.io.formats.limits import SCAN_BYTES, refuse_large

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_DECODED = {
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.5",
}
"""Transfer syntaxes that the decoder reads: JPEG, JPEG-LS, JPEG 2000, RLE."""
_LAYOUT = (
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "SamplesPerPixel",
    "PlanarConfiguration",
)


class Pixels:
    """Reads stored values. What is compressed goes through a process of its own, started when it is first needed: its
    decoders are fast, and not made for damaged data. Use it in a `with`."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._open = ExitStack()
        """Its folder for temporary files, which hold what a patient's image shows."""
        self._split: tuple[Dataset, list[bytes]] | None = None
        """A data set, and its compressed frames."""

    def __enter__(self) -> Pixels:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def stored(self, data: Dataset, path: Path, number: int | None = None, most: int = SCAN_BYTES) -> np.ndarray:
        """(rows, columns) of one frame as stored; of colours (rows, columns, 3), as red, green and blue.

        Args:
            most: bytes that the values may take as float32.

        Raises:
            ReadError: truncated or damaged.
            InvalidInputError: too large, or compressed in a way that has no decoder here.
        """
        from pydicom.pixels import pixel_array

        with reading(path):
            count, samples = frame_count(data, path), whole(data, "SamplesPerPixel", 1)
            size = (whole(data, "Rows", 0), whole(data, "Columns", 0))
            refuse_large(path, (*size, samples), most)
            syntax = data.file_meta.TransferSyntaxUID
            _refuse_contradictions(data, path, size, samples, count)
            if not syntax.is_encapsulated:
                values = pixel_array(data, index=number or 0, raw=samples == 1)
            elif str(syntax) in _DECODED:
                values = self._decoded(data, path, number or 0, count)
            else:
                raise InvalidInputError(
                    f"{path} is compressed as {syntax.name} ({syntax}), for which there is no decoder here; expected "
                    "JPEG, JPEG-LS, JPEG 2000, RLE or none: decompress it first (gdcmconv --raw, or dcmdjpeg), or "
                    "export it without compression"
                )
            if values.shape[:2] != size or values.ndim != (2 if samples == 1 else 3):
                raise ValueError(f"pixels of shape {values.shape}, not {size}")
            return values

    def _decoded(self, data: Dataset, path: Path, number: int, count: int) -> np.ndarray:
        from pydicom.encaps import generate_frames

        if self._split is None or self._split[0] is not data:
            frames = list(generate_frames(data.PixelData, number_of_frames=count))
            if len(frames) != count:
                raise ReadError(f"{path} says that it holds {count} frames and has {len(frames)}: export it again")
            self._split = data, frames
        process = self._process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        single = _single(data, self._split[1][number])
        try:
            process.stdin.write(len(single).to_bytes(8, "little") + single)
            process.stdin.flush()
            answer = json.loads(process.stdout.readline() or "{}")
            if "shape" in answer:
                length = math.prod(answer["shape"]) * np.dtype(answer["type"]).itemsize
                values = process.stdout.read(length)
                return np.frombuffer(values, dtype=answer["type"]).reshape(answer["shape"])
        except (OSError, ValueError):
            answer = {}
        self._stop()
        raise ReadError(
            f"{path} is truncated or damaged: its compressed pixels cannot be decoded "
            f"({shortened(answer.get('error', 'the decoder failed'), 200)}): copy or export it again"
        )

    def _start(self) -> subprocess.Popen[bytes]:
        folder = str(self._open.enter_context(working_folder()))
        return subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("decoder.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"TMPDIR": folder, "TEMP": folder, "TMP": folder},
        )

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with process:
                process.kill()
        self._open.close()


def _refuse_contradictions(data: Dataset, path: Path, size: tuple[int, int], samples: int, count: int) -> None:
    """Bits that stand where programs do not look for them, and frames beyond those that the file says it has."""
    stored, high = whole(data, "BitsStored", 0), whole(data, "HighBit", -1)
    if 0 < stored != high + 1 > 0:
        raise InvalidInputError(
            f"{path}: its {stored} bits a value end at bit {high} (HighBit), a layout of old files that programs read "
            "differently; expected them from bit 0 on: convert it first (gdcmconv, dcmconv)"
        )
    one = size[0] * size[1] * samples * whole(data, "BitsAllocated", 0) // 8
    have = 0 if data.file_meta.TransferSyntaxUID.is_encapsulated else len(data.get("PixelData", b""))
    if 0 < one * (count + 1) <= have:
        raise ReadError(f"{path} says that it holds {count} frame(s) and has {have // one}: export it again")


def rescaled(values: np.ndarray, modality: Dataset, path: Path) -> np.ndarray:
    """Stored values in the units of the modality, such as HU."""
    from pydicom.pixels import apply_modality_lut

    with reading(path):
        if "ModalityLUTSequence" in modality:
            return by_table(values, modality.ModalityLUTSequence[0], modality)
        return apply_modality_lut(values, modality) if len(modality) else values


def by_table(values: np.ndarray, item: Dataset, data: Dataset) -> np.ndarray:
    """Entries of a lookup table, an item of the Modality or the VOI LUT Sequence, at the places that the values give.

    Args:
        data: whose `file_meta` says in which order the bytes of the table are.
    """
    entries, first, depth = (int(number) for number in item.LUTDescriptor)
    entries = entries or 1 << 16
    if first >= 1 << 15 and values.dtype.kind != "u" and values.max() < first:  # negative, read without its sign
        first -= 1 << 16
    table = item.LUTData
    if isinstance(table, bytes):  # entries of 8 bits may have 16 to stand in
        order = "<" if data.file_meta.TransferSyntaxUID.is_little_endian else ">"
        table = np.frombuffer(table, dtype=np.uint8 if len(table) in (entries, entries + 1) else f"{order}u2")
    table = np.asarray(table).astype(np.int64)[:entries] & 0xFFFF
    if len(table) < entries or table.max() >= 1 << depth:
        raise ValueError(f"a lookup table of {len(table)} entries up to {table.max()}, not {entries} of {depth} bits")
    places = np.rint(values).astype(np.int64).clip(first, first + entries - 1) - first
    found: np.ndarray = table[places]
    return found


def _single(data: Dataset, frame: bytes) -> bytes:
    """A DICOM file of one frame and nothing that would have it turned: no rescaling, no inverted greys."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID, SecondaryCaptureImageStorage

    meta, single = FileMetaDataset(), Dataset()
    meta.TransferSyntaxUID = data.file_meta.TransferSyntaxUID
    single.SOPClassUID, single.SOPInstanceUID = SecondaryCaptureImageStorage, UID("1.2.3")
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = single.SOPClassUID, single.SOPInstanceUID
    for keyword in _LAYOUT:
        if keyword in data:
            setattr(single, keyword, data[keyword].value)
    grey = whole(data, "SamplesPerPixel", 1) == 1
    single.PhotometricInterpretation = "MONOCHROME2" if grey else data.PhotometricInterpretation
    single.PixelData = encapsulate([frame])
    single["PixelData"].is_undefined_length = True
    single.file_meta = meta
    file = BytesIO()
    single.save_as(file, enforce_file_format=True)
    return file.getvalue()
