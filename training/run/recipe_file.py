"""A recipe's file: one of TOML, which may say only what differs from another. Unknown keys are errors.

recipe = load_recipe("semantic-genesis-3d-tiny", ["pretrain.epochs=3", "source=/data/ct"])

With `base = "semantic-genesis-3d-tiny"` it says only what differs from another recipe: see `_with_base`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sg_hub.errors import InvalidInputError, ReadError

from .recipe import ABOUT, TEXTS, Recipe, with_newer_keys
from .settings import read_toml, settings_of, shipped_files

RECIPES = "recipes"
"""Folder of the shipped ones."""


def load_recipe(recipe: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe by file or shipped name and apply `section.key=value` overrides (values in TOML).

    A relative `source` in a file is looked for beside the file, then in the current folder.

    Raises:
        InvalidInputError: no such recipe, broken TOML, an unknown key or a value of the wrong kind.
    """
    keys = {text.partition("=")[0] for text in overrides}
    found = settings_of(Recipe, _read(recipe, keys), recipe, overrides)
    given = tuple(text for text in TEXTS if f"publish.{text}" in keys or text in found.publish.given)
    return found.model_copy(update={"publish": found.publish.model_copy(update={"given": given})}) if given else found


def _read(recipe: str | Path, overridden: set[str], above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """What a recipe's file says, and its base.

    Args:
        overridden: keys that are given with the command.
        above: files whose base, or base's base, it is.
    """
    values = read_toml(RECIPES, recipe)
    path = Path(recipe) if Path(recipe).is_file() else shipped_files(RECIPES)[f"{recipe}.toml"]
    if isinstance(values.get("source"), str) and (beside := path.parent / values["source"]).is_dir():
        values["source"] = os.path.normpath(beside)
    base = values.pop("base", None)
    if base is None:
        return values
    above = (*above, path.resolve())
    found = path.parent / str(base)
    if not found.is_file():
        found = shipped_files(RECIPES).get(f"{base}.toml", found)
    if not isinstance(base, str) or found.resolve() in above:
        raise InvalidInputError(f"{recipe}: base={base!r}: expected the file or name of another recipe")
    try:
        under = _read(found if found.is_file() else base, overridden, above)
        another = values.get("source", under.get("source")) != under.get("source")
        if another and under.get("split") and "split" not in values.keys() | overridden:
            raise InvalidInputError(
                f'split = {under["split"]!r} is of its source, and this recipe has another: give split = "CSV" with '
                'these patients, or split = "" where each of them may train'
            )
        return _with_base(values, under)
    except (InvalidInputError, ReadError) as error:
        raise type(error)(f"{recipe}: base={base!r}: {error}") from error


def _with_base(values: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """A recipe that says what differs from its base, key by key in each section.

    Not taken over are `name` and `run`, which are each recipe's own, and `[method]` where it names its method. What the
    base says of its own data alone is no condition of what this one says.
    """
    base, values = with_newer_keys({k: v for k, v in base.items() if k not in ("name", "run")}), dict(values)
    for key, under in base.items():
        over = values.get(key)
        named = key == "method" and isinstance(over, dict) and "name" in over
        if isinstance(under, dict) and isinstance(over, dict) and key != "split_names" and not named:
            values[key] = {**under, **over}
            if key == "publish":
                values[key]["given"] = _given(over, under)
    return {**base, **values}


def _given(over: dict[str, Any], under: dict[str, Any]) -> list[str]:
    """Texts of [publish] that are said of any data, where the base has `under`."""
    if not over.keys().isdisjoint(ABOUT):
        return []
    said = {*under.get("given", ()), *over} if not under.keys().isdisjoint(ABOUT) else set()
    return [text for text in TEXTS if text in said]
