"""The card of a model folder, built again from the records in it.

sg-hub card FOLDER                      (README.md from the folder's records, or from reported.toml)
sg-hub card FOLDER --results BENCHMARK  (first takes in what a benchmark found of these weights)
"""

from __future__ import annotations

from pathlib import Path

from sg_hub.hub.card import CARD

from ..report.reported import reported
from .cards.finetuned import write_finetuned_card
from .cards.pretrained import write_pretrained_card
from .cards.reported import write_reported_card
from .cards.results_file import RESULTS, read_object
from .replacing import check_built


def build_card(folder: str | Path) -> Path:
    """Write README.md of a model folder from its records; returns it.

    Weights that others published (training/report/reported.toml) have none: their card is built from what is reported.

    Raises:
        ReadError: a record is missing or damaged.
        InvalidInputError: there is a card that a person wrote.
    """
    folder = Path(folder).expanduser()
    name, card = folder.resolve().name, folder / CARD
    check_built(card)
    if name in reported() and not (folder / RESULTS).exists():
        write_reported_card(folder)
    elif "target" in read_object(folder / RESULTS):
        write_finetuned_card(folder, name)
    else:
        write_pretrained_card(folder, name)
    return card
