"""A process of its own that decodes compressed pixels; `pixels.Pixels` starts it. It imports nothing of sg_hub.

Standard input: 8 bytes of a length, and a DICOM file of one frame; again and again. Standard output: a line of JSON
with the type and shape of the values, and the values; or with an error.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
import warnings

import numpy as np

_SECONDS, _BYTES = 60, 6 << 30
"""Of processor time for one frame, and of memory."""


def _limit() -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + _SECONDS, hard))
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (_BYTES if hard < 0 else min(_BYTES, hard), hard))


def _decode(file: bytes) -> np.ndarray:
    import pydicom

    data = pydicom.dcmread(io.BytesIO(file))
    if data.SamplesPerPixel > 1:
        try:
            return pydicom.pixels.pixel_array(data)
        except Exception:  # no decoder of pydicom's is installed for it
            pass
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    with tempfile.TemporaryDirectory(prefix="sg_hub-") as folder:  # in one of the parent's, which clears it away
        path = os.path.join(folder, "frame.dcm")
        with open(path, "wb") as place:
            place.write(file)
        values = sitk.GetArrayFromImage(sitk.ReadImage(path, sitk.sitkUnknown, "GDCMImageIO"))
    return values[0] if values.ndim == 3 + (data.SamplesPerPixel > 1) else values


def main() -> None:
    warnings.simplefilter("ignore")
    source, target = sys.stdin.buffer, sys.stdout.buffer
    while length := int.from_bytes(source.read(8), "little"):
        _limit()
        try:
            values = np.ascontiguousarray(_decode(source.read(length)))
            answer = {"type": values.dtype.str, "shape": values.shape}
        except Exception as error:
            values, answer = np.zeros(0), {"error": " ".join(str(error).split())[-200:]}
        target.write(json.dumps(answer).encode() + b"\n")
        target.write(values.tobytes())
        target.flush()


if __name__ == "__main__":
    main()
