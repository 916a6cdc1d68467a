"""Where the files of a model are: in the package, in a folder, or on a hub."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path

from huggingface_hub import constants

from sg_hub.errors import InvalidInputError, ReadError, shortened
from sg_hub.hub.card import CARD, goes_with_weights, texts_beside
from sg_hub.hub.config_file import CONFIG, sha256_of_weights
from sg_hub.hub.download import download, download_texts, has_hash, hub_hash
from sg_hub.hub.model_folder import weights_of
from sg_hub.hub.registry import HINT, get_weights, is_registered, unknown_name
from sg_hub.hub.weights_file import WEIGHTS
from sg_hub.io.files import given_path

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelFiles:
    config: Path
    weights: Path
    source: str
    revision: str | None = None
    sha256: str | None = None
    """What model.safetensors must hash to, as the registry or config.json says; absent: neither does."""
    cache_dir: str | None = None
    """Of a model that came from a hub, which may be asked for more."""


def find_files(
    name: str | os.PathLike[str],
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
) -> ModelFiles:
    """The two files of a registered name, a local folder or a hub id, downloaded where that is needed.

    A `Path` is of a folder, where there is one: pathlib leaves out the `./` that tells it from a registered name.

    Raises:
        InvalidInputError: an unknown name.
        ReadError: a folder without the files; a hub that has no such model, or cannot be reached.
    """
    resolved = given_path(name, "a registered name, a folder or a hub id")
    text = os.fspath(name)  # which the path is not: "./NAME" is a folder, "NAME" may be registered
    if text.startswith("~"):
        text = os.fspath(resolved)
    sha256 = None
    repo_id = text
    if is_registered(text) and not (isinstance(name, os.PathLike) and os.path.isdir(text)):
        if os.path.isfile(os.path.join(text, CONFIG)):
            _log.warning("%s is taken for the registered model of that name: for the folder here give ./%s", text, text)
        weights = get_weights(text)
        if weights.how_to_get is not None:
            raise ReadError(f"{text} comes neither with this package nor from a hub: {weights.how_to_get}")
        if weights.folder is not None and revision in (None, weights.commit):
            return _local(weights.folder, f"{text} (shipped)", weights.commit, weights.sha256)
        if weights.repo_id is None:
            raise ReadError(
                f"{text}: the weights are not in this installation and on no hub"
                + (f", so revision={revision!r} cannot be had" if revision else "; install sg_hub again")
            )
        repo_id = weights.repo_id
        if revision in (None, weights.commit):
            revision, sha256 = weights.commit, weights.sha256
    elif os.path.isdir(text):
        if revision is not None:
            raise InvalidInputError(
                f"{text} is a folder here, and a folder has no revision={revision!r}: leave it out, or, for the hub's "
                "repository of that name, call from another folder"
            )
        return _local(Path(text), text, None, None)
    elif os.path.isfile(text):
        raise InvalidInputError(
            f"{text} is a file: give the folder that it is in; a published checkpoint becomes one by "
            f"`sg-hub convert {text} FOLDER`"
        )
    elif text.count("/") != 1 or text.startswith((".", "/", "~")):
        raise InvalidInputError(f"{text}: no such folder. {HINT}" if os.sep in text else unknown_name(text))

    config, weights_file = download(
        repo_id,
        (CONFIG, WEIGHTS),
        revision=revision,
        pinned=None if sha256 is None else {WEIGHTS: sha256},
        token=token,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
        force_download=force_download,
    )
    files = ModelFiles(config, weights_file, repo_id, config.parent.name, sha256)
    if not local_files_only:
        files = replace(files, cache_dir=os.fspath(cache_dir or constants.HF_HUB_CACHE))
    return _same(files, sha256_of_weights(config))


def texts_of(files: ModelFiles) -> dict[str, str]:
    """Card and licence texts of a model by file name, as far as they can be had: a hub is asked for those that are not
    in the cache yet."""
    folder = files.config.parent
    if files.cache_dir is not None and not (folder / CARD).exists():
        download_texts(files.source, files.revision, goes_with_weights, cache_dir=files.cache_dir)
    return texts_beside(folder)


def _local(folder: Path, source: str, revision: str | None, sha256: str | None) -> ModelFiles:
    if not (folder / CONFIG).is_file():
        raise _lacks(folder, CONFIG)
    weights, of_config = weights_of(folder)
    if not weights.is_file():
        raise _lacks(folder, WEIGHTS)
    for file in (folder / CONFIG, weights):
        expected = hub_hash(file)  # a folder that snapshot_download gave
        if expected is not None and not has_hash(file, expected):
            raise ReadError(
                f"{file} was damaged on its way from the hub (its hash is not {expected}): "
                "call snapshot_download(..., force_download=True), or load the model by its id"
            )
    return _same(ModelFiles(folder / CONFIG, weights, source, revision, sha256), of_config)


def _same(files: ModelFiles, of_config: str | None) -> ModelFiles:
    """The files with the hash that the config says, which the registry must not contradict."""
    if of_config is not None and files.sha256 not in (None, of_config):
        raise ReadError(
            f"{files.config} was written for other weights (sha256 {of_config}) than the registered ones "
            f"({files.sha256}): load again (force_download=True), or install sg_hub again"
        )
    return replace(files, sha256=files.sha256 or of_config)


def _lacks(folder: Path, file: str) -> ReadError:
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    there = shortened(", ".join(names[:8]) + (", ..." if len(names) > 8 else "")) or "nothing"
    return ReadError(f"{folder} has no {file} (it holds {there}): give a folder that save_pretrained wrote")
