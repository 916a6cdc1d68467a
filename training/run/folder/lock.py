"""One process at a time in a folder: the lock of every command that writes a run or a table of results."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from sg_hub.errors import InvalidInputError
from sg_hub.io.files import remove_unfinished, unwritable

LOCK = ".lock"


@contextlib.contextmanager
def run_lock(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Alone in a folder, which is made where there is none, and goes again where nothing was written to it. The system
    takes the lock away with the process, however it ends; the file stays, and says who has it.

    What killed processes left unfinished in the folder is cleared away. A process that has the lock may take it again.
    Under torchrun the first process takes it for all.

    Raises:
        InvalidInputError: another process is at work there; says which.
        ReadError: the folder cannot be made or written to.
    """
    if int(os.environ.get("RANK", 0)) != 0:
        yield
        return
    folder = Path(folder)
    path = folder / LOCK
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.absolute(), timeout=0, is_singleton=True)
        first = not lock.is_locked
        lock.acquire()
    except Timeout:
        raise InvalidInputError(
            f"{folder} is in use by {_holder(path)}: wait until it has ended, or give another folder"
        ) from None
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        if first:
            with contextlib.suppress(OSError):  # that a disk is full does not matter here
                path.write_text(json.dumps(_own_signature()) + "\n", encoding="utf-8")
            for place in (folder, *(path for path in folder.iterdir() if path.is_dir())):
                remove_unfinished(place)
        yield
    finally:
        with contextlib.suppress(OSError):
            if made and [path] == list(folder.iterdir()):
                path.unlink()
                folder.rmdir()
            elif first:
                path.write_text("", encoding="utf-8")
        lock.release()


def _own_signature() -> dict[str, str | int]:
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200]
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    return {"process": os.getpid(), "machine": platform.node(), "command": command, "since": since}


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return "process {process} on {machine} since {since} (`{command}`)".format(**holder)
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return "another process"
