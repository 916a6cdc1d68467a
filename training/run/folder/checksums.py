"""Checksums of what a run writes and reads again: a flipped bit, or a number changed by hand, is seen and named.

A record (of a step, of a trial, of an evaluation) holds the sha256 of its own values, and of the files beside it that
it answers for. Records that were written before have none, and are read as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sg_hub.errors import ReadError

OWN = "record_sha256"
"""Of the record's other values, as JSON with sorted keys."""
FILES = "files_sha256"
"""By name, of the files that the record answers for."""


def sealed(record: Mapping[str, Any], *files: Path) -> dict[str, Any]:
    """A record with its checksum, and with those of files."""
    own = {key: value for key, value in record.items() if key != OWN}
    if files:
        own[FILES] = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    return own | {OWN: _sha256(own)}


def opened(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record without its checksum.

    Raises:
        ValueError: it holds something else than what was written; the caller knows the file.
    """
    own = {key: value for key, value in record.items() if key != OWN}
    if OWN in record and record[OWN] != _sha256(own):
        raise ValueError("its checksum is another: it was damaged, or changed by hand")
    return own


def check_file(record: Mapping[str, Any], path: Path, made_by: str) -> None:
    """Refuse a file that is another than the record of the step that makes it says.

    Raises:
        ReadError: it is another, or cannot be read.
    """
    try:
        is_it = is_recorded(record, path)
    except OSError as error:
        raise ReadError(f"{path} cannot be read ({error.strerror or error})") from error
    if not is_it:
        raise ReadError(
            f"{path} is not what `sg-hub {made_by}` recorded (its checksum is another): it was damaged or changed by "
            f"hand, or the command did not come to its end; run `sg-hub {made_by}` again"
        )


def is_recorded(record: Mapping[str, Any], path: Path) -> bool:
    """Whether a file is what a record says of it; also where the record says nothing.

    Raises:
        OSError: it cannot be read.
    """
    files = record.get(FILES)
    if not isinstance(files, Mapping) or path.name not in files:
        return True
    return bool(hashlib.sha256(path.read_bytes()).hexdigest() == files[path.name])


def _sha256(values: Mapping[str, Any]) -> str:
    read_again = json.loads(json.dumps(values))  # keys that are numbers are texts then
    return hashlib.sha256(json.dumps(read_again, sort_keys=True).encode()).hexdigest()
