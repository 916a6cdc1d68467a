"""Files of a hub repository: all of one commit, checked by the hub's hashes, no damaged one left in the cache."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, RepoFile, hf_hub_download, hf_hub_url, try_to_load_from_cache

from sg_hub.errors import InvalidInputError, ReadError, shortened
from sg_hub.hub.answers import COMMIT, ask, failure, handing_over, is_passing, is_unreachable, tried_again

logger = logging.getLogger("sg_hub")

LONGEST_TEXT = 1 << 20
"""Bytes of a card or a licence."""
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
    named = isinstance(revision, str) and ".." not in revision and not revision.startswith("/")
    if revision is not None and not named:  # the cache has a file of that name
        raise InvalidInputError(f"revision={revision!r}: no branch, tag or commit can be called that")
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
        if COMMIT.fullmatch(found[0].parent.name):
            commit = found[0].parent.name
    return found


def download_texts(
    repo_id: str,
    commit: str | None,
    wanted: Callable[[str], bool],
    *,
    cache_dir: str | os.PathLike[str] | None = None,
) -> None:
    """Put card and licence of a model into the cache, beside its weights; what cannot be had is left.

    Args:
        wanted: which files of the repository these are, by name.
    """
    try:
        listed = list(HfApi(library_name="sg_hub").list_repo_tree(repo_id, revision=commit))
    except Exception as error:
        logger.warning(
            "card and licence of %s cannot be had (%s): put them beside the weights, or save again where the hub can "
            "be asked (a private one with HF_TOKEN)",
            repo_id,
            shortened(error),
        )
        return
    for file in listed:
        if not isinstance(file, RepoFile) or not wanted(file.path) or file.size > LONGEST_TEXT:
            continue
        try:
            download(repo_id, (file.path,), revision=commit, cache_dir=cache_dir)
        except ReadError as error:
            logger.debug("%s", error)


def _checked(
    repo_id: str, file: str, revision: str | None, pinned: str | None, force: bool, options: dict[str, Any]
) -> Path:
    damage = ""
    for again in (False, True):
        try:
            path, answered = _fetched(repo_id, file, revision, force or again, options)
        except Exception as error:
            raise ReadError(damage + failure(error, repo_id, revision, file)) from error
        expected = pinned or hub_hash(path) or answered
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


def _fetched(
    repo_id: str, file: str, revision: str | None, force: bool, options: dict[str, Any]
) -> tuple[Path, str | None]:
    """Where a file is, and its hash where the hub was asked for it (a cache without links, as on Windows, has none)."""

    def cached() -> Path | None:
        there = None if force else try_to_load_from_cache(repo_id, file, options["cache_dir"], revision)
        return Path(there) if isinstance(there, str) else None

    def fetch() -> Path:
        return Path(hf_hub_download(repo_id, file, revision=revision, force_download=force, **options))

    if options["local_files_only"]:
        return fetch(), None
    if revision is not None and COMMIT.fullmatch(revision) and (there := cached()) and there.is_symlink():
        return there, None
    url = hf_hub_url(repo_id, file, revision=revision)
    try:
        answer = ask(url, revision, options["token"])
    except Exception as error:
        if is_unreachable(error) and (there := cached()):
            return there, None
        if not is_passing(error):
            raise
        answer = tried_again(lambda: ask(url, revision, options["token"]))
    with handing_over(answer):
        path = tried_again(fetch)
    return path, answer.etag if _HASH.fullmatch(answer.etag or "") else None


def hub_hash(path: Path) -> str | None:
    """The hash that the hub gave for a file of its cache, where it is known: there a link leads to a blob named so."""
    if not path.is_symlink():
        return None
    blob = Path(os.readlink(path))
    return blob.name if blob.parent.name == "blobs" and _HASH.fullmatch(blob.name) else None


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
