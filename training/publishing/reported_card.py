"""Cards of weights that others published: how to get them, and what their paper reports (reported.toml)."""

from __future__ import annotations

from pathlib import Path

import torch
from huggingface_hub import ModelCard

from sg_hub import SemanticGenesis3D
from sg_hub.conversion.convert import LICENCE, SEMANTIC_GENESIS, card_data
from sg_hub.hub.upload import CARD
from sg_hub.io.files import write_atomic

from ..report.reported import reported


def write_reported_card(folder: Path) -> None:
    """Write README.md of weights in `reported.toml`. Its model-index is empty: nothing was measured."""
    with torch.device("meta"):
        model = SemanticGenesis3D()
    template = Path(__file__).with_name("reported_card.md.jinja")
    data = card_data(SEMANTIC_GENESIS)
    data.model_name = folder.name
    card = ModelCard.from_template(
        data,
        template_str=template.read_text(encoding="utf-8"),
        name=folder.name,
        reported=reported()[folder.name],
        published=SEMANTIC_GENESIS,
        licence=LICENCE,
        config=model.config(),
        parameters=sum(p.numel() for p in model.parameters()),
        norm="by the batch's own statistics, in evaluation too",
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / CARD, str(card))
