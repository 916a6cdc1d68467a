"""X-rays as DICOM files, written by pydicom, so that reading them is checked against another implementation."""

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

DIGITAL_XRAY = "1.2.840.10008.5.1.4.1.1.1.1"


def write_xray(path: Path, pixels: np.ndarray, **tags) -> Path:
    """A DX image of stored values (H, W), or (H, W, 3) in colour; tags by DICOM keyword, such as WindowCenter=40."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DIGITAL_XRAY
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = DIGITAL_XRAY, meta.MediaStorageSOPInstanceUID
    colour = pixels.ndim == 3
    data.Modality, data.PatientID = "DX", "nobody"
    data.Rows, data.Columns = pixels.shape[:2]
    data.SamplesPerPixel = 3 if colour else 1
    data.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    data.BitsAllocated = 8 if colour else 16
    data.BitsStored = 8 if colour else 12
    data.PixelRepresentation = 0
    if colour:
        data.PlanarConfiguration = 0
    for keyword, value in tags.items():
        setattr(data, keyword, value)
    data.HighBit = data.BitsStored - 1
    signed = "i" if data.PixelRepresentation else "u"
    data.PixelData = pixels.astype(f"<{signed}{data.BitsAllocated // 8}").tobytes()
    data.save_as(path)
    return path


def shown(path: Path) -> np.ndarray:
    """Grey levels in 0..1 as pydicom displays them: rescaled, windowed, inverted where white is zero."""
    data = pydicom.dcmread(path)
    rescaled = pydicom.pixels.apply_rescale(data.pixel_array, data)
    slope, intercept = float(data.get("RescaleSlope", 1)), float(data.get("RescaleIntercept", 0))
    if "WindowCenter" in data:
        windowed = pydicom.pixels.apply_voi_lut(data.pixel_array, data, index=0)
        windowed = pydicom.pixels.apply_windowing(rescaled, data, index=0) if slope != 1 or intercept else windowed
    else:
        windowed = rescaled
    least, most = (0, 2**data.BitsStored - 1)
    if data.PixelRepresentation:
        least, most = -(2 ** (data.BitsStored - 1)), 2 ** (data.BitsStored - 1) - 1
    ends = slope * least + intercept, slope * most + intercept
    unit = (np.asarray(windowed, dtype=float) - ends[0]) / (ends[1] - ends[0])
    return 1 - unit if data.PhotometricInterpretation == "MONOCHROME1" else unit


def ramp(most, size=(12, 20), dtype=np.uint16):
    """Grey levels from 0 to `most`, row by row."""
    return np.linspace(0, most, size[0] * size[1]).round().astype(dtype).reshape(size)
