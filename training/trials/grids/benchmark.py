"""Initialisations against each other on target tasks: a grid of (initialisation, target, label fraction, trial).

    sg-hub benchmark --targets lidc-candidates lidc-nodules --inits NAME random:NAME --trials 10
        --out runs/benchmark [--data FOLDER] [--label-fraction 0.1 0.25 0.5 1] [--ray] [key=value or TARGET:key=value
        ...]

Every trial is a line of `<out>/results.jsonl` (see `results`), so that a grid can be stopped, continued, extended and
merged, and nothing is computed twice. `sg-hub report <out>` makes the tables and figures.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from pathlib import Path

from sg_hub.errors import InvalidInputError
from sg_hub.io.files import given_path

from ...run.lock import run_lock
from ...targets import Target, list_targets, load_target
from ...targets.splits import check_fraction
from ..task.initialisation import Initialisation, look_up, say_taken
from ..task.prepared_task import find_items, read_items
from ..trial import Trial
from .grid import Engine, Result, grid, one_by_one
from .results import append, read_results


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
    device: str = "auto",
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
        engine: of `training.trials.grids.on_ray`; absent: one trial after the other, here, on `device`.

    Raises:
        InvalidInputError: a target or initialisation that cannot be had, test patients that were pre-trained on, or
            another process that writes there.
        ReadError: data that are not there, or damaged.
    """
    if trials < 1:
        raise InvalidInputError(f"trials={trials}: expected at least 1, and 3 for a confidence interval")
    for fraction in fractions:
        check_fraction(fraction)
    out = given_path(out, "the folder of the results")
    with run_lock(out):
        done = read_results(out)
        starts = [look_up(init) for init in dict.fromkeys(inits)]
        expected = [start.config["preprocessing"] for start in starts]
        read = [load_target(name, overrides, data, expected) for name in targets]
        for target in read:
            say_taken(target, next((start.init for start in starts if start.ndim == target.ndim), ""))
        _check_overrides(read, overrides)
        _check_needed(read, starts)
        found = [find_items(target, starts, progress=progress) for target in read]
        tasks = [read_items(task, out, progress=progress) for task in found]
        planned = grid(tasks, starts, fractions, trials)
        missing = [trial for trial in planned if trial.key not in done]
        print(f"{len(planned)} trials, {len(planned) - len(missing)} of them done", flush=True)
        count = itertools.count(len(planned) - len(missing) + 1)

        def finished(trial: Trial, result: Result) -> None:
            row, files = result
            append(out, row, files)
            print(
                f"{next(count)}/{len(planned)} {trial}: {row['metric']} {row['value']:.4f}, {row['minutes']:.1f} min",
                flush=True,
            )

        failed = (engine or functools.partial(one_by_one, device=device, progress=progress))(missing, finished)
    if failed:
        raise InvalidInputError(
            f"{len(failed)} of {len(planned)} trials failed; the others are in {out}\n"
            + "\n".join(f"{trial}: {error}" for trial, error in failed[:5])
        )
    return out


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
