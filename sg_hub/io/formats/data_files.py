"""Files of voxels that the header of another file names (.mhd, .nhdr): where they are, and their bytes."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sg_hub.errors import InvalidInputError, ReadError, shortened
from sg_hub.io.formats.byte_stream import ByteStream, Packing, truncated

TEXT_HEADER = 1 << 20
"""Bytes at the start of a file within which its header ends."""
_MOST_FILES = 100_000
_PATTERN = re.compile(r"%0?[0-9]{0,2}[du]")


def named_file(header: Path, name: str, outside: bool) -> Path:
    """The file that a header names.

    Args:
        outside: whether it may lie elsewhere than in the header's folder.

    Raises:
        ReadError: it is not there.
        InvalidInputError: it lies elsewhere, or is the header itself.
    """
    shown = shortened(name, 80)
    if not name or "\0" in name:
        raise truncated(header, f"it names {shown!r} as the file of its voxels")
    folder = os.path.abspath(header.parent)
    place = os.path.normpath(os.path.join(folder, name))
    if not outside and not place.startswith(os.path.join(folder, "")):
        raise InvalidInputError(
            f"{header}: by its header its voxels are in {shown}, outside its own folder, where a file from elsewhere "
            "has no business. Put them beside it and correct the header, or say that you trust it: "
            "load_scan(path, outside=True) (command: --outside)"
        )
    path = Path(place)
    try:
        if not path.is_file():
            raise ReadError(f"{header}: its voxels are in {shown}, which is not beside it: copy both files together")
        if path.samefile(header):
            raise InvalidInputError(f"{header} names itself as the file of its voxels; correct the header")
    except OSError as error:
        if isinstance(error, ReadError):
            raise
        raise ReadError(f"{header}: its voxels are in {shown}, which cannot be read ({error.strerror})") from error
    return path


def numbered_names(pattern: str, first: int, last: int, step: int, header: Path) -> list[str]:
    """Names of files such as `slice%03d.raw`, 1 to 20 in steps of 1.

    Raises:
        InvalidInputError: no pattern with one number, or numbers that make no list.
    """
    count = (last - first) // step + 1 if step else 0
    if len(_PATTERN.findall(pattern)) != 1 or pattern.count("%") != 1 or not 0 < count <= _MOST_FILES:
        raise InvalidInputError(
            f"{header}: {shortened(f'{pattern} {first} {last} {step}', 80)} names no list of files; expected a name "
            "with one %d, the first number, the last and the step"
        )
    return [pattern % number for number in range(first, last + (1 if step > 0 else -1), step)]


def read_parts(
    header: Path, names: Sequence[str], length: int, packing: Packing, outside: bool, skip: int = 0
) -> np.ndarray:
    """(length,) uint8 of voxels that stand in one file or in several, as many bytes in each.

    Args:
        skip: bytes before the voxels in each file; -1: the voxels are what it ends in.

    Raises:
        ReadError: a file is missing, cut off or damaged.
        InvalidInputError: the voxels do not go evenly into the files, or these are elsewhere.
    """
    double = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if double is not None:
        raise InvalidInputError(f"{header}: it names {shortened(double, 80)} twice; expected a file for each slice")
    share, left = divmod(length, len(names))
    if left or not share:
        raise InvalidInputError(
            f"{header}: it names {len(names)} files for {length} bytes of voxels, which do not go evenly into them; "
            "expected one file per slice: are files missing from its list?"
        )
    parts = []
    for name in names:
        path = named_file(header, name, outside)
        with open(path, "rb") as file:
            stream = ByteStream(file, path, packing)
            if skip < 0:
                stream.to_end(share)
            stream.skip(max(0, skip))
            parts.append(stream.voxels(share))
            if packing == "none" and skip == 0 and file.read(1):
                raise truncated(path, f"{os.fstat(file.fileno()).st_size} bytes for {share} bytes of voxels")
            stream.finish(padding=skip <= 0)  # a header that says where they begin may leave out what follows
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def whole_number(text: str, header: Path, field: str) -> int:
    """A whole number of a header's text.

    Raises:
        ReadError: it is none.
    """
    text = text.strip()
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        raise truncated(header, f"{field} is {shortened(text, 40)!r}; expected a whole number")
    return int(text)


def real_numbers(text: str, header: Path, field: str, count: int) -> tuple[float, ...]:
    """As many numbers of a header's text.

    Raises:
        ReadError: others.
    """
    try:
        values = tuple(float(part) for part in text.split())
    except ValueError:
        values = ()
    if len(values) != count:
        raise truncated(header, f"{field} is {shortened(text, 40)!r}; expected {count} numbers")
    return values
