"""The card of a fine-tuned model, from its folder's own records."""

from __future__ import annotations

import shlex
from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData

from sg_hub.errors import InvalidInputError
from sg_hub.hub.card import CARD
from sg_hub.hub.registry import get_weights, is_registered
from sg_hub.io.files import write_atomic
from sg_hub.models.families.timm_weights import PREFIX as TIMM
from sg_hub.models.families.timm_weights import settings_of
from sg_hub.models.heads import head_of

from ...trials.task.initialisation import FRESH, kind_of, name_of
from .metadata import Measured, eval_results, licence_metadata, without_doubtful
from .results_file import FinetunedResults, Provenance, provenance_of, read_network, read_results

TEMPLATE = Path(__file__).with_name("finetuned.md.jinja")


def write_finetuned_card(folder: Path, name: str) -> None:
    """Write README.md of a fine-tuned model from its config.json and results.json.

    Raises:
        ReadError: one of the two is missing, or damaged.
    """
    results, network = read_results(folder, FinetunedResults), read_network(folder)
    provenance = provenance_of(folder, network)
    target, segments = results.target, results.target.head == "segmentation"
    card = ModelCard.from_template(
        _card_data(name, results, provenance),
        template_str=TEMPLATE.read_text(encoding="utf-8"),
        name=name,
        folder=shlex.quote(f"./{name}"),
        target=target,
        results=results,
        architecture=type(network).__name__,
        provenance=provenance,
        labels=["background", *target.classes] if segments else target.classes,
    )
    write_atomic(folder / CARD, str(card))


def _base_model(init: str) -> str | None:
    """The hub's id of the weights that an initialisation takes; None where it takes none, or they are on no hub."""
    name = name_of(init)
    if kind_of(init) in FRESH:
        return None
    if is_registered(name):
        return get_weights(name).repo_id
    if name.startswith(TIMM):
        try:
            repo_id = str(settings_of(name.removeprefix(TIMM)).hf_hub_id or "")
        except InvalidInputError:  # another timm than that of the fine-tuning
            return None
        return repo_id.partition("@")[0] or None
    return name if "/" in name else None  # a folder is known by its name alone


def _card_data(name: str, results: FinetunedResults, provenance: Provenance) -> ModelCardData:
    target = results.target
    task = head_of(results.target.head).hub_task
    values = {metric: (metric, value) for metric, value in results.values.items()}
    if results.doubtful is not None:
        count = len(results.doubtful.items)
        values |= {without_doubtful(name, count): (name, value) for name, value in results.doubtful.values.items()}
    measured = [
        Measured(
            target=target.title,
            task_type=task,
            dataset=target.dataset,
            dataset_name=target.title,
            split="test",
            metric_type="roc_auc" if metric.startswith("auc") else metric.partition(" ")[0],
            metric=called,
            value=round(value, 5),
        )
        for called, (metric, value) in values.items()
    ]
    return ModelCardData(
        model_name=name,
        **licence_metadata(provenance),
        library_name="sg_hub",
        pipeline_tag=task,
        base_model=_base_model(results.init),
        tags=["medical-imaging", f"{target.ndim}d"],
        eval_results=eval_results(measured),
    )
