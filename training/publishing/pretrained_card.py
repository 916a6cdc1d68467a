"""The card of pre-trained weights, from the run's own records in their folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from sg_hub.hub.upload import CARD
from sg_hub.io.files import write_atomic

from ..run.recipe import load_recipe, resolved
from .metadata import Measured, eval_results, licence_metadata
from .results_file import (
    PretrainedResults,
    Provenance,
    Transfer,
    TransferRow,
    provenance_of,
    read_model,
    read_results,
)

TEMPLATE = Path(__file__).with_name("pretrained_card.md.jinja")
NORMS = {
    "batch_stats": "by the batch's own statistics, in evaluation too: outputs depend on the batch",
    "batch": "batch normalisation with running statistics",
    "instance": "instance normalisation",
}
PAPER = {3: "semantic-genesis-3d", 2: "semantic-genesis-2d"}
"""The recipe of the paper's own setting, by dimensions."""
NO_MATTER = frozenset({"workers", "cache_mib", "picture_every", "checkpoint_every", "chunk"})
"""Settings that change how quickly weights are made, and not the weights."""


def describe(ndim: int, data: str) -> str:
    """One sentence on weights, for their card and the registry."""
    return f"A {ndim}D U-Net pre-trained by self-discovery, self-classification and self-restoration on {data}."


def write_pretrained_card(folder: Path, name: str) -> None:
    """Write README.md of pre-trained weights from their config.json and results.json.

    Raises:
        ReadError: one of the two is missing, or damaged.
    """
    results, model = read_results(folder, PretrainedResults), read_model(folder)
    ndim, provenance = model.NDIM, provenance_of(folder, model)
    transfer = [found for found in results.transfer if found.sha256 == results.sha256]
    counts = results.images if ndim == 2 and results.images else results.patients
    card = ModelCard.from_template(
        _card_data(name, model, provenance, results, transfer),
        template_str=TEMPLATE.read_text(encoding="utf-8"),
        name=name,
        images=ndim == 2,
        pieces="patches" if ndim == 2 else "cubes",
        whose="images" if ndim == 2 else "patients",
        description=describe(ndim, provenance.data),
        architecture=type(model).__name__,
        config=model.config(),
        parameters=sum(p.numel() for p in model.parameters()),
        channels=model.encoder.channels[-1],
        preprocessing=model.preprocessing,
        provenance=provenance,
        results=results,
        evaluation=results.evaluation,
        discover=results.recipe.discover,
        pretrain=results.recipe.pretrain,
        norms=NORMS,
        differences=_differences(results, PAPER[ndim]),
        paper=PAPER[ndim],
        share=min(1.0, results.recipe.discover.neighbours / max(1, counts.train)),
        badly_restored=_badly_restored(results),
        transfer=transfer,
    )
    write_atomic(folder / CARD, str(card))


def _differences(results: PretrainedResults, recipe: str) -> list[tuple[str, str, str]]:
    """Setting, here, in the paper: everything in which a recipe is not the paper's and that the weights depend on."""
    used, paper = results.recipe.model_dump(), resolved(load_recipe(recipe))
    return [
        (f"{section}.{key}", _shown(value), _shown(paper[section].get(key)))
        for section, settings in used.items()
        for key, value in settings.items()
        if key not in NO_MATTER and value != paper[section].get(key)
    ]


def _shown(value: Any) -> str:
    return "not set" if value is None else json.dumps(value, ensure_ascii=False)


def _badly_restored(results: PretrainedResults) -> tuple[list[str], list[str]]:
    """The transformations whose damage stays or grows, and those of whose error more than half stays, with figures."""
    errors = results.evaluation.by_transformation
    not_at_all = {kind for kind, values in errors.items() if values.mse >= values.mse_corrupted}
    hardly = {kind for kind, values in errors.items() if values.mse > values.mse_corrupted / 2} - not_at_all
    said = {k: f"{k} ({values.mse:.4f} against {values.mse_corrupted:.4f})" for k, values in errors.items()}
    return [said[kind] for kind in errors if kind in not_at_all], [said[kind] for kind in errors if kind in hardly]


def _measured(results: PretrainedResults, data: str, transfer: list[Transfer]) -> list[Measured]:
    """Every value for the card's metadata."""
    evaluation = results.evaluation

    def pretext(target: str, task_type: str, metric_type: str, metric: str, value: float) -> Measured:
        dataset, split = results.publish.dataset, evaluation.split
        return Measured(target, task_type, dataset, data, split, metric_type, metric, round(value, 5))

    return [
        *(
            pretext("anatomical patterns", "image-classification", "accuracy", f"top-1, {what}", value)
            for what, value in (("clean", evaluation.top1), ("corrupted", evaluation.top1_corrupted))
        ),
        *(
            pretext(
                f"restoration after {kind}",
                "image-to-image",
                "mse",
                f"mean squared error ({values.mse_corrupted:.4f} of the input left as it is)",
                values.mse,
            )
            for kind, values in evaluation.by_transformation.items()
        ),
        *(_transferred(found, row) for found in transfer for row in found.rows),
    ]


def _transferred(found: Transfer, row: TransferRow) -> Measured:
    whose = "mean over trials"
    if len(found.rows) > 1:
        whose = "mean over classes and trials" if row.name == "mean" else f"{row.name}, {whose}"
    return Measured(
        target=found.title,
        task_type=found.task_type,
        dataset=found.dataset_type,
        dataset_name=found.dataset_name,
        split="test",
        metric_type=found.metric_type,
        metric=f"{found.metric}, {whose}",
        value=float(row.pretrained.split()[0]),
    )


def _card_data(
    name: str, model: Any, provenance: Provenance, results: PretrainedResults, transfer: list[Transfer]
) -> ModelCardData:
    return ModelCardData(
        model_name=name,
        **licence_metadata(provenance),
        library_name="sg_hub",
        pipeline_tag="image-feature-extraction",
        datasets=[results.publish.dataset],
        tags=[
            "medical-imaging",
            "self-supervised",
            "semantic-genesis",
            f"{model.NDIM}d",
            model.preprocessing.modality.lower(),
        ],
        eval_results=eval_results(_measured(results, provenance.data, transfer)),
    )
