"""The registry's entry of published weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.hub.registry import REGISTRY_FILE
from sg_hub.io.files import alone_in, remove_unfinished, write_json


def registry_file(cards: Path) -> Path:
    """The registry that a folder of cards belongs to: the package's in a checkout, else one in the folder itself."""
    checkout = REGISTRY_FILE.parents[2]
    in_checkout = (checkout / "pyproject.toml").is_file() and cards.resolve() == (checkout / "model_cards").resolve()
    return REGISTRY_FILE if in_checkout else cards / "registry.json"


def read_registry(path: Path) -> dict[str, dict[str, Any]]:
    """Every entry, by the name of the weights; none where there is no such file.

    Raises:
        ReadError: it is damaged, or cannot be read.
        InvalidInputError: it is something else.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError, RecursionError) as error:
        raise ReadError(f"{path} is damaged ({error}): mend it, nothing was registered") from error
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise InvalidInputError(f"{path} is not a registry: expected a JSON object with an object per model")
    return entries


def check_name(path: Path, name: str) -> None:
    """Refuse to register weights under the name of those that others published.

    Raises:
        InvalidInputError: the name is that of others' weights.
        ReadError, InvalidInputError: see `read_registry`.
    """
    if read_registry(path).get(name, {}).get("how_to_get") is not None:
        raise InvalidInputError(
            f"{name} is registered in {path} as the name of weights that others published: give name=ANOTHER"
        )


def register(path: Path, name: str, entry: dict[str, Any]) -> None:
    """Write the entry of weights; of the hub repository where the same weights were uploaded, it keeps the pin.

    Args:
        entry: with `sha256`, and with `commit` of the code that made the weights.
    """
    remove_unfinished(path.parent)
    with alone_in(path.parent):
        entries = read_registry(path)
        before = entries.get(name, {})
        on_hub = before.get("repo_id") is not None and before.get("sha256") == entry["sha256"]
        pin = {key: before.get(key) for key in ("commit", "repo_id")} if on_hub else {"repo_id": None}
        updated = dict(sorted((entries | {name: entry | pin}).items()))
        if updated != entries:
            write_json(path, updated)


def pin(path: Path, name: str, sha256: str, repo_id: str, commit: str) -> str:
    """Say in an entry where its weights were uploaded; returns what became of it, to go on a sentence."""
    if not path.parent.is_dir():
        return ""
    with alone_in(path.parent):
        entries = read_registry(path)
        entry = entries.get(name)
        if entry is None:
            return ""
        if entry.get("sha256") != sha256:
            return f"; {path} has other weights of this name, and was left as it is"
        pinned = entry | {"repo_id": repo_id, "commit": commit}
        if pinned == entry:
            return ""
        write_json(path, entries | {name: pinned})
        return f", registered in {path}"
