"""What was found of weights, fine-tuned and as they are, on its way into their results.json and so to their card."""

from __future__ import annotations

import glob
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
        "worth": _records(Path(benchmark), name, sha256, worth=True),
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
    return _records(benchmark, name, sha256)


def _records(folder: Path, name: str, sha256: str, *, worth: bool = False) -> list[dict[str, Any]]:
    """Of exactly these weights, which may have had another name when they were measured: of a task the newest."""
    places, starts = ("", "*/") if worth else ("*/",), (glob.escape(name), f"*-{sha256[:8]}")
    patterns = [f"{place}{start}*.json" for place in places for start in starts]
    files = {path for pattern in patterns for path in folder.glob(pattern) if path.name.endswith(SUFFIX) == worth}
    found: dict[tuple[Path, Any], dict[str, Any]] = {}
    for path in sorted(files, key=lambda path: (path.stat().st_mtime_ns, path.name)):
        record = read_object(path)
        if record.get("sha256") == sha256:
            found[path.parent, json.dumps(record.get("title"))] = record
    return list(found.values())


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
