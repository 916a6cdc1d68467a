"""Initialisations against each other on target tasks: a grid of (initialisation, target, label fraction, trial).

    sg-hub benchmark --targets lidc-candidates lidc-nodules --inits NAME random:NAME --trials 10
        --out runs/benchmark [--data FOLDER] [--label-fraction 0.1 0.25 0.5 1] [--ray] [key=value or TARGET:key=value
        ...]

Every cell is a line of `<out>/results.jsonl` (see `results`), so that a grid can be stopped, continued, extended and
merged, and nothing is computed twice. `sg-hub report <out>` makes the tables and figures.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from pathlib import Path

from sg_hub.errors import InvalidInputError

from ..data.leakage import check_unseen
from ..run.lock import run_lock
from ..targets import Found, Target, identities, list_targets
from ..targets.splits import check_fraction
from .initialisation import Start, initialise, look_up
from .prepared_task import PreparedTask, find_task, read_task
from .results import Row, append, read_results
from .trial_rows import Cell, Engine, one_by_one


def benchmark(
    targets: Sequence[str],
    inits: Sequence[str],
    trials: int,
    out: str | Path,
    *,
    fractions: Sequence[float] = (1.0,),
    data: str | Path | None = None,
    overrides: Sequence[str] = (),
    engine: Engine | None = None,
    progress: bool = True,
) -> Path:
    """Run what is missing of the grid; returns the folder of results.

    Args:
        targets: TOML files or shipped names.
        inits: names or folders of weights, `random:NAME`, `encoder:NAME`, `imagenet:NAME`; each is run on the targets
            that take networks of its dimensions.
        fractions: of the training patients.
        data: folder that stands for `data/` in the roots of the shipped targets.
        overrides: `key=value` for every target, `TARGET:key=value` for one.
        engine: of `training.trials.on_ray`; absent: one cell after the other, here.

    Raises:
        InvalidInputError: a target or initialisation that cannot be had, test patients that were pre-trained on, or
            another process that writes there.
        ReadError: data that are not there, or damaged.
    """
    if trials < 1:
        raise InvalidInputError(f"trials={trials}: expected at least 1, and 2 for a standard deviation")
    for fraction in fractions:
        check_fraction(fraction)
    out = Path(out)
    with run_lock(out):
        done = read_results(out)
        found = [find_task(name, data, overrides) for name in targets]
        _check_overrides([target for target, _ in found], overrides)
        starts = [look_up(init) for init in dict.fromkeys(inits)]
        _check_starts(found, starts)
        tasks = [read_task(target, items, out, progress=progress) for target, items in found]
        cells = _grid(tasks, starts, fractions, trials)
        missing = [cell for cell in cells if cell.key not in done]
        print(f"{len(cells)} trials, {len(cells) - len(missing)} of them done", flush=True)
        count = itertools.count(len(cells) - len(missing) + 1)

        def finished(cell: Cell, result: tuple[Row, dict[str, bytes]]) -> None:
            row, files = result
            append(out, row, files)
            print(
                f"{next(count)}/{len(cells)} {cell}: {row['metric']} {row['value']:.4f}, {row['minutes']:.1f} min",
                flush=True,
            )

        failed = (engine or functools.partial(one_by_one, progress=progress))(missing, finished)
    if failed:
        raise InvalidInputError(
            f"{len(failed)} of {len(cells)} trials failed; the others are in {out}\n"
            + "\n".join(f"{cell}: {error}" for cell, error in failed[:5])
        )
    return out


def _check_overrides(targets: list[Target], overrides: Sequence[str]) -> None:
    """Refuse `TARGET:key=value` of a target that is neither run nor shipped."""
    names = [*(target.name for target in targets), *list_targets()]
    for text in overrides:
        name, colon, _ = text.partition("=")[0].partition(":")
        if colon and name not in names:
            raise InvalidInputError(f"override {text!r}: no target is called {name!r}; there are {', '.join(names)}")


def _check_starts(found: list[tuple[Target, Found]], starts: list[Start]) -> None:
    """Build every network once, and look for patients that it has seen, before hours of work end in an error.

    Raises:
        InvalidInputError: a target without an initialisation of its dimensions, or one without a target; a network that
            does not take the target's items; test patients that were pre-trained on.
    """
    for target, items in found:
        fitting = [start for start in starts if start.ndim == target.ndim]
        if not fitting:
            raise InvalidInputError(
                f"target {target.name} takes a {target.ndim}D network, and none of --inits is one: "
                f"{', '.join(start.init for start in starts)}"
            )
        for start in fitting:
            provenance = initialise(start.init, target, 0).provenance
            unchecked = check_unseen(provenance, target.dataset, identities(target.dataset, items.items)["test"])
            if unchecked:
                print(f"warning: {target.name}, {start.init}: {unchecked}", flush=True)
    for start in starts:
        if start.ndim not in {target.ndim for target, _ in found}:
            raise InvalidInputError(
                f"{start.init} is a {start.ndim}D network, and none of the targets takes one: "
                f"{', '.join(target.name for target, _ in found)}"
            )


def _grid(tasks: list[PreparedTask], starts: list[Start], fractions: Sequence[float], trials: int) -> list[Cell]:
    """Every cell, trial by trial, so that an unfinished grid is a fair one."""
    cells = [
        Cell(task, start, float(fraction), trial)
        for trial in range(trials)
        for fraction in fractions
        for task in tasks
        for start in starts
        if start.ndim == task.target.ndim
    ]
    return list({cell.key: cell for cell in cells}.values())
