"""What was found of weights, fine-tuned and as they are, on its way into their results.json and so to their card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sg_hub.errors import ReadError
from sg_hub.hub.model_folder import sha256_of
from sg_hub.hub.weights_file import WEIGHTS

from ..worth.cards import SUFFIX
from .cards.results_file import RESULTS, read_object, write_results


def take_results(folder: str | Path, benchmark: str | Path) -> int:
    """Put what `sg-hub report` or `sg-hub worth` says of a model's weights into its results.json; returns the number of
    tasks.

    Tasks that the card showed before stay, but for those of the same title.

    Raises:
        ReadError: the folder has no results.json, or the report says nothing of exactly these weights.
    """
    folder = Path(folder).expanduser()
    results, weights = read_object(folder / RESULTS), folder / WEIGHTS
    if not weights.is_file():
        raise ReadError(f"{folder} has no {WEIGHTS}: results are of weights, give a folder that has them")
    name, sha256 = folder.resolve().name, sha256_of(weights)
    found = {
        "transfer": transfer_of(name, Path(benchmark), sha256),
        "worth": [one for one in _records(Path(benchmark), f"{name}*{SUFFIX}") if one.get("sha256") == sha256],
    }
    if not any(found.values()):
        raise ReadError(
            f"{benchmark} has no results of the weights in {folder} against a random initialisation: run "
            "`sg-hub benchmark` with both, then `sg-hub report` on it; or `sg-hub worth` with both"
        )
    taken = {key: joined(earlier(results, key), new) for key, new in found.items() if new}
    write_results(folder, results | taken)
    return sum(map(len, found.values()))


def transfer_of(name: str, benchmark: Path, sha256: str) -> list[dict[str, Any]]:
    """What `benchmark --out <benchmark>` and `report` found, with exactly these weights.

    Raises:
        ReadError: a damaged record.
    """
    found = [read_object(path) for path in sorted(benchmark.glob(f"*/{name}*.json")) if SUFFIX not in path.name]
    return [summary for summary in found if summary.get("sha256") == sha256]


def _records(folder: Path, pattern: str) -> list[dict[str, Any]]:
    """In a folder, or one below it."""
    return [read_object(path) for path in sorted([*folder.glob(pattern), *folder.glob(f"*/{pattern}")])]


def earlier(results: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """What a results.json says under `transfer` or `worth` already; nothing where that is of another form."""
    found = results.get(key, [])
    return [summary for summary in found if isinstance(summary, dict)] if isinstance(found, list) else []


def joined(earlier: list[dict[str, Any]], found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Both, in the order of their titles; of what was found of the same weights in the same task, the newer.

    What was found of other weights is kept as well: a card shows what is of its own.
    """
    newer = {(summary.get("title"), summary.get("sha256")) for summary in found}
    kept = [summary for summary in earlier if (summary.get("title"), summary.get("sha256")) not in newer]
    return sorted([*kept, *found], key=lambda summary: json.dumps([summary.get("title"), summary.get("sha256")]))
