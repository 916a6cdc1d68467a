"""Files of torch.save, read without running anything that is in them."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sg_hub.errors import InvalidInputError, ReadError, shortened
from sg_hub.io.pickles import check_archive, check_legacy

ZIP = b"PK\x03\x04"
PICKLE = b"\x80"
WITHIN = ("state_dict", "net", "network_weights")
"""What a checkpoint calls its state dict, among other things."""


class _NotNeeded:
    """Stands for the NumPy numbers (losses, accuracies) beside the weights: read, and never used.

    Nothing of NumPy is called for them.
    """

    def __init__(self, *arguments: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


_NUMPY_NUMBERS: list[Any] = [
    (_NotNeeded, name) for name in ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype")
]


def read_torch(path: Path, zipped: bool) -> dict[str, Tensor]:
    """The state dict of a checkpoint: bare, or under one of WITHIN.

    Raises:
        ReadError: a damaged file, or one with other things than tensors, containers and numbers.
        InvalidInputError: no state dict.
    """
    content = _load(path, zipped)
    if isinstance(content, Mapping):
        content = next((content[key] for key in WITHIN if isinstance(content.get(key), Mapping)), content)
    if not isinstance(content, Mapping):
        raise InvalidInputError(f"{path} holds a {type(content).__name__}, expected a state dict")
    names = [key for key in content if isinstance(key, str)]
    if not any(isinstance(value, Tensor) for value in content.values()):
        raise InvalidInputError(f"{path} holds no state dict, but {shortened(', '.join(names[:12])) or 'nothing'}")
    if len(names) < len(content):
        raise InvalidInputError(f"{path} has keys that are no text, expected a state dict")
    for key, value in content.items():
        if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise InvalidInputError(
                f"{path}: {shortened(key, 80)} is a {type(value).__name__}, expected a dense tensor"
            )
    return dict(content)


def _load(path: Path, zipped: bool) -> Any:
    try:
        with open(path, "rb") as file:
            check_archive(file) if zipped else check_legacy(file)
        with torch.serialization.safe_globals(_NUMPY_NUMBERS):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)|(?:class|function|call|instantiate)\W+([\w.]+)", str(error))
        named = f" ({shortened(found.group(1) or found.group(2), 80)})" if found else ""
        raise ReadError(
            f"{path} is damaged, or holds other things than tensors{named}, which could run code and are not loaded"
        ) from error
    except Exception as error:  # torch raises nearly anything for a file that is cut off or of another kind
        said = (str(error).splitlines() or [""])[0]
        raise ReadError(
            f"{path} is damaged, or not written by torch.save ({type(error).__name__}: {shortened(said, 160)}): "
            "download it again"
        ) from error
