"""Where the files of a model are (registry, folder or hub), and how they are read and trusted."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor

from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.hub.download import download, has_hash, hub_hash
from sg_hub.hub.registry import get_weights, is_registered, unknown_name

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
CONFIG_VERSION = 2
_NORMS_OF_1 = {"batch": "batch_stats", "running": "batch"}
"""What the names of norm in a config of version 1 are called since."""
_ABOUT_KEYS = {"config_version", "architecture", "sg_hub_version"}


@dataclass(frozen=True)
class ModelFiles:
    config: Path
    weights: Path
    source: str
    revision: str | None = None
    sha256: str | None = None
    """What model.safetensors must hash to; absent: it is not pinned."""


def locate(
    name: str | os.PathLike[str],
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
) -> ModelFiles:
    """The two files of a registered name, a local folder or a hub id, downloaded where that is needed.

    Raises:
        InvalidInputError: an unknown name.
        ReadError: a folder without the files; a hub that has no such model, or cannot be reached.
    """
    text = os.fspath(name)
    if text.startswith("~"):
        text = os.path.expanduser(text)
    sha256 = None
    repo_id = text
    if is_registered(text):
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
        kind = "no such folder. " if os.sep in text else ""
        raise InvalidInputError(kind + unknown_name(text))

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
    return ModelFiles(config, weights_file, repo_id, config.parent.name, sha256)


def _local(folder: Path, source: str, revision: str | None, sha256: str | None) -> ModelFiles:
    for file in (CONFIG, WEIGHTS):
        if not (folder / file).is_file():
            there = ", ".join(sorted(p.name for p in folder.iterdir())) or "nothing"
            raise ReadError(f"{folder} has no {file} (it holds {there}): give a folder that save_pretrained wrote")
        expected = hub_hash(folder / file)  # a folder that snapshot_download gave
        if expected is not None and not has_hash(folder / file, expected):
            raise ReadError(
                f"{folder / file} was damaged on its way from the hub (its hash is not {expected}): "
                "call snapshot_download(..., force_download=True), or load the model by its id"
            )
    return ModelFiles(folder / CONFIG, folder / WEIGHTS, source, revision, sha256)


def read_config(path: Path, architecture: str, keys: frozenset[str]) -> dict[str, Any]:
    """The constructor's arguments in config.json, as they are.

    Args:
        architecture: class that the file must name.
        keys: of the arguments that it must hold.

    Raises:
        ReadError: not JSON, of another architecture, or with keys of a newer version.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ReadError(f"{path} cannot be read as JSON ({error}): download or save the model again") from error
    if not isinstance(config, dict) or "architecture" not in config:
        raise ReadError(f"{path} is not the config of an sg_hub model (no 'architecture' in it)")
    version = config.get("config_version", 1)
    if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version <= CONFIG_VERSION:
        raise ReadError(
            f"{path} has config_version {version}, this sg_hub reads up to {CONFIG_VERSION}: "
            f"upgrade it (pip install -U sg_hub); the file was written by {config.get('sg_hub_version', 'unknown')}"
        )
    if config["architecture"] != architecture:
        raise ReadError(
            f"{path} is of a {config['architecture']}, not of a {architecture}: "
            "load it with sg_hub.from_pretrained, or with its own class"
        )
    unknown, missing = set(config) - keys - _ABOUT_KEYS, keys - set(config)
    if unknown or missing:
        raise ReadError(
            f"{path}: unknown keys {sorted(unknown)}, missing keys {sorted(missing)}; a newer sg_hub may have "
            "written it (pip install -U sg_hub)"
        )
    if not isinstance(config["provenance"], dict):
        raise ReadError(f"{path}: its provenance is a {type(config['provenance']).__name__}, expected an object")
    if version == 1 and isinstance(config.get("norm"), str):
        config["norm"] = _NORMS_OF_1.get(config["norm"], config["norm"])
    return {key: config[key] for key in sorted(keys)}


def architecture_of(path: Path) -> str:
    """The class that a config.json names."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["architecture"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReadError(f"{path} is not the config of an sg_hub model ({error!r})") from error


def write_config(path: Path, architecture: str, arguments: dict[str, Any]) -> None:
    from sg_hub import __version__

    about = {"config_version": CONFIG_VERSION, "architecture": architecture, "sg_hub_version": __version__}
    path.write_text(json.dumps(about | arguments, indent=2) + "\n", encoding="utf-8")


def read_weights(path: Path, expected_sha256: str | None) -> tuple[dict[str, Tensor], str]:
    """The tensors of a safetensors file, and its sha256.

    Raises:
        ReadError: a damaged file, or one that is not the registered one.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ReadError(f"{path} cannot be read: {error}") from error
    sha256 = hashlib.sha256(data).hexdigest()
    if expected_sha256 is not None and sha256 != expected_sha256:
        raise ReadError(
            f"{path} is not the registered file: sha256 {sha256}, expected {expected_sha256}. "
            "It was changed or damaged: remove it and load again (force_download=True), or install sg_hub again"
        )
    try:
        return load_safetensors(data), sha256
    except (SafetensorError, ValueError, KeyError, IndexError) as error:
        raise ReadError(
            f"{path} ({len(data)} bytes) is damaged or no safetensors file ({error}): remove it and load again"
        ) from error
