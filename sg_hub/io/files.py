"""Files that are written: refused early where they cannot be, and never half written. And paths as they are given."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import itertools
import json
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from sg_hub.errors import InvalidInputError, ReadError, SgHubError, shortened

LABEL_MAPS = (".nii.gz", ".nii", ".nrrd", ".mha")
"""What `Scan.save` writes."""
LABEL_IMAGES = (".png", ".tif", ".tiff")
"""What `Image.save` writes."""
_UNFINISHED = ".unfinished-"
"""How the names of files and folders begin that are not complete yet. Then come the machine and the process, so that
what a killed process left can be told from what is still being written."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
_LONGEST_NAME = 255
"""Bytes, on every usual file system."""
_numbers = itertools.count()
"""Of files that are being written: threads may write to one path."""
_cleared: set[Path] = set()
"""Folders in which this process has written a file, and before it cleared away what killed ones had left."""
_EXCHANGE = 2
"""Flag of Linux' renameat2: two names trade places at once."""


def given_path(path: Any, what: str) -> Path:
    """A path with `~` resolved; nothing is looked up on the disk.

    Args:
        what: what is to be given, for the message.

    Raises:
        InvalidInputError: no path, an empty one, or characters that no path has, or that would break the lines of
            tables and cards.
    """
    if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str):
        raise InvalidInputError(f"a path is needed, not a value of type {type(path).__name__}: give {what}")
    text = os.fspath(path)
    if not text:
        raise InvalidInputError(f"the path is empty: give {what}, or '.' for the current folder")
    try:
        possible = b"\0" not in os.fsencode(text)
    except UnicodeError:
        possible = False
    if not possible:
        raise InvalidInputError(f"{text!r} holds characters that no path can have: give {what}")
    if _CONTROL.search(text):
        raise InvalidInputError(f"{text!r} holds control characters, which break the lines of tables: give {what}")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise InvalidInputError(
            f"{text}: there is no such user's home folder: give {what} with its full path"
        ) from error


def check_output(
    path: str | os.PathLike[str], suffixes: Sequence[str], inputs: Sequence[str | os.PathLike[str]] = ()
) -> Path:
    """Refuse a file that cannot be written, before the work rather than after it.

    Args:
        path: file to be written.
        suffixes: those that it may have.
        inputs: files that it must not replace.

    Raises:
        InvalidInputError: another suffix, a folder, or one of the inputs.
        ReadError: its folder is missing or may not be written to.
    """
    path = given_path(path, "the file to be written")
    if not path.name.lower().endswith(tuple(suffixes)):
        raise InvalidInputError(f"{path}: expected a file name that ends in {' or '.join(suffixes)}")
    if any(len(os.fsencode(part)) > _LONGEST_NAME for part in path.parts):
        raise InvalidInputError(f"{shortened(path, 80)} has a name longer than files can have: give a shorter one")
    if path.is_dir():
        raise InvalidInputError(f"{path} is a folder: give the name of a file in it")
    if path.parent.exists() and not path.parent.is_dir():
        raise ReadError(f"{path}: {path.parent} is a file, not a folder; choose another place")
    if not path.parent.is_dir():
        raise ReadError(f"{path}: the folder {path.parent} does not exist; make it first")
    if not (os.access(path.parent, os.W_OK | os.X_OK) and _takes_files(path.parent)):
        raise ReadError(f"{path}: you may not write to the folder {path.parent.resolve()}; choose another one")
    for given in inputs:
        if path.exists() and os.path.exists(given) and path.samefile(given):
            raise InvalidInputError(f"{path} is read, and would be lost: give the result another name")
    return path


def _takes_files(folder: Path) -> bool:
    """Whether a file can be made in a folder: what the system says of rights is not all (/proc, a disk for reading)."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


@contextlib.contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary file that takes its place when it is complete and on the disk; until then an older one stays.

    Raises:
        ReadError: it cannot be written.
    """
    with writing_path(path) as temporary, open(temporary, "wb") as file:
        yield file


@contextlib.contextmanager
def writing_path(path: str | os.PathLike[str], suffix: str = "") -> Iterator[Path]:
    """The same for writers that take a path: what they write there takes the place of `path` when they are done.

    Args:
        suffix: of the temporary name, for writers that go by it.

    Raises:
        ReadError: it cannot be written.
    """
    path = Path(path)
    name = os.fsencode(f"{_own_prefix()}{next(_numbers)}-{path.name}")[: _LONGEST_NAME - len(suffix)]
    temporary = path.with_name(name.decode("utf-8", "ignore") + suffix)  # a letter may be cut in two
    if path.parent not in _cleared:
        _cleared.add(path.parent)
        remove_unfinished(path.parent)
    try:
        yield temporary
        _to_disk(temporary)
        os.replace(temporary, path)
        _to_disk(path.parent)
    except OSError as error:
        if isinstance(error, SgHubError):
            raise
        raise unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def writing_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """A new folder that takes the place of `folder` as a whole when it is complete; until then the older one stays.

    The caller says what an older folder may be replaced for: nothing is checked here.

    Raises:
        ReadError: it cannot be written.
    """
    folder = Path(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with working_folder(folder.parent) as temporary:
            new, older = temporary / "new", temporary / "older"
            new.mkdir()
            yield new
            for path in (*new.rglob("*"), new):
                if not path.is_symlink():  # it may lead nowhere
                    _to_disk(path)
            if not folder.exists():
                new.replace(folder)
            elif not _exchange(new, folder):
                folder.replace(older)
                try:
                    new.replace(folder)
                except OSError:
                    older.replace(folder)
                    raise
            _to_disk(folder.parent)
    except OSError as error:
        if isinstance(error, SgHubError):
            raise
        raise unwritable(folder, error) from error


@contextlib.contextmanager
def working_folder(parent: str | os.PathLike[str] | None = None) -> Iterator[Path]:
    """A folder in `parent` (absent: the system's for temporary files) for the time of the work. What a killed process
    left of one there is cleared away first.

    Raises:
        ReadError: it cannot be made.
    """
    parent = tempfile.gettempdir() if parent is None else parent
    try:
        remove_unfinished(parent)
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=_own_prefix()))
    except OSError as error:
        raise unwritable(parent, error) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_unfinished(folder: str | os.PathLike[str]) -> None:
    """Take away what killed processes of this machine left unfinished in a folder."""
    host = f"{_UNFINISHED}{_machine()}-"
    with contextlib.suppress(OSError):
        for path in Path(folder).glob(f"{_UNFINISHED}*"):
            number = path.name.removeprefix(host).partition("-")[0]
            if not path.name.startswith(host) or not number.isdigit() or _is_running(int(number)):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def alone_in(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Within it no other process that asks for the same changes files of a folder: what one of them has read is what it
    writes again, with its own addition. Waits; where the system has no such locks, nothing is waited for."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # of a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def write_atomic(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write a file as a whole: a crash leaves the old one. Its folder is made where there is none.

    Raises:
        ReadError: it cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error
    with writing(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """A value as JSON, as `write_atomic` does it."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def unwritable(path: str | os.PathLike[str], error: OSError) -> ReadError:
    """The error for a file or folder that cannot be written."""
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        return ReadError(f"{path} cannot be written: there is a file where a folder is needed; choose another place")
    reason = error.strerror or error
    question = "is there space, and may you write there? Else choose another place"
    return ReadError(f"{path} cannot be written ({reason}): {question}")


def _to_disk(path: Path) -> None:
    """Wait until a file's content, or a folder's names, are on the disk; where folders cannot be opened, go on."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        if path.is_dir():
            return
        raise
    try:
        os.fsync(handle)
    except OSError:
        if not path.is_dir():
            raise
    finally:
        os.close(handle)


def _own_prefix() -> str:
    return f"{_UNFINISHED}{_machine()}-{os.getpid()}-"


@lru_cache(maxsize=1)
def _machine() -> str:
    """Where a process's number means something: hosts of one name, and containers, have numbers of their own."""
    told = []
    with contextlib.suppress(OSError):
        told.append(Path("/etc/machine-id").read_text(encoding="utf-8"))
    with contextlib.suppress(OSError, AttributeError):
        told.append(os.readlink("/proc/self/ns/pid"))
    host = "".join(letter if letter.isalnum() else "_" for letter in platform.node())[:40]
    return f"{host}_{hashlib.sha256(' '.join(told).encode()).hexdigest()[:8]}"


def _is_running(number: int) -> bool:
    if sys.platform == "win32":
        return True  # there the question itself would end the process
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders trade places at once, where the system can; else nothing is done."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    current = -100  # paths are relative to the current folder
    return rename is not None and (
        rename(current, os.fsencode(one), current, os.fsencode(other), ctypes.c_uint(_EXCHANGE)) == 0
    )
