"""Checkpoints: atomic, with a checksum inside, and the one before is kept.

`checkpoint.pt` is what `torch.save` writes, a ZIP archive, whose comment is the sha256 of all bytes before it; so
`torch.load` reads it too. `checkpoint.previous.pt` is the one before, for when the newest is damaged.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import sys
from pathlib import Path
from typing import Any

import torch

from sg_hub.errors import ReadError
from sg_hub.io.files import write_atomic, writing_path
from sg_hub.io.pickles import check_archive

DIGITS = 64
"""Of a sha256 in hexadecimal."""


def previous_checkpoint(path: Path) -> Path:
    """Where the checkpoint before the newest is."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a state; the one that was there becomes the one before.

    Raises:
        ReadError: it cannot be written; the older ones stay.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(-2, os.SEEK_END)  # the archive's last two bytes are the length of its comment
    buffer.write(DIGITS.to_bytes(2, "little"))
    buffer.write(hashlib.sha256(buffer.getbuffer()).hexdigest().encode())
    if path.is_file():
        _keep(path)
    write_atomic(path, buffer.getvalue())


def load_checkpoint(path: Path, determined_by: str) -> dict[str, Any] | None:
    """The state of an interrupted run, or None. Where the newest is damaged, the one before, with a warning.

    Raises:
        ReadError: it belongs to another recipe or other data, or all that is there is damaged.
    """
    state = read_checkpoint(path)
    if state is not None:
        check_belongs(state, determined_by, path)
    return state


def check_belongs(state: dict[str, Any], determined_by: str, path: Path) -> None:
    """Refuse the checkpoint of another run.

    Raises:
        ReadError: it belongs to another recipe or other data.
    """
    if state["determined_by"] != determined_by:
        raise ReadError(
            f"{path} was written with another recipe or other data: "
            "give another run=FOLDER, or remove the checkpoint to start afresh"
        )


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """The state in a checkpoint, whatever it belongs to, or None. Where it is damaged, the one before, with a warning.

    Raises:
        ReadError: all that is there is damaged.
    """
    if not path.is_file():
        return None
    try:
        state = _read(path)
    except ReadError as damage:
        try:
            state = _read(previous_checkpoint(path))
        except ReadError:
            raise ReadError(f"{damage}, and so is the one before, if any: remove it to start afresh") from damage
        print(f"warning: {damage}; going on from the checkpoint before", file=sys.stderr, flush=True)
        # The damaged one must not become the one before.
        write_atomic(path, previous_checkpoint(path).read_bytes())
    return state


def remove_checkpoint(path: Path) -> None:
    """Take away the newest and the one before."""
    for place in (previous_checkpoint(path), path):
        with contextlib.suppress(OSError):
            place.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END) - DIGITS
            file.seek(0)
            digest = hashlib.sha256()
            while size > 0 and (block := file.read(min(size, 2**20))):
                digest.update(block)
                size -= len(block)
            if file.read() != digest.hexdigest().encode():
                raise ReadError(f"{path} is damaged (its checksum is another)")
            check_archive(file)
            file.seek(0)
            state = torch.load(file, map_location="cpu", weights_only=True)
    except ReadError:
        raise
    except OSError as error:
        raise ReadError(f"{path} cannot be read ({error.strerror or error})") from error
    except Exception as error:  # torch and pickle raise nearly anything, at length
        said = str(error).partition("\n")[0][:200]
        raise ReadError(f"{path} is damaged ({type(error).__name__}: {said})") from error
    if not isinstance(state, dict) or not isinstance(state.get("determined_by"), str):
        raise ReadError(f"{path} is no checkpoint of a run")
    return state


def _keep(path: Path) -> None:
    """A second name for the newest, as the one before; a copy where files have one name only."""
    with writing_path(previous_checkpoint(path)) as temporary:
        try:
            os.link(path, temporary)
        except OSError:
            temporary.write_bytes(path.read_bytes())
