"""What there is: families of networks and registered weights, what each expects, what it costs, and how to get it.

`sg-hub models` and docs/models.md show these facts. They come from the families' classes, the registry, the config of
shipped weights, the releases of others, and costs.json, which benchmarks/model_cost.py measured.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from sg_hub.conversion.release import NOT_CHECKED, release_of
from sg_hub.hub.config_file import CONFIG
from sg_hub.hub.registry import PretrainedWeights, get_weights, is_registered, list_models
from sg_hub.models import registry
from sg_hub.models.registry import families, family

_RESULTS = "results.json"
"""Of shipped weights: what is said of them."""
_COSTS = Path(registry.__file__).with_name("costs.json")
_TIMM = "timm:"
_SHIPPED, _ON_HUB, _CONVERTED = _STATES = ("shipped", "on a hub", "to be converted")
"""How little it takes to load weights."""


@cache
def costs() -> dict[str, Any]:
    """What was measured: `costs` by name, and `measured`, how and on what."""
    found: dict[str, Any] = json.loads(_COSTS.read_text(encoding="utf-8"))
    return found


def listed_families() -> list[dict[str, Any]]:
    """What each family says of itself, in JSON types."""
    found = []
    for name in families():
        cls = family(name)
        if cls is not None:
            about = {"title": cls.TITLE, "source": cls.SOURCE, "licence": cls.LICENCE, "expects": cls.EXPECTS}
            found.append({"family": name, "dimensions": cls.NDIM, **about})
    return found


def listed_weights() -> list[dict[str, Any]]:
    """What is known of each set of weights, in JSON types; None is not known, or does not apply.

    First what comes with the package, last what has to be converted.
    """
    found = [_registered(get_weights(name)) for name in list_models()]
    found += [_timm(name) for name in costs()["costs"] if name.startswith(_TIMM)]
    return sorted(found, key=lambda one: (_STATES.index(one["status"].partition(",")[0]), _in_numbers(one["name"])))


def _in_numbers(name: str) -> list[tuple[int, str]]:
    """A key by which resnet18 comes before resnet101."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]


def is_to_be_converted(name: str) -> bool:
    """Whether a registered name is of weights that a user has to fetch and convert."""
    return is_registered(name) and get_weights(name).how_to_get is not None


def _registered(weights: PretrainedWeights) -> dict[str, Any]:
    release = None if weights.release is None else release_of(weights.release)
    expects: dict[str, Any] = {}
    said: dict[str, Any] = {}
    if release is not None:
        expects = {"in_chans": release.in_chans, "preprocessing": release.preprocessing.to_dict()}
    elif weights.folder is not None:
        expects = json.loads((weights.folder / CONFIG).read_text(encoding="utf-8"))
        said = json.loads((weights.folder / _RESULTS).read_text(encoding="utf-8"))["publish"]
    how = weights.how_to_get or f'sg_hub.from_pretrained("{weights.name}")'
    status = _CONVERTED if weights.how_to_get else _SHIPPED if weights.folder else _ON_HUB
    if release is not None and not release.checked:
        status = f"{status}, {NOT_CHECKED}"
    return {
        "name": weights.name,
        "family": weights.architecture,
        "status": status,
        "description": weights.description,
        **_expected(weights.architecture, expects),
        "training_saw": said.get("saw"),
        "licence": weights.licence,
        **_cost(weights.name, weights.size_mb),
        "how_to_get": how,
    }


def _timm(name: str) -> dict[str, Any]:
    expects = {"in_chans": 3, "preprocessing": {"modality": "OT", "intensity": "window", "low": 0, "high": 1}}
    cost = _cost(name, None)
    return {
        "name": name,
        "family": "TimmUNet",
        "status": _ON_HUB,
        "description": f"timm's own weights of the encoder {name.removeprefix(_TIMM)}; any other of timm likewise.",
        **_expected("TimmUNet", expects),
        "training_saw": None,
        "licence": "as timm says of them (`sg-hub info` shows it)",
        **cost | {"mb": round(4e-6 * cost["parameters"], 1)},
        "how_to_get": f'sg_hub.from_pretrained("{name}"), which downloads them',
    }


def _expected(architecture: str, config: Mapping[str, Any]) -> dict[str, Any]:
    cls = family(architecture)
    settings = config.get("preprocessing") or {}
    return {
        "dimensions": cls.NDIM if cls is not None else None,
        "channels": config.get("in_chans"),
        "modality": settings.get("modality"),
        "intensity": _intensity(settings) if settings else None,
        "spacing": settings.get("spacing"),
        "resized_to": settings.get("size"),
        "patch": settings.get("input_size"),
    }


def _intensity(settings: Mapping[str, Any]) -> str:
    low, high = f"{settings['low']:g}", f"{settings['high']:g}"
    if settings["intensity"] == "zscore":
        return f"mean 0 and deviation 1, clipped to {low}..{high}"
    if settings["intensity"] == "window" and (low, high) == ("0", "1"):
        return "grey levels 0..1"
    unit = " HU" if settings["modality"] == "CT" else ""
    what = "percentiles " if settings["intensity"] == "percentile" else ""
    return f"{what}{low} to {high}{unit} to 0..1"


def _cost(name: str, size_mb: float | None) -> dict[str, Any]:
    measured = costs()["costs"].get(name, {})
    return {"mb": size_mb, "parameters": measured.get("parameters"), "seconds": measured.get("seconds")}


def expectations(weights: Mapping[str, Any]) -> str:
    """What weights expect, in a line."""
    grid = f"spacing {_times(weights['spacing'])} mm" if weights["spacing"] else ""
    if weights["resized_to"]:
        grid = f"resized to {_times(weights['resized_to'])}"
    elif weights["dimensions"] == 3 and not grid:
        grid = "each scan's own spacing"
    channels = weights["channels"]
    parts = [
        f"{weights['dimensions']}D",
        f"{channels} channel{'s' if channels != 1 else ''}" if channels else "",
        "" if weights["modality"] == "OT" else weights["modality"],
        weights["intensity"],
        grid,
    ]
    expects = ", ".join(part for part in parts if part)
    return f"{expects}; training saw something else: {saw.rstrip('.')}" if (saw := weights["training_saw"]) else expects


def cost(weights: Mapping[str, Any]) -> str:
    """What weights cost, in a line."""
    per = "a scan" if weights["dimensions"] == 3 else "an image"
    parts = [
        f"{weights['parameters'] / 1e6:.3g} million parameters" if weights["parameters"] else "",
        f"{weights['mb']:g} MB" if weights["mb"] else "",
        f"{weights['seconds']:g} s {per}" if weights["seconds"] else "",
    ]
    return ", ".join(part for part in parts if part) or "not measured"


def origin_of_costs() -> str:
    """How the costs were measured."""
    said = costs()["measured"]
    return f"Measured by `{said['command']}`, {said['date']}, torch {said['torch']}, {said['machine']}. {said['what']}."


def markdown() -> str:
    """The tables of docs/models.md."""
    rows = ["| family | what it is | takes | licence of the published weights |", "|---|---|---|---|"]
    rows += [
        f"| `{one['family']}` | {one['title']}. {one['source']} | {one['dimensions']}D: {one['expects']} "
        f"| {one['licence']} |"
        for one in listed_families()
    ]
    rows += ["", "| weights | family | expects | costs | licence | state |", "|---|---|---|---|---|---|"]
    rows += [
        f"| `{one['name']}` | `{one['family']}` | {expectations(one)} | {cost(one)} | {one['licence']} "
        f"| {one['status']} |"
        for one in listed_weights()
    ]
    return "\n".join([*rows, "", origin_of_costs(), ""])


def _times(values: Any) -> str:
    return " x ".join(f"{value:g}" for value in values)
