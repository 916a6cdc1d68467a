"""The card of a fine-tuned model, from what its training found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

import sg_hub

from ..targets import Target
from ..trials.initialisation import name_of


def build_finetuned_card(model: Any, target: Target, results: dict[str, Any], out: Path) -> None:
    licence = model.provenance["licence"]
    segments = target.head == "segmentation"
    evaluations = [
        EvalResult(
            task_type="image-segmentation" if segments else "image-classification",
            task_name=target.title,
            dataset_type=target.dataset,
            dataset_name=target.title,
            dataset_split="test",
            metric_type="roc_auc" if name.startswith("auc") else name.partition(" ")[0],
            metric_name=name,
            metric_value=round(value, 5),
        )
        for name, value in results["values"].items()
    ]
    data = ModelCardData(
        model_name=out.resolve().name,
        license=licence if licence != "unknown" else None,
        library_name="sg_hub",
        pipeline_tag="image-segmentation" if segments else "image-classification",
        tags=["medical-imaging", "semantic-genesis", f"{target.ndim}d"],
        eval_results=evaluations,
    )
    template = Path(__file__).with_name("finetuned_card.md.jinja")
    card = ModelCard.from_template(
        data,
        template_str=template.read_text(encoding="utf-8"),
        name=out.resolve().name,
        target=target,
        results=results,
        base=name_of(results["init"]),
        config=model.config(),
        labels=["background", *target.classes] if segments else list(target.classes),
        version=sg_hub.__version__,
    )
    card.save(out / "README.md")
