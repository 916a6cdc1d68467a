"""config.json of a model: what it is read for, and how it is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sg_hub.errors import ReadError

CONFIG_VERSION = 2
_NORMS_OF_1 = {"batch": "batch_stats", "running": "batch"}
"""What the names of norm in a config of version 1 are called since."""
_ABOUT_KEYS = {"config_version", "architecture", "sg_hub_version"}


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
