"""The weights of a model: model.safetensors, whose header is checked before its data are looked at."""

from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor

from sg_hub.errors import ReadError, shortened

WEIGHTS = "model.safetensors"
_LONGEST_HEADER = 16 << 20
"""Bytes; a network of 10 000 tensors needs about one million."""
_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
Header = dict[str, tuple[torch.dtype, tuple[int, ...]]]


class _Wrong(Exception):
    """What is wrong with a header; the caller knows the file."""


def weights_header(path: str | os.PathLike[str]) -> Header:
    """Type and shape of every tensor of a safetensors file, from its header alone: no data are read.

    What the header says is true of the file: every tensor's bytes are there, none is counted twice and none is left
    over. So the tensors of a file never need more memory than the file has bytes.

    Raises:
        ReadError: it cannot be read, or is no safetensors file, or its header does not fit its size.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            return _header(file, os.fstat(file.fileno()).st_size)
    except OSError as error:
        raise ReadError(f"{path} cannot be read: {error.strerror or error}") from error
    except _Wrong as error:
        raise _damaged(path, error) from error


def read_weights(path: Path, expected_sha256: str | None) -> tuple[dict[str, Tensor], str]:
    """The tensors of a safetensors file, and its sha256.

    Args:
        expected_sha256: what it must be; absent: anything.

    Raises:
        ReadError: a damaged file, or one of another hash.
    """
    weights_header(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ReadError(f"{path} cannot be read: {error.strerror or error}") from error
    sha256 = hashlib.sha256(data).hexdigest()
    if expected_sha256 is not None and sha256 != expected_sha256:
        raise ReadError(
            f"{path} is not the file that its config.json, or the registry, was made for: sha256 {sha256}, expected "
            f"{expected_sha256}. It was changed or damaged: save the model again (save_pretrained), download it again "
            "(force_download=True), or, for weights that ship, install sg_hub again"
        )
    try:
        return load_safetensors(data), sha256
    except Exception as error:  # of the reader, or torch's, for a file that has changed since its header was checked
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ReadError:
    return ReadError(f"{path} is damaged or no safetensors file ({shortened(error)}): remove it and load again")


def _header(file: BinaryIO, size: int) -> Header:
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > size - 8:
        raise _Wrong(f"it has {size} bytes, fewer than its header says")
    if length > _LONGEST_HEADER:
        raise _Wrong(f"its header has {length} bytes, more than any network needs")
    try:
        entries = json.loads(file.read(length))
    except (ValueError, RecursionError) as error:
        raise _Wrong("its header is no JSON") from error
    if not isinstance(entries, dict):
        raise _Wrong("its header is no JSON object")
    entries.pop("__metadata__", None)
    found = {name: _tensor(name, entry) for name, entry in entries.items()}
    end = 0
    for begin, stop in sorted(offsets for *_, offsets in found.values()):
        if begin != end:
            raise _Wrong(f"its tensors do not follow one another: one ends at byte {end}, the next begins at {begin}")
        end = stop
    if end != size - 8 - length:
        raise _Wrong(f"its tensors need {end} bytes, and it has {size - 8 - length} for them")
    return {name: (dtype, shape) for name, (dtype, shape, _) in found.items()}


def _tensor(name: str, entry: Any) -> tuple[torch.dtype, tuple[int, ...], tuple[int, int]]:
    """Type, shape and place of one tensor, where they agree."""
    label = shortened(name, 80)
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
        raise _Wrong(f"{label} has no type, shape or place")
    dtype = _TYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if dtype is None:
        raise _Wrong(f"{label} is of type {shortened(entry['dtype'], 20)}, expected one of {', '.join(_TYPES)}")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2 or len(shape) > 8:
        raise _Wrong(f"{label} has the shape {shortened(shape, 80)} at {shortened(offsets, 80)}")
    begin, stop = offsets
    if math.prod(shape) * dtype.itemsize != stop - begin:
        raise _Wrong(f"{label} of {dtype} and shape {shortened(shape, 80)} does not fit bytes {begin} to {stop}")
    return dtype, tuple(shape), (begin, stop)


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 1 << 63 for value in values)
