"""Small files of every format that sg_hub reads, made here: what the fuzzing of `io.py` damages."""

from __future__ import annotations

import bz2
import gzip
import io
import struct
import zlib
from collections.abc import Callable
from functools import cache

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

SIZE = (6, 7, 8)
VOXELS = np.random.default_rng(0).integers(-900, 900, SIZE).astype("<i2")
"""(X, Y, Z)."""
CT, ENHANCED_CT, XRAY = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.1.1"
NIFTI_FIELDS = (
    (0, "<i"),
    *((40 + 2 * number, "<h") for number in range(8)),
    (68, "<h"),
    (70, "<h"),
    (72, "<h"),
    *((76 + 4 * number, "<f") for number in range(8)),
    (108, "<f"),
    (112, "<f"),
    (116, "<f"),
    (123, "<B"),
    (252, "<h"),
    (254, "<h"),
    *((256 + 4 * number, "<f") for number in range(18)),
    (344, "<i"),
)
"""Offset and type of the fields of a NIfTI-1 header that a reader looks at."""


def nifti(magic: bytes = b"n+1\0", kind: str = "<i2") -> bytes:
    """A NIfTI-1 file; with the magic ni1 its header alone."""
    head = bytearray(352 if magic[1:2] == b"+" else 348)
    voxels = VOXELS.astype(kind)
    code = {"<i2": 4, "<f4": 16, "|u1": 2}[voxels.dtype.str]
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, 3, *SIZE, 1, 1, 1, 1)
    struct.pack_into("<2h", head, 70, code, 8 * voxels.itemsize)
    struct.pack_into("<8f", head, 76, 1, 0.8, 0.9, 2.5, 1, 1, 1, 1)
    struct.pack_into("<3f", head, 108, 352 if magic[1:2] == b"+" else 0, 1, 0)
    head[123] = 2
    struct.pack_into("<2h", head, 252, 1, 1)
    struct.pack_into("<6f", head, 256, 0, 0, 0, 1, 2, 3)
    struct.pack_into("<12f", head, 280, 0.8, 0, 0, 1, 0, 0.9, 0, 2, 0, 0, 2.5, 3)
    head[344:348] = magic
    return bytes(head) + (voxels.tobytes(order="F") if magic[1:2] == b"+" else b"")


META = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
CompressedData = {packed}
TransformMatrix = 1 0 0 0 1 0 0 0 1
Offset = 1.5 2 3
CenterOfRotation = 0 0 0
AnatomicalOrientation = RAI
ElementSpacing = 0.8 0.9 2.5
DimSize = 6 7 8
HeaderSize = 0
ElementNumberOfChannels = 1
ElementType = MET_SHORT
ElementDataFile = {where}
"""
NRRD = """NRRD0005
# made by hand
type: short
dimension: 3
space: left-posterior-superior
sizes: 6 7 8
space directions: (0.8,0,0) (0,0.9,0) (0,0,2.5)
space origin: (1.5,2,3)
space units: "mm" "mm" "mm"
kinds: domain domain domain
endian: little
encoding: {encoding}
byte skip: 0
"""


def slice_set(number: int, storage: str = CT) -> Dataset:
    """One slice of a series, or an X-ray."""
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = storage, f"1.2.3.{number + 1}"
    data.Modality, data.PatientID = ("DX" if storage == XRAY else "CT"), "nobody"
    data.SeriesInstanceUID, data.SeriesDescription = "1.2.4", "chest"
    data.ImagePositionPatient, data.ImageOrientationPatient = [1.5, 2, 2.5 * number], [1, 0, 0, 0, 1, 0]
    data.PixelSpacing, data.SliceThickness = [0.8, 0.9], 2.5
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = 12, 16
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.RescaleSlope, data.RescaleIntercept = 1, -1024
    data.WindowCenter, data.WindowWidth = 40, 400
    data.PixelData = np.random.default_rng(number).integers(0, 2000, (12, 16)).astype("<u2").tobytes()
    return data


def enhanced_set() -> Dataset:
    """Four frames in one data set."""
    data = slice_set(0, ENHANCED_CT)
    for keyword in (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "RescaleSlope",
        "RescaleIntercept",
    ):
        delattr(data, keyword)
    shared = Dataset()
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [Dataset()], [Dataset()]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence[0].PixelSpacing = [0.8, 0.9]
    data.SharedFunctionalGroupsSequence, data.PerFrameFunctionalGroupsSequence = [shared], []
    for number in range(4):
        frame = Dataset()
        frame.PlanePositionSequence, frame.PixelValueTransformationSequence = [Dataset()], [Dataset()]
        frame.PlanePositionSequence[0].ImagePositionPatient = [1.5, 2, 2.5 * number]
        frame.PixelValueTransformationSequence[0].RescaleSlope = 1
        frame.PixelValueTransformationSequence[0].RescaleIntercept = -1000 - number
        data.PerFrameFunctionalGroupsSequence.append(frame)
    data.NumberOfFrames = 4
    data.PixelData = data.PixelData * 4
    return data


def dicom(data: Dataset, packing: str = "none") -> bytes:
    """The file of a data set, with its pixels compressed or not, or the whole deflated."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = data.SOPClassUID, data.SOPInstanceUID
    meta.TransferSyntaxUID = {
        "none": ExplicitVRLittleEndian,
        "implicit": ImplicitVRLittleEndian,
        "deflated": DeflatedExplicitVRLittleEndian,
        "rle": RLELossless,
        "jpeg": JPEGBaseline8Bit,
        "jpeg2000": JPEG2000Lossless,
    }[packing]
    data.file_meta = meta
    if packing == "rle":
        data.compress(RLELossless, generate_instance_uid=False)
    elif packing in ("jpeg", "jpeg2000"):
        data.BitsAllocated = data.BitsStored = 8
        data.HighBit = 7
        pixels = np.frombuffer(data.PixelData, "<u2").reshape(12, 16) // 8
        picture = io.BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(picture, format="JPEG" if packing == "jpeg" else "JPEG2000")
        codestream = picture.getvalue()
        start = codestream.index(b"\xff\x4f\xff\x51") if packing == "jpeg2000" else 0
        data.PixelData = encapsulate([codestream[start:]])
        data["PixelData"].is_undefined_length = True
    file = io.BytesIO()
    pydicom.dcmwrite(file, data, enforce_file_format=True)
    return file.getvalue()


@cache
def picture(kind: str) -> bytes:
    """A picture: png, png16, palette, jpeg, tiff, tiff16, lzw."""
    grey = np.random.default_rng(1).integers(0, 255, (12, 16)).astype(np.uint8)
    image = Image.fromarray(grey.astype(np.uint16) * 200 if kind.endswith("16") else grey)
    if kind == "palette":
        image = image.convert("P")
    options = {"lzw": {"compression": "tiff_lzw"}}.get(kind, {})
    file = io.BytesIO()
    name = {"png": "PNG", "png16": "PNG", "palette": "PNG", "jpeg": "JPEG"}.get(kind, "TIFF")
    image.save(file, format=name, **options)
    return file.getvalue()


def _packed(kind: str, side: int = 13_000) -> bytes:
    file = io.BytesIO()
    Image.new("1", (side, side)).save(file, kind, **({"compression": "tiff_lzw"} if kind == "TIFF" else {}))
    return file.getvalue()


def _promised(sides: str) -> bytes:
    head = META.format(packed=True, where="LOCAL").replace("6 7 8", sides)
    return head.encode() + zlib.compress(VOXELS.tobytes(order="F"))


def _large() -> bytes:
    raw = bytearray(nifti())
    struct.pack_into("<8h", raw, 40, 3, 32767, 32767, 8, 1, 1, 1, 1)
    return bytes(raw)


def _nrrd(encoding: str, pack: Callable[[bytes], bytes], more: bytes, sides: str = "6 7 8") -> bytes:
    head = NRRD.format(encoding=encoding).replace("sizes: 6 7 8", f"sizes: {sides}")
    return head.encode() + b"\n" + pack(VOXELS.tobytes(order="F") + more)


_MORE = 1 << 27
"""Bytes that nothing in a header asks for."""
BOMBS: dict[str, Callable[[], bytes]] = {
    "more.nii.gz": lambda: gzip.compress(nifti() + bytes(_MORE)),
    "promised.nii.gz": lambda: gzip.compress(_large()),
    "promised.nii": _large,
    "more.mha": lambda: (
        META.format(packed=True, where="LOCAL").encode() + zlib.compress(VOXELS.tobytes(order="F") + bytes(_MORE))
    ),
    "promised.mha": lambda: _promised("1000 1000 900"),
    "huge.mha": lambda: _promised("99999999 99999999 99999999"),
    "more.nrrd": lambda: _nrrd("gzip", gzip.compress, bytes(_MORE)),
    "promised.nrrd": lambda: _nrrd("gzip", gzip.compress, b"", "1000 1000 1000"),
    "more2.nrrd": lambda: _nrrd("bzip2", bz2.compress, bytes(_MORE)),
    "empty.nii.gz": lambda: gzip.compress(b"") * 200_000,
    "wide.png": lambda: _packed("PNG"),
    "wide.tif": lambda: _packed("TIFF"),
}
"""Small files: they unpack to far more than their headers say, or their headers promise far more."""


@cache
def bomb(name: str) -> bytes:
    return BOMBS[name]()
