"""Files of a hub repository: all of one commit, checked by the hub's hashes, no damaged one left in the cache."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.hub.registry import unknown_name

_COMMIT = re.compile("[0-9a-f]{40}")
_HASH = re.compile("[0-9a-f]{64}|[0-9a-f]{40}")


def download(
    repo_id: str,
    files: tuple[str, ...],
    *,
    revision: str | None = None,
    pinned: Mapping[str, str] | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
) -> list[Path]:
    """Where `files` of a hub repository are on this machine, downloaded where that is needed.

    The first file settles the commit that all are taken from, so a branch that moves meanwhile mixes nothing. A file
    whose content is not what its hash says (the pinned sha256, else the hub's) is dropped from the cache and
    downloaded once more, so that damage never outlives the next try.

    Args:
        revision: branch, tag or commit; absent: the main branch.
        pinned: sha256 by file.
        token, cache_dir, local_files_only, force_download: as in huggingface_hub.

    Raises:
        InvalidInputError: options that exclude each other.
        ReadError: no such repository, revision or file, no access, no network, or a file that arrives damaged.
    """
    if local_files_only and force_download:
        raise InvalidInputError("local_files_only=True and force_download=True exclude each other: give one of them")
    options = {
        "token": token,
        "cache_dir": None if cache_dir is None else os.fspath(cache_dir),
        "local_files_only": local_files_only,
        "library_name": "sg_hub",
    }
    found: list[Path] = []
    commit = revision
    for file in files:
        found.append(_checked(repo_id, file, commit, (pinned or {}).get(file), force_download, options))
        if _COMMIT.fullmatch(found[0].parent.name):
            commit = found[0].parent.name
    return found


def _checked(
    repo_id: str, file: str, revision: str | None, pinned: str | None, force: bool, options: dict[str, Any]
) -> Path:
    damage = ""
    for again in (False, True):
        try:
            path = Path(hf_hub_download(repo_id, file, revision=revision, force_download=force or again, **options))
        except Exception as error:
            raise ReadError(damage + failure(error, repo_id, revision, file)) from error
        expected = pinned or hub_hash(path) or _asked_hash(repo_id, file, path, options)
        if expected is None or has_hash(path, expected):
            return path
        _drop(path)
        damage = (
            f"{file} of {repo_id!r} was damaged, or is not the registered file (its hash is not {expected}); it was "
            "removed from the cache. "
        )
        if options["local_files_only"]:
            raise ReadError(damage + "Load again without local_files_only")
    raise ReadError(damage + "It was downloaded twice: try again later, or give a local folder")


def hub_hash(path: Path) -> str | None:
    """The hash that the hub gave for a file of its cache, where it is known: there a link leads to a blob named so."""
    if not path.is_symlink():
        return None
    blob = Path(os.readlink(path))
    return blob.name if blob.parent.name == "blobs" and _HASH.fullmatch(blob.name) else None


def _asked_hash(repo_id: str, file: str, path: Path, options: dict[str, Any]) -> str | None:
    """The hash as the hub says it now: a cache without links (as on Windows) does not keep it."""
    if options["local_files_only"] or path.is_symlink() or not _COMMIT.fullmatch(path.parent.name):
        return None
    try:
        url = hf_hub_url(repo_id, file, revision=path.parent.name)
        etag = get_hf_file_metadata(url, token=options["token"]).etag
    except Exception:  # the file is there, the hub is not: nothing to compare with
        return None
    return etag if etag and _HASH.fullmatch(etag) else None


def has_hash(path: Path, expected: str) -> bool:
    """Whether a file has a hash of the hub: sha256 of large files, git's of others (mirrors may give plain sha1)."""
    if len(expected) == 64:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == expected
    data = path.read_bytes()
    header = b"blob %d\0" % len(data)
    return expected in [hashlib.sha1(text, usedforsecurity=False).hexdigest() for text in (header + data, data)]


def _drop(path: Path) -> None:
    """Take a file of the cache away, and what it links to."""
    blob = path.parent / os.readlink(path) if path.is_symlink() else None
    for file in (path, blob):
        if file is not None:
            with contextlib.suppress(OSError):  # a cache that cannot be written: the next download says so
                file.unlink(missing_ok=True)


def failure(error: Exception, repo_id: str, revision: str | None = None, file: str | None = None) -> str:
    """What went wrong with a repository, and what to do about it."""
    if type(error) is ValueError and isinstance(error.__cause__, Exception):
        error = error.__cause__  # how huggingface_hub reports that force_download failed
    where = f"hub model {repo_id!r}" + (f" at revision {revision!r}" if revision else "")
    reason = error.__cause__ if isinstance(error, LocalEntryNotFoundError) else error
    said = " ".join(str(reason).split())  # the client's messages have several lines
    if isinstance(error, GatedRepoError):
        return f"{where}: access is restricted; ask for it on the model's page and give token=..."
    if isinstance(error, RepositoryNotFoundError):
        return f"{where}: there is none, or it is private; check the id, or give token=... ({unknown_name(repo_id)})"
    if isinstance(error, RevisionNotFoundError):
        return f"{where}: no such branch, tag or commit"
    if isinstance(reason, HfHubHTTPError) and not isinstance(reason, EntryNotFoundError):
        status = reason.response.status_code
        if status == 401:
            return f"{where}: the hub asks for a valid token: log in (hf auth login), set HF_TOKEN, or give token=..."
        if status == 403:
            return f"{where}: this token may not do that; give one with the rights, or ask the owner ({said})"
        return f"{where}: the hub answered with status {status}; try again later"
    if isinstance(error, OfflineModeIsEnabled):
        return f"{where}: the hub cannot be reached in offline mode; unset HF_HUB_OFFLINE"
    if isinstance(error, LocalEntryNotFoundError):
        return (
            f"{where}: not in the local cache, and the hub cannot be reached (no network, or offline mode); "
            "connect once, or copy the model's folder here and give its path"
        )
    if isinstance(error, EntryNotFoundError):
        return f"{where}: it lacks {file}; only models with config.json and model.safetensors are loaded (no pickles)"
    if isinstance(error, HFValidationError):
        return unknown_name(repo_id)
    return f"{where}: the transfer failed ({type(error).__name__}: {said}); try again, or give a local folder"
