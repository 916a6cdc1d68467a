"""The recipe's CSV: which split each patient (or image) belongs to."""

from __future__ import annotations

import csv
import difflib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.io.finder import plain_name

from ..run.recipe import Recipe
from ..run.recipe_file import RECIPES
from ..run.settings import shipped_files


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
    try:
        reader = csv.reader(io.StringIO(split_file(recipe.split).read_text(encoding="utf-8-sig"), newline=""))
        header, *lines = [[value.strip() for value in line] for line in reader if line] or [[]]
    except (OSError, ValueError, csv.Error) as error:
        raise ReadError(
            f"the recipe's split {recipe.split} cannot be read ({getattr(error, 'strerror', None) or error}): give "
            "split=CSV with the columns patient and split, or split= where every patient may train"
        ) from error
    if not lines or not {"patient", "split"} <= {*header}:
        raise ReadError(f"{recipe.split}: expected a CSV with the columns patient and split")
    check_columns(recipe.split, header, ("image",))
    long = next((number for number, line in enumerate(lines, 2) if any(line[len(header) :])), None)
    if long is not None:  # a comma that is not in quotes
        raise ReadError(f"{recipe.split}, row {long}: {len(lines[long - 2])} values for {len(header)} columns")
    given: dict[str, SplitRow] = {}
    for number, line in enumerate(lines, 2):
        row = dict(zip(header, line, strict=False))
        patient, split = row.get("patient"), row.get("split")
        if not patient or not split:
            raise ReadError(f"{recipe.split}, row {number}: the patient or the split is missing")
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


def check_columns(path: str | Path, header: Sequence[str], optional: Sequence[str]) -> None:
    """Refuse a CSV that lacks a column which may be there, and has one of nearly that name, which would not count.

    Raises:
        ReadError: naming both.
    """
    for name in (one for one in optional if one not in header):
        near = next((one for one in header if difflib.get_close_matches(one.lower(), [name], cutoff=0.8)), None)
        if near is not None:
            raise ReadError(
                f"{path} has the column {near!r}, which is not read, and none called {name!r}: call it {name!r}, or, "
                "if it is something else, by another name"
            )
