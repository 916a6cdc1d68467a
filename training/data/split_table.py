"""The recipe's CSV: which split each patient (or image) belongs to."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.io.finder import plain_name

from ..run.recipe import RECIPES, Recipe
from ..run.settings import ROOT


@dataclass(frozen=True)
class SplitRow:
    """Of the CSV."""

    split: str
    """In the words of the CSV."""
    patient: str


def read_split(recipe: Recipe) -> dict[str, SplitRow] | None:
    """What the recipe's CSV says of each patient, or of each image where it has a column of that name; None where the
    recipe has no CSV.

    Raises:
        ReadError: it cannot be read, or has other columns or a row that lacks one.
        InvalidInputError: two splits of one patient or image.
    """
    if recipe.split is None:
        return None
    try:
        shipped = ROOT / RECIPES / recipe.split
        path = shipped if shipped.is_file() else Path(recipe.split).expanduser()
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))
    except (OSError, ValueError, RuntimeError, csv.Error) as error:
        raise ReadError(
            f"the recipe's split {recipe.split} cannot be read ({getattr(error, 'strerror', None) or error}): give "
            "split=CSV with the columns patient and split"
        ) from error
    if not rows or not {"patient", "split"} <= rows[0].keys():
        raise ReadError(f"{recipe.split}: expected a CSV with the columns patient and split")
    given: dict[str, SplitRow] = {}
    for number, row in enumerate(rows, 2):
        patient, split = row["patient"], row["split"]
        if not patient or not split:
            raise ReadError(f"{recipe.split}, row {number}: the patient or the split is missing")
        patient = plain_name(patient)
        key = plain_name(row.get("image") or patient)
        if given.setdefault(key, SplitRow(split, patient)).split != split:
            raise InvalidInputError(
                f"{recipe.split} has {'image' if row.get('image') else 'patient'} {key!r} in {given[key].split!r} and "
                f"in {split!r}: leave one"
            )
    return given
