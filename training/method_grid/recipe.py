"""The recipe of a grid: which methods, what they share, and what is measured of them. One TOML file.

Every cell is a recipe of pre-training; the grid says what is the same in all of them, so that they differ in the method
and in nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from sg_hub.errors import InvalidInputError

from ..methods.registry import method_of, resolve
from ..run.explain import toml_text
from ..run.recipe import Recipe
from ..run.recipe_file import load_recipe
from ..run.settings import Name, Section, read_toml, settings_of

GRIDS = "method_grid/grids"
"""Folder of the shipped ones."""
STORE, RUNS = "store", "runs"
"""Of a grid's folder: the run that the store and the patterns are made in, and those of the cells."""
OWN = ("name", "run", "method", "pretrain", "publish")
SHARED = tuple(key for key in Recipe.model_fields if key not in OWN)
"""Keys of a recipe that the store, the patterns and the network depend on."""


class Cell(Section):
    """One pre-training."""

    recipe: str = Field(examples=["in-painting-3d-tiny"])
    """File or name of its recipe."""
    semantics: bool = False
    """Semantics are added to the recipe's method."""
    without: tuple[str, ...] = ()
    """Cells that it is held against to see what semantics add: the same method without them."""


class Worth(Section):
    """What is measured without fine-tuning."""

    target: str = Field(examples=["openkbp-head-neck"])
    """File or name."""
    parts: tuple[str, ...] = ("zero", "frozen")
    """As of `sg-hub worth`."""
    calibrate: bool = False
    """The statistics of norms are those of clean patches in all networks, not in the random one alone."""
    overrides: tuple[str, ...] = ()
    """`key=value` of the target."""


class Trials(Section):
    """What is fine-tuned."""

    targets: tuple[str, ...] = Field(min_length=1, examples=[["lidc-malignancy"]])
    """Files or names; one is finished for all cells before the next begins."""
    count: PositiveInt = 5
    """Trials of each cell on each target."""
    overrides: tuple[str, ...] = ()
    """`key=value` of every target, `TARGET:key=value` of one."""


class GridRecipe(Section):
    name: Name = Field(examples=["my-grid"])
    """Of the grid, for its page."""
    epochs: PositiveInt
    """Of all stages together; each is of recipe.pretrain.samples_per_epoch cubes."""
    classification_epochs: NonNegativeInt = 2
    """Of them those of the classification branch alone, where a cell has `semantics = true`."""
    random: str = ""
    """Weights whose architecture is initialised at random for comparison; absent: those of the first cell."""
    recipe: dict[str, Any] = Field(default={}, examples=[{"pretrain": {"samples_per_epoch": 1280}}])
    """Keys of a recipe that are the same in every cell, whatever its own recipe says."""
    cells: dict[Name, Cell] = Field(min_length=1)
    """By what the weights are called, in the order in which they are made."""
    worth: Worth | None = None
    trials: Trials | None = None

    @model_validator(mode="after")
    def _pairs_are_cells(self) -> GridRecipe:
        for name, cell in self.cells.items():
            for other in cell.without:
                if other not in self.cells or other == name:
                    raise ValueError(f"cells.{name}.without names {other!r}: there are {', '.join(self.cells)}")
        return self

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """(with semantics, the same without them)."""
        return [(name, other) for name, cell in self.cells.items() for other in cell.without]


def load_grid(grid: str | Path, overrides: Sequence[str] = ()) -> GridRecipe:
    """Read a grid by file or shipped name, with `key=value` overrides; `recipe.KEY=value` is for every cell.

    Raises:
        InvalidInputError: no such grid, broken TOML, an unknown key or a value of the wrong kind.
    """
    return settings_of(GridRecipe, read_toml(GRIDS, grid), grid, overrides)


def recipes_of(grid: GridRecipe, out: Path) -> dict[str, Recipe]:
    """The recipe of every cell, resolved; their runs lie below the grid's folder.

    Raises:
        InvalidInputError: a recipe that cannot be had, cells that cannot share a store or network, an unknown number
            of cubes, a method that needs regions, or more epochs of one stage than there are of all.
    """
    found = {name: _recipe_of(grid, name, out) for name in grid.cells}
    first, *others = found.items()
    for name, recipe in others:
        for key in SHARED:
            if getattr(recipe, key) != getattr(first[1], key):
                raise InvalidInputError(
                    f"grid {grid.name}: cells {first[0]} and {name} differ in {key}: set recipe.{key} for all of them, "
                    "for the store, the patterns and the network are the same in every cell"
                )
    return found


def _recipe_of(grid: GridRecipe, name: str, out: Path) -> Recipe:
    cell = grid.cells[name]
    texts = [f"{key}={toml_text(value)}" for key, value in _flat(grid.recipe)]
    if cell.semantics:
        texts += ["method.semantics=true", f"method.classification_epochs={grid.classification_epochs}"]
    texts += [f"name={toml_text(name)}", f"run={toml_text(str(out / RUNS / name))}"]
    recipe = resolve(load_recipe(cell.recipe, texts))
    if recipe.pretrain.samples_per_epoch is None:
        raise InvalidInputError(
            f"grid {grid.name}: set recipe.pretrain.samples_per_epoch, so that every cell sees as many cubes as another"
        )
    if method_of(recipe).needs == "regions":
        raise InvalidInputError(
            f"grid {grid.name}, cell {name}: {recipe.method.name} needs regions, which are found by weights that were "
            "trained before: no method of a grid starts from any. Measure its weights with `sg-hub worth`"
        )
    before = sum(stage.epochs for stage in method_of(recipe).stages(0))
    if before >= grid.epochs:
        raise InvalidInputError(
            f"grid {grid.name}, cell {name}: epochs={grid.epochs} of all stages, but {before} of the first alone"
        )
    more = {"epochs": grid.epochs - before, "patience": max(recipe.pretrain.patience, grid.epochs)}
    return recipe.model_copy(update={"pretrain": recipe.pretrain.model_copy(update=more)})


def _flat(values: dict[str, Any], above: str = "") -> list[tuple[str, Any]]:
    """Keys such as `pretrain.batch_size`, and their values."""
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        whole = isinstance(value, dict) and key != "split_names"
        found += _flat(value, f"{above}{key}.") if whole else [(f"{above}{key}", value)]
    return found
