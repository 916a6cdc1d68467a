"""Cards of weights that others published: how to get them, and what their paper reports (reported.toml)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCard, ModelCardData

from sg_hub import SemanticGenesis3D
from sg_hub.conversion.releases.semantic_genesis import RELEASE
from sg_hub.hub.card import CARD, licence_data
from sg_hub.io.files import write_atomic

from ...methods.with_semantics import BIBTEX
from ...report.reported import reported


def write_reported_card(folder: Path) -> None:
    """Write README.md of weights in `reported.toml`. Its model-index is empty: nothing was measured."""
    with torch.device("meta"):
        model = SemanticGenesis3D()
    template = Path(__file__).with_name("reported.md.jinja")
    about: dict[str, Any] = {"library_name": "sg_hub", "pipeline_tag": "image-feature-extraction"}
    about["tags"] = ["medical-imaging", "self-supervised", "semantic-genesis", "3d", "ct"]
    data = ModelCardData(**{**licence_data(RELEASE.provenance()), **about, "model_name": folder.name})
    card = ModelCard.from_template(
        data,
        template_str=template.read_text(encoding="utf-8"),
        name=folder.name,
        reported=reported()[folder.name],
        published=RELEASE,
        bibtex=BIBTEX,
        licence=RELEASE.licence_name,
        config=model.config(),
        parameters=sum(p.numel() for p in model.parameters()),
        norm="by the batch's own statistics, in evaluation too",
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / CARD, str(card))
