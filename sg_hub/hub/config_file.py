"""config.json of a model: what it is read for, and how it is written."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sg_hub.errors import ReadError, shortened

CONFIG = "config.json"
CONFIG_VERSION = 2
_NORMS_OF_1 = {"batch": "batch_stats", "running": "batch"}
"""What the names of norm in a config of version 1 are called since."""
_WEIGHTS_SHA256 = "weights_sha256"
_ABOUT_KEYS = {"config_version", "architecture", "sg_hub_version", _WEIGHTS_SHA256}
_LARGEST = 16 << 20
"""Bytes; the hashes of 10 000 patients, the longest of what a config holds, need about 200 000."""


def read_config(
    path: Path, architecture: str, keys: frozenset[str], optional: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """The constructor's arguments in config.json, as they are.

    Args:
        architecture: class that the file must name.
        keys: of the arguments that it must hold.
        optional: keys of those that it may hold.

    Raises:
        ReadError: not JSON, of another architecture, or with keys of a newer version.
    """
    config = _read(path)
    version = config.get("config_version", 1)
    if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version <= CONFIG_VERSION:
        raise ReadError(
            f"{path} has config_version {shortened(version, 80)}, this sg_hub reads up to {CONFIG_VERSION}: upgrade it "
            f"(pip install -U sg_hub); the file was written by {shortened(config.get('sg_hub_version', 'unknown'), 80)}"
        )
    if config["architecture"] != architecture:
        raise ReadError(
            f"{path} is of a {shortened(config['architecture'], 80)}, not of a {architecture}: "
            "load it with sg_hub.from_pretrained, or with its own class"
        )
    unknown, missing = set(config) - keys - optional - _ABOUT_KEYS, keys - set(config)
    if unknown or missing:
        raise ReadError(
            f"{path}: unknown keys {shortened(sorted(unknown))}, missing keys {sorted(missing)}; a newer sg_hub may "
            "have written it (pip install -U sg_hub)"
        )
    if not isinstance(config["provenance"], dict):
        raise ReadError(f"{path}: its provenance is a {type(config['provenance']).__name__}, expected an object")
    if version == 1 and isinstance(config.get("norm"), str):
        config["norm"] = _NORMS_OF_1.get(config["norm"], config["norm"])
    return {key: config[key] for key in sorted(keys | (optional & config.keys()))}


def architecture_of(path: Path) -> str:
    """The class that a config.json names."""
    return shortened(_read(path)["architecture"], 80)


def sha256_of_weights(path: Path) -> str | None:
    """Of the weights that a config.json was written for; absent in configs of before there was a hash in them."""
    sha256 = _read(path).get(_WEIGHTS_SHA256)
    if sha256 is not None and not (isinstance(sha256, str) and re.fullmatch("[0-9a-f]{64}", sha256)):
        raise ReadError(f"{path}: its {_WEIGHTS_SHA256} is {shortened(sha256, 80)}, expected 64 hexadecimal digits")
    return sha256


def write_config(path: Path, architecture: str, arguments: Mapping[str, Any], weights_sha256: str) -> None:
    from sg_hub.version import __version__

    about = {"config_version": CONFIG_VERSION, "architecture": architecture, "sg_hub_version": __version__}
    about[_WEIGHTS_SHA256] = weights_sha256
    path.write_text(json.dumps(about | dict(arguments), indent=2) + "\n", encoding="utf-8")


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise ValueError(f"it is longer than {_LARGEST >> 20} MiB")
        config = json.loads(data)
    except (OSError, ValueError, RecursionError) as error:
        raise ReadError(
            f"{path} cannot be read as JSON ({shortened(error)}): download or save the model again"
        ) from error
    if not isinstance(config, dict) or "architecture" not in config:
        raise ReadError(f"{path} is not the config of an sg_hub model (no 'architecture' in it)")
    return config
