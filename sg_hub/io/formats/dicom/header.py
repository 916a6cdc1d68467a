"""Data sets of DICOM files, read by pydicom; whatever it raises on a damaged file is an error that names the file."""

from __future__ import annotations

import contextlib
import io
import math
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sg_hub.errors import ReadError, SgHubError, shortened
from sg_hub.io.for_all_threads import without_warnings
from sg_hub.io.formats.limits import refuse_long

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_LOSSY = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
"""Transfer syntaxes that change values: JPEG of 8 and 12 bits."""
_PERHAPS_LOSSY = (
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.93",
    "1.2.840.10008.1.2.4.112",
    "1.2.840.10008.1.2.4.203",
)
"""Those that may: JPEG-LS, JPEG 2000, JPEG XL."""
_DEFLATED = "1.2.840.10008.1.2.1.99"
_UNDEFINED = 0xFFFFFFFF


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what pydicom raises on values that are none into a ReadError, and keep its warnings to itself."""
    try:
        with without_warnings:
            yield
    except (SgHubError, PermissionError, FileNotFoundError):
        raise
    except Exception as error:  # pydicom raises nearly anything for a damaged file
        raise ReadError(
            f"{path} is truncated, damaged or no DICOM image ({shortened(error, 200) or type(error).__name__}): copy "
            "or export it again"
        ) from error


def read_header(path: Path, tags: list[str] | None = None) -> Dataset:
    """The data set without its pixels.

    Args:
        tags: keywords of the elements that are wanted; absent: all.

    Raises:
        ReadError: truncated, damaged, or no DICOM.
    """
    return _read(path, tags, pixels=False)


def read_image_header(path: Path, *keywords: str) -> Dataset:
    """The elements of these names, as far as a file with an image has them.

    Raises:
        ReadError: truncated, damaged, or no image.
    """
    data = read_header(path, [*keywords, "Rows"])
    if "Rows" not in data:  # which stands behind nearly all that is asked for
        raise ReadError(f"{path} is truncated, or holds no image: copy or download it again")
    return data


def read_dataset(path: Path) -> Dataset:
    """The whole data set, with the pixels as they are stored. Errors as for `read_header`."""
    return _read(path, None, pixels=True)


def _read(path: Path, tags: list[str] | None, pixels: bool) -> Dataset:
    import pydicom

    with reading(path), open(path, "rb") as raw:
        length = os.fstat(raw.fileno()).st_size
        refuse_long(path, length)
        file = _Within(raw, length)
        _refuse_inflated(path, file)
        data = pydicom.dcmread(file, force=True, stop_before_pixels=not pixels, specific_tags=tags)
        if not data and not data.file_meta:
            raise ValueError("no data elements in it")
        _refuse_short(data)
        if "TransferSyntaxUID" not in data.file_meta:
            data.file_meta.TransferSyntaxUID = _syntax(data)
        return data


def numbers(value: Any, count: int) -> tuple[float, ...]:
    """Values of an element as finite numbers; none where it is absent, or there are others."""
    if value is None:
        return ()
    try:
        values = tuple(float(entry) for entry in ([value] if isinstance(value, (int, float)) else value))
    except (TypeError, ValueError):
        return ()
    return values if len(values) == count and all(math.isfinite(entry) for entry in values) else ()


def text(data: Dataset, keyword: str) -> str:
    """An element as text, the first of several; empty where it is absent."""
    value = data.get(keyword, "")
    if value is None:
        return ""
    if not isinstance(value, str) and hasattr(value, "__iter__"):
        value = next(iter(value), "")
    return str(value).strip("\0 ")


def whole(data: Dataset, keyword: str, absent: int) -> int:
    """An element as a whole number; `absent` where there is none, or it is empty."""
    value = data.get(keyword)
    return absent if value is None or value == "" else int(value)


def is_lossy(data: Dataset) -> bool:
    """Whether values were changed by a compression, the file's own or an earlier one, as far as it says."""
    said, syntax = text(data, "LossyImageCompression"), str(data.file_meta.get("TransferSyntaxUID", ""))
    return said == "01" or syntax in _LOSSY or (syntax in _PERHAPS_LOSSY and said != "00")


class _Within(io.BytesIO):
    """A file that reads no more than it has: damaged lengths ask for gigabytes, and get them before they are looked
    at."""

    def __init__(self, file: io.BufferedReader, length: int) -> None:
        super().__init__()
        self._file, self._length = file, length

    def read(self, size: int | None = -1, /) -> bytes:
        rest = max(0, self._length - self._file.tell())
        return self._file.read(rest if size is None or size < 0 else min(size, rest))

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def _refuse_inflated(path: Path, file: _Within) -> None:
    """Whole data sets can be packed: pydicom unpacks them without a limit, so what comes of it is counted first."""
    from pydicom.filereader import read_file_meta_info

    try:
        syntax = str(read_file_meta_info(cast(Any, file)).get("TransferSyntaxUID", ""))
    except Exception:  # no such part, or a damaged one
        syntax = ""
    if syntax == _DEFLATED:
        stream, length = zlib.decompressobj(wbits=-15), 0
        while (packed := stream.unconsumed_tail or file.read(1 << 20)) and not stream.eof:
            length += len(stream.decompress(packed, 1 << 20))
            refuse_long(path, length)
    file.seek(0)


def _refuse_short(data: Dataset) -> None:
    """Elements of which a part is there: pydicom takes them as they are."""
    from pydicom.dataelem import RawDataElement

    for tag in data.keys():  # noqa: SIM118 - the data set's own iteration converts the values
        element = data.get_item(tag)
        if isinstance(element, RawDataElement) and element.value is not None and element.length != _UNDEFINED:
            have = len(element.value)
            if have != element.length:
                raise ValueError(f"{have} of {element.length} bytes of the element {tag}")


def _syntax(data: Dataset) -> Any:
    """Of a file that does not say it: as pydicom has read it."""
    from pydicom import uid

    implicit, little = data.original_encoding
    if implicit:
        return uid.ImplicitVRLittleEndian
    return uid.ExplicitVRLittleEndian if little in (True, None) else uid.ExplicitVRBigEndian
