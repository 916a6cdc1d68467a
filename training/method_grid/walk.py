"""The walk through a grid: the store once, every pre-training, what its weights are worth, their trials, the page.

Below the grid's folder:

    store/                  a run as far as the patterns, which every other one shares
    runs/NAME/              the run of every cell
    weights/NAME/           its weights as `publish` writes them, in half precision
    worth/, trials/         what `sg-hub worth` and `sg-hub benchmark` write
    methods.md, methods.png the page

What is done is passed over, and what was stopped goes on where it was.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sg_hub.errors import InvalidInputError
from sg_hub.io.files import given_path

from ..data.prepare import prepare
from ..discovery.discover import discover
from ..methods.registry import method_of, resolve
from ..pretraining.autoencode import autoencode
from ..pretraining.evaluate import evaluate, read_evaluation
from ..pretraining.pretrain import pretrain
from ..pretraining.published import FOLDER, published_model
from ..report import report
from ..run.lock import run_lock
from ..run.recipe import Recipe, resolved
from ..run.record import recorded
from ..trials.grids.benchmark import benchmark
from ..trials.grids.results import TABLE
from ..trials.task.initialisation import RANDOM, look_up
from ..worth.suite import worth
from .measures import trials_of, worth_of
from .page import write_page
from .recipe import SHARED, STORE, GridRecipe, load_grid, recipes_of

STEPS = ("pretrain", "worth", "trials", "report")
WEIGHTS, WORTH, TRIALS = "weights", "worth", "trials"
_OF_THE_STORE = ("store.zarr", "discovery", "autoencoder", "autoencode.json", "discover.json")


def compare_methods(
    grid: str | Path,
    out: str | Path,
    overrides: Sequence[str] = (),
    *,
    only: Sequence[str] = STEPS,
    cells: Sequence[str] = (),
    data: str | Path | None = None,
    device: str = "auto",
    progress: bool = True,
) -> Path:
    """Do what is missing of a grid; returns its page, or its folder where no page was asked for.

    Args:
        grid: TOML file or shipped name.
        out: folder of everything that is written.
        overrides: `key=value` of the grid; `recipe.KEY=value` of the recipe of every cell.
        only: some of STEPS.
        cells: these alone are worked on; the page shows all that are there. Absent: all.
        data: folder that stands for `data/` in the roots of the shipped targets.

    Raises:
        InvalidInputError: a grid, recipe or target that cannot be had or run, or another process that works there.
        ReadError: data or weights that are not there, or damaged.
    """
    out = given_path(out, "the folder of the grid")
    read = load_grid(grid, overrides)
    recipes = recipes_of(read, out)
    for given, known, what in ((only, STEPS, "steps"), (cells, list(read.cells), "cells")):
        if wrong := [name for name in given if name not in known]:
            raise InvalidInputError(f"{what} {', '.join(wrong)}: expected some of {', '.join(known)}")
    chosen = {name: recipe for name, recipe in recipes.items() if not cells or name in cells}
    with run_lock(out):
        walk = _Walk(read, recipes, out, data, device, progress)
        if "pretrain" in only:
            walk.pretrain(chosen)
        if "worth" in only and read.worth:
            walk.worth(list(chosen))
        if "trials" in only and read.trials:
            walk.trials(list(chosen))
        return walk.report() if "report" in only else out


class _Walk:
    def __init__(
        self,
        grid: GridRecipe,
        recipes: dict[str, Recipe],
        out: Path,
        data: str | Path | None,
        device: str,
        progress: bool,
    ) -> None:
        self.grid, self.recipes, self.out, self.data = grid, recipes, out, data
        self.device, self.progress = device, progress

    def pretrain(self, recipes: dict[str, Recipe]) -> None:
        missing = {name: recipe for name, recipe in recipes.items() if not self._is_trained(name, recipe)}
        if missing:
            self._store()
        for name, recipe in missing.items():
            print(f"== pretrain {name}", flush=True)
            self._share(recipe.run_dir)
            pretrain(recipe, device=self.device, progress=self.progress)
            with run_lock(recipe.run_dir):
                evaluate(recipe, device=self.device, progress=self.progress)
                published_model(recipe.run_dir / FOLDER).save_pretrained(self._weights(name), half=True)

    def worth(self, names: Sequence[str]) -> None:
        assert self.grid.worth is not None
        print(f"== worth on {self.grid.worth.target}", flush=True)
        worth(
            self.grid.worth.target,
            self._inits(names),
            self.out / WORTH,
            self.grid.worth.overrides,
            parts=self.grid.worth.parts,
            calibrate=self.grid.worth.calibrate,
            data=self.data,
            device=self.device,
            progress=self.progress,
        )

    def trials(self, names: Sequence[str]) -> None:
        assert self.grid.trials is not None
        inits, count = self._inits(names), self.grid.trials.count
        for target in self.grid.trials.targets:
            print(f"== trials of {target}", flush=True)
            benchmark(
                [target],
                inits,
                count,
                self.out / TRIALS,
                data=self.data,
                overrides=self.grid.trials.overrides,
                device=self.device,
                progress=self.progress,
            )

    def report(self) -> Path:
        """The report of the trials, and the grid's own page, of what is there."""
        trials = self.out / TRIALS
        if (trials / TABLE).is_file():
            print(report(trials))
        made = [name for name in self.recipes if self._weights(name).is_dir()]
        inits = {name: str(self._weights(name)) for name in made}
        if made or self.grid.random:
            inits = {RANDOM: self._random(), **inits}
        measures = [*worth_of(self.out / WORTH, inits), *trials_of(trials, inits)]
        return write_page(self.grid, self.recipes, made, measures, self.out)

    def _weights(self, name: str) -> Path:
        return self.out / WEIGHTS / name

    def _random(self) -> str:
        return f"{RANDOM}:{self.grid.random or self._weights(next(iter(self.recipes)))}"

    def _inits(self, names: Sequence[str]) -> list[str]:
        """A random network, and the weights of these cells."""
        return [self._random(), *(str(self._weights(name)) for name in names)]

    def _is_trained(self, name: str, recipe: Recipe) -> bool:
        """Whether a pre-training of this very recipe has ended, was evaluated, and its weights are there."""
        if _recorded_recipe(recipe, "pretrain") != resolved(recipe):
            return False
        if not (recipe.run_dir / "evaluation.json").is_file() or not self._weights(name).is_dir():
            return False
        return look_up(str(self._weights(name))).sha256 == read_evaluation(recipe)["sha256"]

    def _store(self) -> None:
        """The store and, where some method needs them, the patterns; made once."""
        first = next(iter(self.recipes.values()))
        recipe = first.model_copy(update={"run": str(self.out / STORE)})
        asked, there = resolved(recipe), _recorded_recipe(recipe, "discover")
        if all(there.get(key) == asked[key] for key in SHARED):
            return
        print(f"== the store, in {recipe.run}", flush=True)
        prepare(recipe, progress=self.progress)
        if any(method_of(one).needs == "patterns" for one in self.recipes.values()):
            autoencode(recipe, device=self.device, progress=self.progress)
            discover(recipe, progress=self.progress)

    def _share(self, run: Path) -> None:
        """Link what all cells share into the run of one."""
        run.mkdir(parents=True, exist_ok=True)
        for name in _OF_THE_STORE:
            source, link = self.out / STORE / name, run / name
            if source.exists() and not link.exists():
                link.unlink(missing_ok=True)  # it leads nowhere any more
                link.symlink_to(os.path.relpath(source.resolve(), run.resolve()))


def _recorded_recipe(recipe: Recipe, step: str) -> dict[str, Any]:
    """The recipe that a step's record holds, with today's keys: newer ones had no other value than their default.
    Empty where there is no record, or one of a recipe that is none any more."""
    try:
        return resolved(resolve(Recipe.model_validate(recorded(recipe, step)["recipe"])))
    except (KeyError, ValueError):
        return {}
