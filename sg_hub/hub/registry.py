"""The registered weights: one entry per model, in registry.json. An entry pins a commit hash and a sha256."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sg_hub.errors import InvalidInputError

_PACKAGE = Path(__file__).parent.parent
REGISTRY_FILE = Path(__file__).with_name("registry.json")
# An installed package has the cards of the shipped models beside its code, a checkout beside the package.
_CARD_FOLDERS = (_PACKAGE / "model_cards", _PACKAGE.parent / "model_cards")


@dataclass(frozen=True)
class PretrainedWeights:
    """Everything that is known of one set of weights before it is loaded."""

    name: str
    architecture: str
    """Class in sg_hub that the weights belong to."""
    description: str
    commit: str | None
    """Commit hash: of the hub repository where repo_id is set, else of the code that made the weights."""
    sha256: str | None
    """Of model.safetensors; checked at every load."""
    licence: str
    repo_id: str | None = None
    """Hub repository; absent: the weights come with the package and nowhere else."""
    size_mb: float | None = None
    how_to_get: str | None = None
    """For weights that others published and that no hub has: what to do. These have no commit and no sha256."""
    release: str | None = None
    """Of these: the module of `sg_hub.conversion.releases` that knows them."""
    settings: dict[str, Any] | None = None
    """Of their network, where a release has several; absent: as the release has it without a file."""

    @property
    def folder(self) -> Path | None:
        """Folder of the shipped weights, where they came with this installation."""
        for cards in _CARD_FOLDERS:
            if (cards / self.name / "model.safetensors").is_file():
                return cards / self.name
        return None


@cache
def _registry() -> dict[str, PretrainedWeights]:
    entries: dict[str, dict[str, Any]] = json.loads(REGISTRY_FILE.read_text(encoding="utf-8"))
    return {name: PretrainedWeights(name=name, **entry) for name, entry in entries.items()}


def list_models() -> list[str]:
    """Names that `from_pretrained` knows."""
    return sorted(_registry())


def get_weights(name: str) -> PretrainedWeights:
    """The registry's entry of `name`.

    Raises:
        InvalidInputError: not registered; the message suggests the nearest names.
    """
    try:
        return _registry()[name]
    except KeyError:
        raise InvalidInputError(unknown_name(name)) from None


def is_registered(name: str) -> bool:
    return name in _registry()


HINT = (
    "Give a folder with config.json and model.safetensors, a hub id such as owner/name, or a registered name (`sg-hub "
    "models` lists them)"
)


def unknown_name(name: str) -> str:
    near = difflib.get_close_matches(name, list_models(), n=1)
    return f"no model {name!r}: {f'did you mean {near[0]}? ' if near else ''}{HINT}"
