"""How much a file may ask for. Headers are believed only so far: what they promise is compared with this, and with the
size of the file, before anything is allocated."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

from sg_hub.errors import InvalidInputError

SCAN_BYTES = 4 << 30
"""Of the voxels of a scan as float32: 1024 x 1024 x 1024 of them."""
IMAGE_BYTES = 400 << 20
"""Of the pixels of an image as float32: 100 million of them."""
_VARIABLE = "SG_HUB_MAX_BYTES"
_FLOAT = 4


def most_bytes(default: int) -> int:
    """The limit: `default`, or what the environment says instead.

    Raises:
        InvalidInputError: the environment says something else than a number.
    """
    given = os.environ.get(_VARIABLE, "").strip()
    if not given:
        return default
    if not given.isascii() or not given.isdigit() or len(given) > 18:
        raise InvalidInputError(f"{_VARIABLE}={given[:40]!r} in the environment: expected a number of bytes")
    return int(given)


def refuse_large(source: str | Path, sides: Sequence[int], default: int = SCAN_BYTES) -> None:
    """Raise InvalidInputError for an array of more bytes, as float32, than is allowed; `sides` are its lengths."""
    needed = math.prod(sides) * _FLOAT
    most = most_bytes(default)
    if needed > most:
        raise InvalidInputError(
            f"{source}: by its header it holds {' x '.join(f'{side:.12g}' for side in sides)} values, which take "
            f"{needed / 2**30:.4g} GiB; at most {most / 2**30:.4g} GiB are read. Is the header damaged? If not, allow "
            f"more: {_VARIABLE}=BYTES in the environment"
        )


def refuse_long(source: str | Path, length: int) -> None:
    """Raise InvalidInputError for a file that has to be read as a whole and is longer than what is allowed."""
    most = most_bytes(SCAN_BYTES)
    if length > most:
        raise InvalidInputError(
            f"{source} has {length / 2**30:.4g} GiB; at most {most / 2**30:.4g} GiB are read. Allow more: "
            f"{_VARIABLE}=BYTES in the environment"
        )
