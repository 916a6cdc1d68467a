"""From a run to a model folder: weights in half precision, config, card, figures, and the registry's entry.

sg-hub publish RECIPE [key=value ...] [--cards FOLDER] [--to REPO_ID [--private] [--pictures]]

The folder is written completely before it takes the place of an older one, which must be one that this command wrote;
what others added to it stays. A killed run leaves the older folder or the newer one; run again to have both, the folder
and the registry's entry, of the same weights.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors.torch import save

from sg_hub import from_pretrained
from sg_hub.errors import ReadError, shortened
from sg_hub.hub.model_folder import sha256_of
from sg_hub.hub.weights_file import WEIGHTS
from sg_hub.io.files import given_path, writing_folder
from sg_hub.models import PretrainedModel

from ..data.prepare import store_path
from ..data.provenance import of_dataset, said_of
from ..data.store import Store
from ..discovery.discover import table_path
from ..discovery.patterns import PatternTable
from ..discovery.regions.find import REFERENCES
from ..discovery.regions.references import References
from ..methods.registry import method_of
from ..pretraining.evaluate import read_evaluation
from ..pretraining.inputs import check_trained_on, of_patterns, of_regions
from ..pretraining.published import FOLDER, MODEL
from ..run.folder.record import read_json, recorded
from ..run.recipe import TEXTS, Discover, Publish, Recipe, Split
from .cards.pretrained import describe, write_pretrained_card
from .cards.results_file import RESULTS, read_object, write_results
from .registry import check_name, register, registry_file
from .replacing import GOLDEN, carry_over, check_replaceable
from .transfer import earlier, joined, transfer_of

FIGURES = ("pretraining/curves.png", "transforms.png")
"""Of every method, where there are any; a method has a picture of its own beside them."""
DISCOVERED = {"patterns": "discovery/patterns.png", "regions": "discovery/regions.png"}
"""By what a method needs: the picture of its discovery."""
SPLITS: tuple[str, ...] = get_args(Split)


def publish(recipe: Recipe, cards: str | Path = "model_cards", registry: str | Path | None = None) -> Path:
    """Write `<cards>/<name>/` and the registry's entry; returns the folder.

    Args:
        registry: file of the entry; absent: the package's own where `cards` lies beside it, else
            `<cards>/registry.json`.

    Raises:
        ReadError: an earlier step is missing, or a folder that cannot be written.
        InvalidInputError: there is a folder of this name that this command did not write, or the weights were trained
            on another store or other patterns.
    """
    cards = given_path(cards, "the folder of the cards")
    registry = registry_file(cards) if registry is None else Path(registry)
    folder = cards / recipe.name
    check_publishable(recipe, cards, registry)
    trained = recipe.run_dir / FOLDER / MODEL
    if not (trained / WEIGHTS).is_file():
        raise ReadError(f"{trained} is not there yet: run `sg-hub pretrain` first")
    store, pretraining = Store.open(store_path(recipe)), read_json(recipe.run_dir / "pretrain.json", "pretrain")
    model = from_pretrained(trained)
    check_trained_on(recipe, model.provenance, store, _discovered(recipe, store))
    with writing_folder(folder) as new, _as_recorded(recipe.run_dir, new):
        said = _said(recipe, pretraining, store)
        model.provenance |= {"data": said.data_name, "licence": said.licence or "unknown"}
        known = model.provenance.get("datasets", ())
        if said.dataset and said.dataset not in known and model.provenance.get("store") == store.fingerprint:
            model.provenance |= of_dataset(model.provenance, said.dataset, store)
        model.save_pretrained(new, half=True)
        model = from_pretrained(new)
        results = _results(recipe, model, said, store, pretraining, sha256_of(new / WEIGHTS))
        if folder.is_dir() and any(folder.iterdir()):
            before = read_object(folder / RESULTS)
            results["transfer"] = joined(earlier(before, "transfer"), results["transfer"])
            if worth := earlier(before, "worth"):
                results["worth"] = worth
        write_results(new, results)
        method = method_of(recipe)
        for figure in (method.picture, *FIGURES, *([DISCOVERED[method.needs]] if method.needs in DISCOVERED else [])):
            if (recipe.run_dir / figure).is_file():
                shutil.copy(recipe.run_dir / figure, new / Path(figure).name)
        _golden(model, new / GOLDEN)
        write_pretrained_card(new, recipe.name)
        carry_over(folder, new)
    register(registry, recipe.name, _entry(recipe, model, folder))
    return folder


def _discovered(recipe: Recipe, store: Store) -> str | None:
    """The fingerprint of the inputs with what is discovered now; None where nothing is, or the method needs nothing."""
    needs, table = method_of(recipe).needs, table_path(recipe)
    if needs == "patterns" and table.is_file():
        return of_patterns(store, PatternTable.load(table))
    said = recorded(recipe, "discover")
    if needs == "regions" and "alignments" in said:
        return of_regions(recipe, store, said, References.load(table.with_name(REFERENCES)))
    return None


def check_publishable(recipe: Recipe, cards: str | Path = "model_cards", registry: Path | None = None) -> None:
    """Refuse what `publish` would not replace, before a long run rather than after it.

    Raises:
        InvalidInputError: there is a folder or an entry of this name that this command did not write.
        ReadError: a damaged registry.
    """
    cards = given_path(cards, "the folder of the cards")
    check_name(registry_file(cards) if registry is None else registry, recipe.name)
    check_replaceable(cards / recipe.name, "give name=ANOTHER, or another --cards")


@contextlib.contextmanager
def _as_recorded(run: Path, new: Path) -> Iterator[None]:
    """Say of the run's records what is wrong with them, not of the files that are made of them.

    Raises:
        ReadError: in place of every error of what is in them.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, ReadError) as error:
        said = str(error)
        if isinstance(error, ReadError) and str(new) not in said:
            raise
        raise ReadError(
            f"{run}: a record of its steps (pretrain.json, discover.json, evaluation.json) is damaged "
            f"({shortened(said.replace(f'{new}/', ''))}): run the step again"
        ) from error


def _said(recipe: Recipe, pretraining: dict[str, Any], store: Store) -> Publish:
    """What is said of the weights and their data: by this command, else when they were trained, else nothing.

    A recipe's own words count where the data are those that they are about.
    """
    now, about = said_of(recipe, store), {key: getattr(recipe.publish, key) for key in ("names", "patients", "images")}
    then = Publish.model_validate(pretraining["recipe"]["publish"] | about)
    before = said_of(recipe.model_copy(update={"publish": then}), store)
    return now.model_copy(update={text: getattr(now, text) or getattr(before, text) for text in TEXTS})


def _results(
    recipe: Recipe, model: PretrainedModel, said: Publish, store: Store, pretraining: dict[str, Any], sha256: str
) -> dict[str, Any]:
    """Everything that the card shows, gathered from the run's own records.

    Raises:
        ReadError: a step is missing, or the evaluation is of other weights.
    """
    evaluation = read_evaluation(recipe)
    if evaluation.get("sha256") != sha256:
        raise ReadError(f"{recipe.run_dir / 'evaluation.json'} is of other weights: run `sg-hub evaluate` again")
    # Each section as it was when its step ran, whatever is given to publish.
    used, rows = pretraining["recipe"], dict[str, Any]()
    needs = method_of(used).needs
    if needs in DISCOVERED:
        discovery = read_json(recipe.run_dir / "discover.json", "discover")
        used = discovery["recipe"] | {key: used[key] for key in ("model", "method", "pretrain")}
        rows = discovery["rows"] if needs == "patterns" else {}
    patients = {split: len(store.persons(split)) for split in SPLITS}
    images = {split: len(store.names(split)) for split in SPLITS}
    by_autoencoder = rows and Discover.model_validate(used["discover"]).needs_autoencoder
    sections = (
        "model",
        "prepare",
        *(("autoencode",) if by_autoencoder else ()),
        "discover",
        *(("regions",) if needs == "regions" else ()),
        "method",
        "pretrain",
    )
    kept = ("epochs", "minutes", "processes", "cubes_per_epoch", "machine", "versions", "written")
    return {
        "name": recipe.name,
        "sha256": sha256,
        "seed": pretraining["recipe"]["seed"],
        "recipe": {section: used[section] for section in sections},
        "publish": said.model_dump(mode="json", exclude={"names", "patients", "images", "given"}),
        "patients": patients,
        **({"images": images} if store.ndim == 2 or images != patients else {}),
        **({"rows": rows} if rows else {}),
        "pretrain": {key: pretraining[key] for key in kept}
        | {"commit_at_start": model.provenance["commit"], "commit_at_end": pretraining["commit"]},
        "evaluation": evaluation,
        "transfer": transfer_of(recipe.name, recipe.run_dir / "transfer", sha256),
    }


@torch.inference_mode()
def _golden(model: PretrainedModel, path: Path) -> None:
    """An input and what these weights make of it, so that a later change of the code that moves an output is seen."""
    size = model.preprocessing.input_size
    x = torch.rand(2, model.in_chans, *size, generator=torch.Generator().manual_seed(0)).half().float()
    output = model(x)
    outputs = output._asdict() if hasattr(output, "_asdict") else {"output": output}
    halved = {key: value.half() if key == "restoration" else value for key, value in outputs.items()}
    written = {"input": x.half()} | {key: value.contiguous() for key, value in halved.items()}
    path.write_bytes(save(written))  # a full disk is an OSError then


def _entry(recipe: Recipe, model: PretrainedModel, folder: Path) -> dict[str, Any]:
    """What the registry says of the weights."""
    weights, provenance = folder / WEIGHTS, model.provenance
    return {
        "architecture": type(model).__name__,
        "description": describe(model.NDIM, method_of(recipe), provenance["data"]),
        "commit": provenance["commit"],
        "sha256": sha256_of(weights),
        "licence": provenance["licence"],
        "size_mb": round(weights.stat().st_size / 1e6, 1),
    }
