"""The card of pre-trained weights, from the run's own records in their folder.

What the network learned from, what was measured and what of it is to be held against what, the method says.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.hub.card import CARD
from sg_hub.hub.registry import REGISTRY_FILE, list_models
from sg_hub.io.files import write_atomic
from sg_hub.models import PretrainedModel

from ...methods.protocol import Method, Result
from ...methods.registry import method_of, resolve
from ...run.recipe import resolved
from ...run.recipe_file import load_recipe
from ..registry import registry_file
from ..replacing import GOLDEN
from .metadata import Measured, eval_results, licence_metadata, task_type, without_doubtful
from .results_file import (
    RESULTS,
    PretrainedResults,
    Provenance,
    Transfer,
    TransferRow,
    provenance_of,
    read_network,
    read_results,
)

TEMPLATE = Path(__file__).with_name("pretrained.md.jinja")
NORMS = {
    "batch_stats": "by the batch's own statistics, in evaluation too: outputs depend on the batch",
    "batch": "batch normalisation with running statistics",
    "instance": "instance normalisation",
}
OPTIMIZERS = {"adam": "Adam", "adamw": "AdamW"}
NO_MATTER = frozenset({"workers", "cache_mib", "picture_every", "checkpoint_every", "chunk"})
"""Settings that change how quickly weights are made, and not the weights."""
ERRORS = frozenset({"mse"})
"""Metrics of which less is better."""
_IN_2D = {"cube": "patch", "cubes": "patches", "voxel": "pixel"}
UNNAMED = "data that are not named"


def describe(ndim: int, method: Method, data: str) -> str:
    """One sentence on weights, for their card and the registry."""
    return f"A {ndim}D U-Net pre-trained by {method.title} on {data or UNNAMED}."


def _told(about: str, ndim: int) -> str:
    """What a method says of itself, in the words of its images: in 2D there are no cubes."""
    return about if ndim == 3 else re.sub(r"\b(cubes?|voxel)\b", lambda found: _IN_2D[found[0]], about)


def write_pretrained_card(folder: Path, name: str) -> None:
    """Write README.md of pre-trained weights from their config.json and results.json.

    Raises:
        ReadError: one of the two is missing, or damaged.
    """
    results, network = read_results(folder, PretrainedResults), read_network(folder)
    provenance, ndim = provenance_of(folder, network), network.NDIM
    method, measured = _measured(folder, results, "patches" if ndim == 2 else "cubes")
    transfer = [found for found in results.transfer if found.sha256 == results.sha256]
    worth = [found for found in results.worth if found.sha256 == results.sha256]
    counts = results.images or results.patients
    each = "images" if ndim == 2 else "volumes"
    recipe = results.recipe
    card = ModelCard.from_template(
        _card_data(
            name, network, method, provenance, results, [*_pretext(measured, provenance, results), *_fine(transfer)]
        ),
        template_str=TEMPLATE.read_text(encoding="utf-8"),
        name=name,
        load=_loaded_by(folder, name),
        images=ndim == 2,
        pieces="patches" if ndim == 2 else "cubes",
        each=each,
        whose=each if results.images else "patients",
        description=describe(ndim, method, provenance.data),
        about=_told(method.about, ndim),
        method=method,
        stages=_stages(method, results),
        settings=", ".join(f"{key} {json.dumps(value)}" for key, value in method.described().items()),
        network=network,
        architecture=_architecture(network),
        norm=NORMS.get(network.config().get("norm", "")),
        outputs=method.gives or network.head.gives,
        provenance=provenance,
        results=results,
        evaluation=results.evaluation,
        discover=recipe.discover,
        regions=recipe.regions,
        pretrain=recipe.pretrain,
        optimizer=OPTIMIZERS[recipe.pretrain.optimizer],
        reference=method.reference(ndim),
        differences=_differences(results, method.reference(ndim)),
        share=min(1.0, recipe.discover.neighbours / max(1, counts.train)),
        measured=measured,
        limits=list(_limits(measured)),
        transfer=transfer,
        worth=worth,
        golden=("restoration" if network.head_name == "pretext" else "output") if (folder / GOLDEN).is_file() else "",
    )
    write_atomic(folder / CARD, str(card))


def _loaded_by(folder: Path, name: str) -> str:
    """What `from_pretrained` takes: the name of weights that are registered, or are about to be; else the folder's."""
    registered = name in list_models() or registry_file(folder.parent) == REGISTRY_FILE
    return name if registered else f"./{name}"


def _measured(folder: Path, results: PretrainedResults, pieces: str) -> tuple[Method, list[Result]]:
    """The method of a folder, and what it says of its evaluation.

    Raises:
        ReadError: no such method here, or another evaluation than it makes.
    """
    path = folder / RESULTS
    try:
        method = method_of(results.recipe.model_dump())
        measured = method.results(results.evaluation.model_dump(), pieces)
    except InvalidInputError as error:
        raise ReadError(f"{path}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise ReadError(f"{path}: its evaluation lacks what the method measures ({error!r}): publish again") from error
    for row in measured:
        for value in (row.value, *([] if row.compare is None else [row.compare])):
            if not isinstance(value, (int, float)) or not math.isfinite(value):
                raise ReadError(f"{path}: {row.name} is {value!r}, expected a finite number: publish again")
    return method, measured


def _stages(method: Method, results: PretrainedResults) -> str:
    """How many epochs each stage took; the last is ended early."""
    left, said = results.pretrain.epochs, []
    for stage in method.stages(results.recipe.pretrain.epochs):
        done, left = min(stage.epochs, left), max(0, left - stage.epochs)
        said.append(f"{done} epoch{'' if done == 1 else 's'} ({stage.name})")
    return ", then ".join(said)


def _architecture(network: PretrainedModel) -> str:
    config = network.config()
    settings = ", ".join(f"{key} {config[key]}" for key in network.SETTINGS if key != "norm")
    parameters = sum(p.numel() for p in network.parameters())
    return f"{type(network).__name__}, {settings}; {parameters:,} parameters"


def _differences(results: PretrainedResults, reference: str) -> list[tuple[str, str, str]]:
    """Setting, here, in the publication: everything in which a recipe is another and that the weights depend on."""
    if not reference:
        return []
    published = resolved(resolve(load_recipe(reference)))
    return [
        (f"{section}.{key}", _shown(value), _shown(published[section].get(key)))
        for section, settings in results.recipe.model_dump().items()
        if isinstance(settings, dict) and isinstance(published.get(section), dict)
        for key, value in settings.items()
        if key not in NO_MATTER and value != published[section].get(key)
    ]


def _shown(value: Any) -> str:
    return "not set" if value is None else json.dumps(value, ensure_ascii=False)


def _limits(measured: list[Result]) -> Iterator[str]:
    """What the network cannot do, or hardly: each sentence with its figures."""
    for row in measured:
        if row.compare is None or not row.metric:
            continue
        figures = f"{row.value:.4f}; {row.compare:.4f} {row.compared}"
        if row.value >= row.compare if row.metric in ERRORS else row.value <= row.compare:
            yield f"No better than without the network: {row.name} ({figures})."
        elif row.metric in ERRORS and row.value > row.compare / 2:
            yield f"Little better than without the network: {row.name} ({figures})."


def _pretext(measured: list[Result], provenance: Provenance, results: PretrainedResults) -> Iterator[Measured]:
    """What the method measured, for the card's metadata: each row is a target of its own."""
    for row in measured:
        if row.metric:
            held_against = "" if row.compare is None else f" ({row.compare:.4f} {row.compared})"
            yield Measured(
                target=row.name,
                task_type=task_type(row.metric),
                dataset=results.publish.dataset or "unnamed",
                dataset_name=provenance.data or UNNAMED,
                split=results.evaluation.split,
                metric_type=row.metric,
                metric=f"{row.name}{held_against}",
                value=round(row.value, 5),
            )


def _fine(transfer: list[Transfer]) -> Iterator[Measured]:
    """What fine-tuning measured, for the card's metadata."""
    for found in transfer:
        values = {f"{found.metric}, {_whose(row, len(found.rows))}": row.pretrained for row in found.rows}
        if found.doubtful is not None:
            values[without_doubtful(f"{found.metric}, mean over trials", found.doubtful.items)] = found.doubtful.value
        for metric, value in values.items():
            yield Measured(
                target=found.title,
                task_type=found.task_type,
                dataset=found.dataset_type,
                dataset_name=found.dataset_name,
                split="test",
                metric_type=found.metric_type,
                metric=metric,
                value=float(value.split()[0]),
            )


def _whose(row: TransferRow, rows: int) -> str:
    if rows == 1:
        return "mean over trials"
    return "mean over classes and trials" if row.name == "mean" else f"{row.name}, mean over trials"


def _card_data(
    name: str,
    network: PretrainedModel,
    method: Method,
    provenance: Provenance,
    results: PretrainedResults,
    measured: list[Measured],
) -> ModelCardData:
    modality = network.preprocessing.modality.lower()
    called = method.reference(network.NDIM).rpartition("-")[0] or method.name.replace("_", "-")
    return ModelCardData(
        model_name=name,
        **licence_metadata(provenance),
        library_name="sg_hub",
        pipeline_tag="image-feature-extraction",
        datasets=[results.publish.dataset] if results.publish.dataset else None,
        tags=["medical-imaging", "self-supervised", called, f"{network.NDIM}d", modality],
        eval_results=eval_results(measured),
    )
