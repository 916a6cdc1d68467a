"""A model folder to a hub: the card is checked first, and a second run changes nothing.

sg-hub upload model_cards/<model> --to OWNER/NAME [--private] [--pictures] [--dry-run]
sg-hub publish RECIPE --to OWNER/NAME [--private] [--pictures]

What is sent is listed first. Pictures may show patients: they are sent only where `--pictures` asks for it. The token
comes from HF_TOKEN or from the last login (hf auth login), the hub from HF_ENDPOINT.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, ModelCard, get_session
from huggingface_hub.repocard import metadata_load
from huggingface_hub.utils import disable_progress_bars, hf_raise_for_status

import sg_hub
from sg_hub.errors import InvalidInputError, ReadError, shortened
from sg_hub.hub.answers import failure
from sg_hub.hub.card import CARD
from sg_hub.hub.model_folder import sha256_of
from sg_hub.hub.upload import upload
from sg_hub.hub.weights_file import WEIGHTS
from sg_hub.io.files import given_path, working_folder

from .registry import pin, read_registry, registry_file
from .selection import select, without_pictures

_NAMED = 5
"""Faults of a card that a message names, at most."""


def upload_folder(
    folder: str | Path,
    repo_id: str,
    private: bool = False,
    progress: bool = True,
    *,
    pictures: bool = False,
    dry_run: bool = False,
) -> str:
    """Upload a folder of model_cards/ as one commit; returns what was done, in words, with the commit's hash.

    Where the registry has the folder's weights, it gets the repository and the commit. A folder may hold a card
    without weights.

    Args:
        private: for a new repository.
        progress: what is sent, and huggingface_hub's bars, on standard error.
        pictures: send pictures as well, which may show patients; else the card that is sent shows none.
        dry_run: say what would be sent, and ask nobody.

    Raises:
        InvalidInputError: an invalid card, or `private` for a repository that is public.
        ReadError: no card, weights that do not load, no access, or no network. After either nothing was uploaded.
    """
    folder = given_path(folder, "a model folder").resolve()
    card = check_card(folder)
    weights = folder / WEIGHTS
    if weights.exists():
        sg_hub.from_pretrained(folder)
    registry = registry_file(folder.parent)
    read_registry(registry)  # before anything is sent
    chosen = select(folder, pictures)
    size = sum(path.stat().st_size for path in chosen.files.values()) / 1e6
    said = f"{len(chosen.files)} files ({size:.1f} MB) of {folder.name} to {repo_id}:\n{chosen}"
    if dry_run:
        return f"would upload {said}\nnothing was sent"
    text = without_pictures(card, chosen.kept_back)
    _ask_hub(text, folder / CARD, repo_id)
    if progress:
        print(f"uploading {said}", file=sys.stderr)
    else:
        disable_progress_bars()
    with working_folder() as temporary:
        files = chosen.files
        if text != card:
            (temporary / CARD).write_text(text, encoding="utf-8")
            files = files | {CARD: temporary / CARD}
        commit, new = upload(files, repo_id, private=private or None, message=f"Upload {folder.name}")
    done = f"{repo_id}: commit {commit.oid}" if new else f"{repo_id}: nothing has changed since commit {commit.oid}"
    if not weights.exists():
        return done
    return done + pin(registry, folder.name, sha256_of(weights), repo_id, commit.oid)


def check_card(folder: Path) -> str:
    """The card of a folder; its metadata are valid, as far as can be told without the hub.

    Raises:
        ReadError: there is none, or it cannot be read.
        InvalidInputError: its metadata is invalid; the message has the first things that were found.
    """
    path = folder / CARD
    if not path.is_file():
        raise ReadError(f"{folder} has no {CARD}: give a folder of model_cards/, as `sg-hub publish` writes")
    try:
        metadata = metadata_load(path) or {}
        card = ModelCard.load(path)
    except Exception as error:  # of the YAML parser, or ValueError
        raise InvalidInputError(f"{path}: its metadata cannot be read: {shortened(error)}. Mend it") from error
    wrong = [*_licence(metadata), *_lists(metadata), *_results(metadata, card)]
    if wrong:
        found = "; ".join(shortened(words) for words in wrong[:_NAMED]) + ("; and more" if len(wrong) > _NAMED else "")
        raise InvalidInputError(f"{path}: its metadata is invalid ({found}): mend it, nothing was uploaded")
    return path.read_text(encoding="utf-8")


def _ask_hub(card: str, path: Path, repo_id: str) -> None:
    """Whether the hub accepts a card: it knows more rules, such as the list of licences.

    ModelCard.validate would ask the same, but in huggingface_hub 1.9 of huggingface.co, whatever HF_ENDPOINT is.
    """
    asked = {"repoType": "model", "content": card}
    try:
        response = get_session().post(f"{HfApi().endpoint}/api/validate-yaml", json=asked)
        if response.status_code != 400:
            hf_raise_for_status(response)
            return
    except Exception as error:
        raise ReadError(f"nothing was uploaded. {failure(error, repo_id)}") from error
    raise InvalidInputError(
        f"{path}: the hub refuses its metadata; mend it, nothing was uploaded: {shortened(response.text)}"
    )


def _licence(metadata: dict[str, Any]) -> Iterator[str]:
    licence = metadata.get("license")
    if not (isinstance(licence, str) and licence) and not _is_texts(licence):
        yield f"license is {shortened(repr(licence), 100)}, expected an identifier such as apache-2.0"
    if licence == "other" and not isinstance(metadata.get("license_name"), str):
        yield "license is other, which needs license_name (and license_link)"


def _lists(metadata: dict[str, Any]) -> Iterator[str]:
    for key in ("tags", "datasets", "metrics"):
        value = metadata.get(key)
        if value is not None and not _is_texts(value) and not (isinstance(value, str) and key == "datasets"):
            yield f"{key} is {shortened(repr(value), 100)}, expected a list of texts"


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, str) and item for item in value)


def _results(metadata: dict[str, Any], card: ModelCard) -> Iterator[str]:
    """ModelCard.load has refused a model-index without names, tasks, data sets; it lets values pass."""
    index = metadata.get("model-index")
    if index is None:
        return
    results = card.data.get("eval_results") or []
    if not results:
        yield "model-index holds no results; fill it or leave it out"
    for result in results:
        name, value = result.metric_name or result.metric_type, result.metric_value
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            yield f"model-index: {shortened(name, 100)} is {shortened(repr(value), 100)}, expected a finite number"
