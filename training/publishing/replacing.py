"""Which folders may be replaced: those that publishing wrote. What others added to one is carried over to the new one.

A folder is ours when its results.json is one that we write, names the sha256 of the model.safetensors beside it, and
its card says that it was built.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from sg_hub.errors import InvalidInputError
from sg_hub.hub.card import CARD, NOTICE
from sg_hub.hub.config_file import CONFIG
from sg_hub.hub.model_folder import sha256_of
from sg_hub.hub.weights_file import WEIGHTS
from sg_hub.io.files import remove_unfinished, unwritable

from ..trials.finetune import UNFINISHED
from .cards.results_file import RESULTS

GOLDEN = "golden.safetensors"
PICTURES = (
    "patterns.png",
    "regions.png",
    "restorations.png",
    "reconstructions.png",
    "similarity.png",
    "regions-found.png",
    "solved.png",
    "views.png",
    "transforms.png",
    "examples.png",
)
"""They show patients."""
CURVES = "curves.png"
METRICS = "metrics.csv"
"""How each class of a fine-tuned model did."""
NAMELESS = (CURVES, METRICS)
"""They tell of no patient."""
WRITTEN = frozenset({CARD, NOTICE, CONFIG, WEIGHTS, RESULTS, GOLDEN, *NAMELESS, *PICTURES})
"""Every file that publishing writes, of whatever kind of model."""
BUILT = "<!-- Built by "
"""In every card that was built from records."""


def check_replaceable(folder: Path, remedy: str) -> None:
    """Refuse a folder that is there and was not written by us, before anything is made for it.

    Args:
        remedy: what to give instead, for the message.

    Raises:
        InvalidInputError: saying how it can be told that it is not ours.
    """
    if not os.path.lexists(folder) or (
        folder.is_dir() and not any(path.name != UNFINISHED for path in folder.iterdir())
    ):
        return
    reason = _not_ours(folder)
    if reason:
        raise InvalidInputError(
            f"{folder} was not written by this command ({reason}), so it is left as it is: move it away, or {remedy}"
        )


def check_built(card: Path) -> None:
    """Refuse a card that a person wrote.

    Raises:
        InvalidInputError: it is there, and does not say that it was built.
    """
    if card.is_file() and BUILT not in card.read_text(encoding="utf-8", errors="replace"):
        raise InvalidInputError(
            f"{card} was not built by `sg-hub card`, so it is left as it is: move it away to have one built"
        )


def carry_over(older: Path, new: Path) -> None:
    """Copy into `new` what others added to `older`: everything that publishing does not write itself.

    Raises:
        ReadError: it cannot be copied.
    """
    if not older.is_dir():
        return
    remove_unfinished(older)
    try:
        for path in older.iterdir():
            if path.name in {*WRITTEN, UNFINISHED} or os.path.lexists(new / path.name):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.copytree(path, new / path.name, symlinks=True)
            else:
                shutil.copy2(path, new / path.name, follow_symlinks=False)
    except OSError as error:
        raise unwritable(new, error) from error


def _not_ours(folder: Path) -> str:
    """How it can be told that a folder is not ours; empty where it is."""
    if not folder.is_dir():
        return "it is a file"
    results, weights, card = folder / RESULTS, folder / WEIGHTS, folder / CARD
    if not results.is_file() or not weights.is_file():
        there = sorted(path.name for path in folder.iterdir())
        return f"it has no {RESULTS if not results.is_file() else WEIGHTS}, but {', '.join(there[:4])}"
    recorded = _recorded_sha256(results)
    if recorded is None:
        return f"its {RESULTS} is another one"
    if recorded != sha256_of(weights):
        return f"its {WEIGHTS} is not the one that its {RESULTS} is of"
    if card.is_file() and BUILT not in card.read_text(encoding="utf-8", errors="replace"):
        return f"its {CARD} was written by a person"
    return ""


def _recorded_sha256(results: Path) -> str | None:
    """Whose results they are: the sha256 of weights; None where the file is not one that we write."""
    try:
        found: Any = json.loads(results.read_text(encoding="utf-8"))
        sha256 = found["sha256"] if "sha256" in found else found["evaluation"]["sha256"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return sha256 if isinstance(sha256, str) else None
