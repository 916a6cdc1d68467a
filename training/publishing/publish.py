"""From a run to a model folder: weights in half precision, config, card, figures, and the registry's entry.

sg-hub publish RECIPE [key=value ...] [--cards FOLDER] [--to REPO_ID [--private]]
sg-hub card FOLDER          (rebuilds README.md from the folder's records, or from reported.toml)
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.hub.registry import REGISTRY_FILE
from sg_hub.io.files import write_json
from sg_hub.models import PretrainedModel

from ..data.prepare import store_path
from ..data.provenance import said_of
from ..data.store import Store
from ..pretraining.evaluate import published_model, read_evaluation
from ..run.recipe import Recipe
from ..run.record import read_json
from .pretrained_card import DESCRIPTION, build_card, sha256_of, transfer_of

FIGURES = ("restorations.png", "pretraining/curves.png", "discovery/patterns.png", "transforms.png")
GOLDEN = "golden.safetensors"


def publish(recipe: Recipe, cards: str | Path = "model_cards", registry: str | Path | None = None) -> Path:
    """Write `<cards>/<name>/` and the registry's entry; returns the folder.

    The folder is written completely before it takes the place of an older one.

    Args:
        registry: file of the entry; absent: the package's own where `cards` lies beside it, else
            `<cards>/registry.json`.

    Raises:
        ReadError: an earlier step is missing.
    """
    cards = Path(cards)
    registry = registry_file(cards) if registry is None else Path(registry)
    entries = read_registry(registry)  # before anything is replaced
    model = published_model(recipe)
    results = _results(recipe, model)
    cards.mkdir(parents=True, exist_ok=True)
    folder = cards / recipe.name
    with tempfile.TemporaryDirectory(dir=cards, prefix=".publishing-") as temporary:
        new = Path(temporary) / recipe.name
        new.mkdir()
        for figure in FIGURES:
            if (recipe.run_dir / figure).is_file():
                shutil.copy(recipe.run_dir / figure, new / Path(figure).name)
        (new / "README.md").write_text("", encoding="utf-8")  # the card follows; the mixin must not write its own
        model.save_pretrained(new, half=True)
        _golden(model, new / GOLDEN)
        results["transfer"] = transfer_of(
            recipe.name, recipe.run_dir / "transfer", sha256_of(new / "model.safetensors")
        )
        write_json(new / "results.json", results)
        build_card(new)
        _replace(new, folder, Path(temporary) / "older")
    _register(registry, entries, recipe, model, folder)
    return folder


def _replace(new: Path, folder: Path, older: Path) -> None:
    """Put `new` in the place of `folder`; what was there comes back when that fails."""
    there = folder.exists()
    if there:
        folder.replace(older)
    try:
        new.replace(folder)
    except OSError:
        if there:
            older.replace(folder)
        raise


def _results(recipe: Recipe, model: PretrainedModel) -> dict[str, Any]:
    """Everything that the card shows, gathered from the run's own records.

    Raises:
        ReadError: a step is missing, or the evaluation is of other weights.
    """
    store = Store.open(store_path(recipe))
    pretraining = read_json(recipe.run_dir / "pretrain.json", "pretrain")
    discovery = read_json(recipe.run_dir / "discover.json", "discover")
    splits = ("train", "validation", "test")
    evaluation = read_evaluation(recipe)
    if model.load_report is None or evaluation.get("sha256") != model.load_report.sha256:
        raise ReadError("evaluation.json is of other weights: run `sg-hub evaluate` again")
    kept = ("epochs", "minutes", "processes", "cubes_per_epoch", "machine", "versions", "commit", "written")
    return {
        "name": recipe.name,
        "seed": pretraining["recipe"]["seed"],
        # Each section as it was when its step ran, whatever is given to publish.
        "recipe": {
            "model": pretraining["recipe"]["model"],
            "prepare": discovery["recipe"]["prepare"],
            "autoencode": discovery["recipe"]["autoencode"],
            "discover": discovery["recipe"]["discover"],
            "method": pretraining["recipe"]["method"],
            "pretrain": pretraining["recipe"]["pretrain"],
        },
        "publish": said_of(recipe, store).model_dump(mode="json"),
        "patients": {split: len(store.persons(split)) for split in splits},
        **({"images": {split: len(store.names(split)) for split in splits}} if store.ndim == 2 else {}),
        "rows": discovery["rows"],
        "pretrain": {key: pretraining[key] for key in kept},
        "evaluation": evaluation,
        "parameters": sum(p.numel() for p in model.parameters()),
        "feature_channels": model.encoder.channels[-1],
    }


@torch.inference_mode()
def _golden(model: PretrainedModel, path: Path) -> None:
    """An input and what these weights make of it, so that a later change of the code that moves an output is seen."""
    size = model.preprocessing.input_size
    x = torch.rand(2, model.in_chans, *size, generator=torch.Generator().manual_seed(0)).half().float()
    output = model(x)
    tensors = {"input": x.half(), "restoration": output.restoration.half(), "pattern_logits": output.pattern_logits}
    save_file({key: value.contiguous() for key, value in tensors.items()}, str(path))
    path.chmod(0o644)  # written for this user alone


def registry_file(cards: Path) -> Path:
    """The registry that a folder of cards belongs to."""
    beside_package = cards.resolve() == (REGISTRY_FILE.parents[2] / "model_cards").resolve()
    return REGISTRY_FILE if beside_package else cards / "registry.json"


def read_registry(path: Path) -> dict[str, Any]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise ReadError(f"{path} is damaged ({error}): mend it, nothing was registered") from error
    if not isinstance(entries, dict):
        raise InvalidInputError(f"{path} is not a registry: expected a JSON object with an entry per model")
    return entries


def _register(path: Path, entries: dict[str, Any], recipe: Recipe, model: PretrainedModel, folder: Path) -> None:
    weights = folder / "model.safetensors"
    sha256 = sha256_of(weights)
    before = entries.get(recipe.name, {})
    on_hub = before.get("repo_id") is not None and before.get("sha256") == sha256
    entries[recipe.name] = {
        "architecture": type(model).__name__,
        "description": DESCRIPTION.format(ndim=model.NDIM, data=model.provenance["data"]),
        # Of the hub repository where the same weights were uploaded; new weights are on no hub yet.
        "commit": before["commit"] if on_hub else model.provenance["commit"],
        "sha256": sha256,
        "licence": model.provenance["licence"],
        "repo_id": before["repo_id"] if on_hub else None,
        "size_mb": round(weights.stat().st_size / 1e6, 1),
    }
    write_json(path, dict(sorted(entries.items())))
