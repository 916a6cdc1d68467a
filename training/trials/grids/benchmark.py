"""Initialisations against each other on target tasks: a grid of (initialisation, target, label fraction, trial).

    sg-hub benchmark --targets lidc-candidates lidc-nodules --inits NAME random:NAME --trials 10
        --out runs/benchmark [--data FOLDER] [--label-fraction 0.1 0.25 0.5 1] [--ray] [key=value or TARGET:key=value
        ...]

Every trial is a line of `<out>/results.jsonl` (see `results`), so that a grid can be stopped, continued, extended and
merged, and nothing is computed twice. `sg-hub report <out>` makes the tables and figures.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sg_hub.errors import InvalidInputError
from sg_hub.io.files import given_path

from ...run.folder.lock import run_lock
from ...targets import Target, in_parts, list_targets, load_target
from ...targets.splits import check_fraction
from ..task.initialisation import Initialisation, look_up, say_taken
from ..task.prepared_task import find_items, read_items
from ..trial import Trial
from .choosing import DRAWS, NUMBER
from .grid import Engine, Labels, cells, one_by_one
from .results import Row
from .walk import OWN, PROTOCOLS, SAME, Walk

UNFINISHED = "unfinished"
"""Folder of the checkpoint of the trial that is running."""


@dataclass(frozen=True)
class Asked:
    """What a grid is to be of, beside targets and initialisations."""

    trials: int
    """Of each cell."""
    fractions: Sequence[float] = (1.0,)
    """Of the training patients."""
    patients: Sequence[int] = ()
    """Numbers of labelled patients, beside the fractions."""
    protocols: Sequence[str] = (SAME,)
    """`same`: the settings of the target for all; `own`: each initialisation's own, by the same choice for all."""
    only_what_fits: bool = False
    """Whether numbers of patients that a target has not are left out, and said; else they are refused."""

    def check(self) -> None:
        """Raises: InvalidInputError."""
        if not 1 <= self.trials < NUMBER:
            raise InvalidInputError(f"trials={self.trials}: expected at least 1, and 3 for a confidence interval")
        for fraction in self.fractions:
            check_fraction(fraction)
        for count in self.patients:
            if count < 1:
                raise InvalidInputError(f"{count} labelled patients: expected at least 1")
        unknown = [name for name in self.protocols if name not in PROTOCOLS]
        if unknown or not self.protocols:
            raise InvalidInputError(f"protocol {', '.join(unknown) or '()'}: expected some of {', '.join(PROTOCOLS)}")

    @property
    def labels(self) -> list[Labels]:
        """All of them; few before many."""
        counts: list[Labels] = [(1.0, count) for count in sorted(set(self.patients))]
        return counts + [(fraction, None) for fraction in self.fractions]


def benchmark(
    targets: Sequence[str],
    inits: Sequence[str],
    trials: int,
    out: str | Path,
    *,
    fractions: Sequence[float] = (1.0,),
    patients: Sequence[int] = (),
    protocols: Sequence[str] = (SAME,),
    data: str | Path | None = None,
    overrides: Sequence[str] = (),
    engine: Engine | None = None,
    device: str = "auto",
    progress: bool = True,
) -> Path:
    """Run what is missing of the grid; returns the folder of results.

    Args:
        targets: TOML files or shipped names.
        inits: names or folders of weights, `random:NAME`, `encoder:NAME`, `imagenet:NAME`; each is run on the targets
            that take networks of its dimensions.
        fractions, patients, protocols: see `Asked`; `fractions=()` for few patients alone.
        data: folder that stands for `data/` in the roots of the shipped targets.
        overrides: `key=value` for every target, `TARGET:key=value` for one.
        engine: of `training.trials.grids.on_ray`; absent: one trial after the other, here, on `device`.

    Raises:
        InvalidInputError: a target or initialisation that cannot be had, test patients that were pre-trained on, or
            another process that writes there.
        ReadError: data that are not there, or damaged.
    """
    out = given_path(out, "the folder of the results")
    asked = Asked(trials, fractions, patients, protocols)
    run_grid(
        targets, inits, out, asked, data=data, overrides=overrides, engine=engine, device=device, progress=progress
    )
    return out


def run_grid(
    targets: Sequence[str],
    inits: Sequence[str],
    out: Path,
    asked: Asked,
    *,
    data: str | Path | None = None,
    overrides: Sequence[str] = (),
    engine: Engine | None = None,
    device: str = "auto",
    progress: bool = True,
) -> dict[str, Row]:
    """The same; returns the rows of what was asked for, by key: others may be in the folder.

    Raises:
        InvalidInputError, ReadError: see `benchmark`.
    """
    asked.check()
    here = functools.partial(one_by_one, device=device, progress=progress, unfinished=out / UNFINISHED)
    with run_lock(out):
        starts = [look_up(init) for init in dict.fromkeys(inits)]
        expected = [start.config["preprocessing"] for start in starts]
        read = [load_target(name, overrides, data, expected) for name in targets]
        for target in read:
            fitting = [start.init for start in starts if start.ndim == target.ndim]
            if fitting:
                say_taken(target, fitting[0])
        _check_overrides(read, overrides)
        _check_needed(read, starts)
        found = [find_items(target, starts, progress=progress) for target in read]
        tasks = [read_items(task, out, progress=progress) for task in found]
        planned = [cell for cell in cells(tasks, starts, asked.labels) if _fits(cell, asked)]
        return Walk(out, engine or here).run(planned, asked.trials, asked.protocols)


def _fits(cell: Trial, asked: Asked) -> bool:
    """Whether every trial of a cell has the labelled patients that are asked for, and all of them are not another cell.

    Raises:
        InvalidInputError: it has not, and what fits alone was not asked for.
    """
    if cell.patients is None:
        return True
    if 1.0 in asked.fractions and cell.patients == len({item.patient for item in in_parts(cell.task.items)["train"]}):
        print(f"left out: {cell.task.target.name}, {cell.start.init}{cell.labels}: these are all there are", flush=True)
        return False
    try:
        for number in (*range(asked.trials), *(range(NUMBER, NUMBER + DRAWS) if OWN in asked.protocols else [])):
            replace(cell, number=number).parts()
    except InvalidInputError as error:
        if not asked.only_what_fits:
            raise
        print(f"left out: {error}", flush=True)
        return False
    return True


def _check_overrides(targets: Sequence[Target], overrides: Sequence[str]) -> None:
    """Refuse `TARGET:key=value` of a target that is neither run nor shipped."""
    names = [*(target.name for target in targets), *list_targets()]
    for text in overrides:
        name, colon, _ = text.partition("=")[0].partition(":")
        if colon and name not in names:
            raise InvalidInputError(f"override {text!r}: no target is called {name!r}; there are {', '.join(names)}")


def _check_needed(targets: Sequence[Target], starts: Sequence[Initialisation]) -> None:
    """Refuse an initialisation that no target takes.

    Raises:
        InvalidInputError: naming it.
    """
    for start in starts:
        if all(start.ndim != target.ndim for target in targets):
            raise InvalidInputError(
                f"{start.init} is a {start.ndim}D network, and none of the targets takes one: "
                f"{', '.join(target.name for target in targets)}"
            )
