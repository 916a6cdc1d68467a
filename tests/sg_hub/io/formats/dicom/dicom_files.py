"""DICOM files of slices and of many frames, written by pydicom."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless, generate_uid

STORAGE = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "ENHANCED CT": "1.2.840.10008.5.1.4.1.1.2.1",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "PT": "1.2.840.10008.5.1.4.1.1.128",
    "ULTRASOUND FILM": "1.2.840.10008.5.1.4.1.1.3.1",
    "STRUCTURES": "1.2.840.10008.5.1.4.1.1.481.3",
    "DOSE": "1.2.840.10008.5.1.4.1.1.481.2",
    "SEGMENTATION": "1.2.840.10008.5.1.4.1.1.66.4",
}
SERIES = "1.2.826.0.1.5"
VOLUME = np.random.default_rng(0).integers(0, 2000, (6, 10, 12))
"""(slices, rows, columns) as stored."""


def write(path: Path, data: Dataset, syntax: str = ExplicitVRLittleEndian) -> Path:
    """The file of a data set."""
    data.file_meta = FileMetaDataset()
    data.file_meta.MediaStorageSOPClassUID, data.file_meta.MediaStorageSOPInstanceUID = (
        data.SOPClassUID,
        data.SOPInstanceUID,
    )
    data.file_meta.TransferSyntaxUID = syntax
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def base(pixels: np.ndarray, kind: str, tags: dict) -> Dataset:
    """What every file has; a tag that is None is left out."""
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID, data.SeriesInstanceUID = STORAGE[kind], generate_uid(), SERIES
    data.PatientID, data.Modality = "nobody", kind.split()[-1][:16]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = pixels.shape[-2:]
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.PixelData = pixels.astype("<u2").tobytes()
    for keyword, value in tags.items():
        if value is None:
            data.pop(keyword, None)
        else:
            setattr(data, keyword, value)
    return data


def slice_of(pixels: np.ndarray, z: float, kind: str = "CT", **tags) -> Dataset:
    """An axial slice, in HU but for the tags."""
    return base(
        pixels,
        kind,
        {
            "ImagePositionPatient": [-10, -20, z],
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "PixelSpacing": [0.8, 0.7],
            "RescaleSlope": 1,
            "RescaleIntercept": -1024,
        }
        | tags,
    )


def write_series(folder: Path, volume: np.ndarray = VOLUME, **tags) -> Path:
    """Slices 2 mm apart; returns the folder."""
    for number, pixels in enumerate(volume):
        write(folder / f"{number}.dcm", slice_of(pixels, 2.0 * number, **tags))
    return folder


def item(**values) -> list[Dataset]:
    """A sequence of one item."""
    data = Dataset()
    for keyword, value in values.items():
        setattr(data, keyword, value)
    return [data]


def enhanced(
    volume: np.ndarray,
    places: Sequence[float],
    *,
    slopes: Sequence[float] | None = None,
    spacing: Sequence[float] | None = (0.8, 0.7),
    turned: Sequence[Sequence[float]] | None = None,
    **tags,
) -> Dataset:
    """Frames with a position each in the functional groups (and a slope, and an orientation, where they are given)."""
    data = base(volume, "ENHANCED CT", tags)
    shared = Dataset()
    if turned is None:
        shared.PlaneOrientationSequence = item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    if spacing is not None:
        shared.PixelMeasuresSequence = item(PixelSpacing=list(spacing), SliceThickness=2)
    if slopes is None:
        shared.PixelValueTransformationSequence = item(RescaleSlope=1, RescaleIntercept=-1024)
    frames = []
    for number, place in enumerate(places):
        frame = Dataset()
        frame.PlanePositionSequence = item(ImagePositionPatient=[-10, -20, place])
        if slopes is not None:
            frame.PixelValueTransformationSequence = item(RescaleSlope=slopes[number], RescaleIntercept=0)
        if turned is not None:
            frame.PlaneOrientationSequence = item(ImageOrientationPatient=list(turned[number]))
        frames.append(frame)
    data.NumberOfFrames = len(places)
    data.SharedFunctionalGroupsSequence, data.PerFrameFunctionalGroupsSequence = [shared], frames
    return data


def compress(folder, name) -> None:
    """The pixels of every file of a folder, compressed by pydicom or by ITK."""
    for path in sorted(folder.iterdir()):
        data = pydicom.dcmread(path)
        if name == "RLE":
            data.compress(RLELossless)
        else:
            writer = sitk.ImageFileWriter()
            writer.SetUseCompression(True)
            writer.SetCompressor(name)
            writer.SetFileName(str(folder / "itk.dcm"))
            writer.Execute(sitk.GetImageFromArray(data.pixel_array[None]))
            written = pydicom.dcmread(folder / "itk.dcm")
            data.PixelData, data.file_meta.TransferSyntaxUID = written.PixelData, written.file_meta.TransferSyntaxUID
            data["PixelData"].is_undefined_length = True
            (folder / "itk.dcm").unlink()
        data.save_as(path)
