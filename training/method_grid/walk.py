"""The walk through a grid: the store once, every pre-training, what its weights are worth, their trials, the page.

Below the grid's folder:

    store/                  a run as far as the patterns, which every other one shares
    runs/NAME/              the run of every cell
    weights/NAME/           its weights as `publish` writes them, in half precision
    worth/, trials/         what `sg-hub worth` and `sg-hub benchmark` write
    methods.md, methods.png the page

What is done is passed over, and what was stopped goes on where it was. A cell or a target that fails keeps no other
from being worked on, nor the page from being written.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sg_hub.errors import InputsError, InvalidInputError, ReadError, SgHubError
from sg_hub.io.files import given_path

from ..data.prepare import prepare
from ..discovery.discover import discover
from ..methods.registry import method_of, recorded_recipe
from ..pretraining.autoencode import autoencode
from ..pretraining.evaluate import evaluate, read_evaluation
from ..pretraining.pretrain import pretrain
from ..pretraining.published import FOLDER, published_model
from ..pretraining.state import FREE
from ..report import report
from ..run.folder.lock import run_lock
from ..run.recipe import Recipe, resolved
from ..targets import load_target
from ..trials.grids.benchmark import benchmark
from ..trials.task.initialisation import RANDOM, look_up
from ..worth.suite import measured, worth
from .measures import Measure, rows_of_trials, trials_of, worth_of
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
        InvalidInputError: a grid or recipe that cannot be had, or another process that works there.
        ReadError: data that are not there, or damaged.
        InputsError: what could not be done of the cells and targets; the others are, and so is the page.
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
        page = walk.report() if "report" in only else out
    if walk.failed:
        raise InputsError(list(walk.failed.values()), walk.count)
    return page


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
        self.failed: dict[str, SgHubError] = {}
        """What could not be done, and why."""
        self.count = 0
        """Of all that was tried."""

    @contextlib.contextmanager
    def _trying(self, what: str) -> Iterator[None]:
        self.count += 1
        try:
            yield
        except (SgHubError, RuntimeError) as error:  # such as: out of memory
            self.failed[what] = InvalidInputError(f"{what} failed: {error}")
            print(self.failed[what], flush=True)

    def pretrain(self, recipes: dict[str, Recipe]) -> None:
        missing = {name: recipe for name, recipe in recipes.items() if not self._is_trained(name, recipe)}
        if missing:
            self._store()
        for name, recipe in missing.items():
            with self._trying(f"pretrain {name}"):
                print(f"== pretrain {name}", flush=True)
                self._share(recipe.run_dir)
                pretrain(recipe, device=self.device, progress=self.progress)
                with run_lock(recipe.run_dir):
                    evaluate(recipe, device=self.device, progress=self.progress)
                    published_model(recipe.run_dir / FOLDER).save_pretrained(self._weights(name), half=True)

    def worth(self, names: Sequence[str]) -> None:
        assert self.grid.worth is not None
        with self._trying(f"worth on {self.grid.worth.target}"):
            print(f"== worth on {self.grid.worth.target}", flush=True)
            worth(**self._asked_of_worth(self._inits(names)), device=self.device, progress=self.progress)

    def _asked_of_worth(self, inits: dict[str, str]) -> dict[str, Any]:
        asked = self.grid.worth
        assert asked is not None
        return {
            "target": asked.target,
            "weights": list(inits.values()),
            "out": self.out / WORTH,
            "overrides": asked.overrides,
            "parts": asked.parts,
            "calibrate": asked.calibrate,
            "data": self.data,
        }

    def trials(self, names: Sequence[str]) -> None:
        assert self.grid.trials is not None
        for target in self.grid.trials.targets:
            with self._trying(f"trials of {target}"):
                print(f"== trials of {target}", flush=True)
                benchmark(
                    [target],
                    list(self._inits(names).values()),
                    self.grid.trials.count,
                    self.out / TRIALS,
                    data=self.data,
                    overrides=self.grid.trials.overrides,
                    device=self.device,
                    progress=self.progress,
                )

    def report(self) -> Path:
        """The report of the trials, and the grid's own page, of what is there."""
        made = self._made(self.recipes)
        measures: list[Measure] = []
        notes = [f"{error}." for error in self.failed.values()]
        if changed := [name for name in made if not self._is_of_its_record(name)]:
            notes.append(
                f"What is said of {', '.join(changed)} is not all of one training, or of another recipe than that of "
                "today: do its step pretrain again."
            )
        if made and self.grid.worth:
            with self._trying("reading what the weights are worth"):
                inits = self._inits(made)
                measures += worth_of(measured(**self._asked_of_worth(inits)), inits)
        if made and self.grid.trials:
            with self._trying("reading the trials"):
                found, others = self._trials(made)
                measures += found
                if others:
                    notes.append(f"{others} trials by other settings or on other items are left out.")
        return write_page(self.grid, self.recipes, made, measures, self.out, notes)

    def _trials(self, made: Sequence[str]) -> tuple[list[Measure], int]:
        """What trials of these cells say, whose own report is written, and how many are no part of it."""
        assert self.grid.trials is not None
        starts = {name: look_up(init) for name, init in self._inits(made).items()}
        expected = [start.config["preprocessing"] for start in starts.values()]
        overrides = self.grid.trials.overrides
        targets = [load_target(target, overrides, self.data, expected) for target in self.grid.trials.targets]
        names: dict[str, list[str]] = {}
        for name, start in starts.items():
            names.setdefault(start.fingerprint, []).append(name)
        rows, others = rows_of_trials(self.out / TRIALS, names, targets)
        if rows:
            print(report(self.out / TRIALS, rows=rows))
        return trials_of(rows, names), others

    def _weights(self, name: str) -> Path:
        return self.out / WEIGHTS / name

    def _made(self, names: Iterable[str]) -> list[str]:
        """Cells whose weights are there."""
        return [name for name in names if self._sha256(name)]

    def _sha256(self, name: str) -> str:
        """Of a cell's weights; empty where they are not there, or not whole."""
        try:
            return look_up(str(self._weights(name))).sha256
        except SgHubError:
            return ""

    def _inits(self, names: Sequence[str]) -> dict[str, str]:
        """A random network, and the weights of these cells, as far as they are there.

        Raises:
            ReadError: there are none.
        """
        made = self._made(names)
        if not made:
            raise ReadError(f"there are no weights yet of {', '.join(names)}: do the step pretrain first")
        if missing := [name for name in names if name not in made]:
            print(f"no weights yet of {', '.join(missing)}", flush=True)
        inits = {name: str(self._weights(name)) for name in made}
        return {RANDOM: f"{RANDOM}:{self.grid.random or inits[made[0]]}", **inits}

    def _is_trained(self, name: str, recipe: Recipe) -> bool:
        """Whether a pre-training of this very recipe has ended, was evaluated, and its weights are there."""
        there, asked = recorded_recipe(recipe, "pretrain"), resolved(recipe)
        return there == asked | {"run": there.get("run")} and self._is_evaluated(name)  # wherever the grid lies

    def _is_evaluated(self, name: str) -> bool:
        """Whether the weights of a cell are those that were evaluated."""
        try:
            return self._sha256(name) == read_evaluation(self.recipes[name])["sha256"]
        except (KeyError, SgHubError):
            return False

    def _is_of_its_record(self, name: str) -> bool:
        """The same, but for what does not determine the weights: where data lie, and how they are read."""
        there, asked = recorded_recipe(self.recipes[name], "pretrain"), resolved(self.recipes[name])
        return self._is_evaluated(name) and _of_weights(there) == _of_weights(asked)

    def _store(self) -> None:
        """The store and, where some method needs them, the patterns; made once."""
        first = next(iter(self.recipes.values()))
        recipe = first.model_copy(update={"run": str(self.out / STORE)})
        asked, there = resolved(recipe), recorded_recipe(recipe, "discover")
        if all(there.get(key) == asked[key] for key in SHARED):
            return
        print(f"== the store, in {recipe.run}", flush=True)
        prepare(recipe, progress=self.progress)
        if any(method_of(one).needs == "patterns" for one in self.recipes.values()):
            if recipe.discover.needs_autoencoder:
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


def _of_weights(recipe: dict[str, Any]) -> list[Any]:
    """What of a recipe determines weights."""
    how = {key: value for key, value in recipe.get("pretrain", {}).items() if key not in FREE}
    return [how, *(recipe.get(key) for key in ("model", "method", "seed"))]
