"""What a hub answers: asked for within bounds, checked before it is used, and put into words where it is an error.

huggingface_hub (2.4.0) makes paths of its cache of the commit and the ETag that a hub answers, whatever they hold, so
that `../` in them leads outside. Here they are asked for first, and `hf_hub_download` is handed what was checked.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from huggingface_hub import HfFileMetadata, constants, file_download, get_hf_file_metadata, get_session
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

from sg_hub.errors import ReadError, shortened
from sg_hub.hub.registry import unknown_name

COMMIT = re.compile("[0-9a-f]{40}")
_ETAG = re.compile("[0-9A-Za-z][0-9A-Za-z._-]{0,127}")
WAITS = (1.0, 2.0)
"""Seconds before the second and the third try."""
_PASSING = (408, 429, 500, 502, 503, 504)
"""Answers of a hub that may be well again in a moment."""
_TIMED_OUT = frozenset({"TimeoutException", "TimeoutError"})
_NETWORK = frozenset({"NetworkError", "RemoteProtocolError"}) | _TIMED_OUT
"""Classes of httpx, which has another name in each release of huggingface_hub."""
_MOST_RESUMED = 2
"""How often a download that has come to a halt is taken up again, with the client's timeout (10 s) each time."""

_LONGEST_ANSWER = 30.0
"""Seconds that a hub may think about an upload."""

_one_upload = threading.Lock()
"""What is changed of the client, which is one for all, is changed back before the next upload."""
_checked: ContextVar[HfFileMetadata | None] = ContextVar("checked", default=None)
Result = TypeVar("Result")


def ask(url: str, revision: str | None, token: str | bool | None) -> HfFileMetadata:
    """Commit, ETag and place of a file of a hub.

    Raises:
        ReadError: an answer that no hub gives, of which nothing must be used.
    """
    timeout = constants.HF_HUB_ETAG_TIMEOUT
    found = get_hf_file_metadata(url, token=token, timeout=timeout, library_name="sg_hub")
    parts = {"commit": (found.commit_hash, COMMIT), "ETag": (found.etag, _ETAG)}
    if found.xet_file_data is not None:
        parts["Xet hash"] = (found.xet_file_data.file_hash, _ETAG)
    wrong = [f"{name} {shortened(repr(value), 80)}" for name, (value, form) in parts.items() if not _is(form, value)]
    if revision is not None and COMMIT.fullmatch(revision) and found.commit_hash != revision and not wrong:
        wrong.append(f"commit {found.commit_hash}, asked for {revision}")
    if not found.location.startswith(("https://", "http://")):
        wrong.append(f"location {shortened(repr(found.location), 80)}")
    if wrong:
        raise ReadError(
            f"{_shown(url)} gives what no hub answers ({', '.join(wrong)}), and nothing of it was used: is HF_ENDPOINT "
            "that of a hub, and no proxy in between?"
        )
    return found


def _shown(url: str) -> str:
    """Without a user and password, which HF_ENDPOINT may hold."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _is(form: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and form.fullmatch(value) is not None


@contextlib.contextmanager
def handing_over(answer: HfFileMetadata) -> Iterator[None]:
    """Within the block `hf_hub_download` takes this answer instead of asking itself."""
    token = _checked.set(answer)
    try:
        yield
    finally:
        _checked.reset(token)


@contextlib.contextmanager
def within_a_timeout() -> Iterator[float]:
    """Within the block a request that is sent without a timeout, as huggingface_hub's uploads are, has one.

    Gives the seconds, for calls that say themselves that they have none.
    """
    with _one_upload:
        client = get_session()
        unanswered: dict[tuple[str, str], float] = {}
        before = client.timeout

        def sent(request: Any) -> None:
            page = (request.method, str(request.url))
            if time.monotonic() - unanswered.setdefault(page, time.monotonic()) >= _LONGEST_ANSWER:
                raise TimeoutError(f"{request.url} was asked again after no answer")  # huggingface_hub does so 5 times

        def answered(response: Any) -> None:
            unanswered.pop((response.request.method, str(response.request.url)), None)

        client.event_hooks["request"].append(sent)
        client.event_hooks["response"].append(answered)
        if before.read is None:
            client.timeout = _LONGEST_ANSWER
        try:
            yield _LONGEST_ANSWER
        finally:
            client.timeout = before
            client.event_hooks["request"].remove(sent)
            client.event_hooks["response"].remove(answered)


def _answer_of(ask_hub: Callable[..., Any]) -> Callable[..., Any]:
    def get_hf_file_metadata(*values: Any, **options: Any) -> Any:
        return _checked.get() or ask_hub(*values, **options)

    return get_hf_file_metadata


def _within_bounds(get: Callable[..., Any]) -> Callable[..., Any]:
    def http_get(*values: Any, **options: Any) -> Any:
        if _checked.get() is not None:
            options["_nb_retries"] = min(options.get("_nb_retries", _MOST_RESUMED), _MOST_RESUMED)
        return get(*values, **options)

    return http_get


# There is no other way to hand an answer over. What others ask of huggingface_hub is as it was: only within
# `handing_over`, and in its thread, is anything different.
file_download.get_hf_file_metadata = _answer_of(file_download.get_hf_file_metadata)
file_download.http_get = _within_bounds(file_download.http_get)


def tried_again(action: Callable[[], Result]) -> Result:
    """What an action gives, which is tried again where a hub could not answer for a moment.

    One that takes longer than the client's timeout is not asked again: who waits wants to know.
    """
    for wait in WAITS:
        try:
            return action()
        except Exception as error:
            if not is_passing(error) or _TIMED_OUT & _classes(error):
                raise
            time.sleep(wait)
    return action()


def is_passing(error: Exception) -> bool:
    """Whether the hub may answer in a moment, or there is no way to it now."""
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in _PASSING
    return bool(_NETWORK & _classes(error))


def is_unreachable(error: Exception) -> bool:
    """Whether what the cache holds may serve instead."""
    refused = (EntryNotFoundError, RevisionNotFoundError, HFValidationError)
    return (isinstance(error, (HfHubHTTPError, OfflineModeIsEnabled)) and not isinstance(error, refused)) or (
        is_passing(error)
    )


def _classes(error: Exception) -> set[str]:
    return {cls.__name__ for cls in type(error).__mro__}


def failure(error: Exception, repo_id: str, revision: str | None = None, file: str | None = None) -> str:
    """What went wrong with a repository, and what to do about it."""
    if type(error) is ValueError and isinstance(error.__cause__, Exception):
        error = error.__cause__  # how huggingface_hub reports that force_download failed
    where = f"hub model {repo_id!r}" + (f" at revision {revision!r}" if revision else "")
    said = shortened(error)  # the client's messages have several lines, or a whole page
    if isinstance(error, ReadError):
        return f"{where}: {error}"
    if isinstance(error, GatedRepoError):
        return f"{where}: access is restricted; ask for it on the model's page and give token=..."
    if isinstance(error, RepositoryNotFoundError):
        return f"{where}: there is none, or it is private; check the id, or give token=... ({unknown_name(repo_id)})"
    if isinstance(error, RevisionNotFoundError):
        return f"{where}: no such branch, tag or commit"
    if isinstance(error, HfHubHTTPError) and not isinstance(error, EntryNotFoundError):
        status = error.response.status_code
        if status == 401:
            return f"{where}: the hub asks for a valid token: log in (hf auth login), set HF_TOKEN, or give token=..."
        if status == 403:
            return f"{where}: this token may not do that; give one with the rights, or ask the owner ({said})"
        return f"{where}: the hub answered with status {status}; try again later"
    if isinstance(error, OfflineModeIsEnabled):
        return f"{where}: the hub cannot be reached in offline mode, and it is not in the cache; unset HF_HUB_OFFLINE"
    if isinstance(error, LocalEntryNotFoundError):
        return (
            f"{where}: not in the local cache, and with local_files_only=True no hub is asked; connect once, or copy "
            "the model's folder here and give its path"
        )
    if _NETWORK & _classes(error):
        return (
            f"{where}: the hub cannot be reached, or does not answer ({type(error).__name__}: {said}); try again "
            "later, or copy the model's folder here and give its path"
        )
    if isinstance(error, EntryNotFoundError):
        return f"{where}: it lacks {file}; only models with config.json and model.safetensors are loaded (no pickles)"
    if isinstance(error, HFValidationError):
        return unknown_name(repo_id)
    return f"{where}: the transfer failed ({type(error).__name__}: {said}); try again, or give a local folder"
