"""The recipe's CSV: which split each patient (or image) belongs to."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.io.finder import plain_name

from ..run.recipe import Recipe
from ..run.recipe_file import RECIPES
from ..run.settings import shipped_files
from .csv_table import numbered_rows


@dataclass(frozen=True)
class SplitRow:
    """Of the CSV."""

    split: str
    """In the words of the CSV."""
    patient: str
    of_image: bool
    """Whether it names one scan or image, and whose that is."""


def split_file(name: str) -> Path:
    """The file, or else the CSV of that name that comes with the recipes."""
    path = Path(os.path.expanduser(name))
    return path if path.is_file() else shipped_files(RECIPES, ".csv").get(name, path)


def read_split(recipe: Recipe) -> dict[str, SplitRow] | None:
    """What the recipe's CSV says of each patient, or of each image where it has a column of that name; None where the
    recipe has no CSV.

    Raises:
        ReadError: it cannot be read, or has other columns or a row that lacks one.
        InvalidInputError: two splits of one patient or image, or two patients of one image.
    """
    if not recipe.split:
        return None
    path = split_file(recipe.split)
    try:
        rows = numbered_rows(path, ("patient", "split"), ("image",))
    except ReadError as error:
        raise ReadError(
            f"the recipe's split: {error}: give split=CSV with the columns patient and split, or split= where every "
            "patient may train"
        ) from error
    if not rows:
        raise ReadError(f"the recipe's split {path} names nobody: give split= where every patient may train")
    given: dict[str, SplitRow] = {}
    for number, row in rows:
        patient, split = row["patient"], row["split"]
        if not patient or not split:
            raise ReadError(f"{recipe.split}, line {number}: the patient or the split is missing")
        patient = plain_name(patient)
        key = plain_name(row.get("image") or patient)
        stands = given.setdefault(key, SplitRow(split, patient, bool(row.get("image"))))
        if stands.patient != patient:
            raise InvalidInputError(
                f"{recipe.split} says of image {key!r} that it is of {stands.patient!r} and of {patient!r}: leave one"
            )
        if stands.split != split:
            raise InvalidInputError(
                f"{recipe.split} has {'image' if row.get('image') else 'patient'} {key!r} in {given[key].split!r} and "
                f"in {split!r}: leave one"
            )
    return given
