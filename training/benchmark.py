"""Initialisations against each other on target tasks: a grid of (initialisation, target, label fraction, trial).

    python -m training benchmark --targets lidc-candidates lidc-nodules --inits NAME random:NAME --trials 10
        --out runs/benchmark [--data FOLDER] [--label-fraction 0.1 0.25 0.5 1] [--ray] [key=value or TARGET:key=value
        ...]

Every cell is a line of `<out>/results.jsonl` (see `results`), so that a grid can be stopped, continued, extended and
merged, and nothing is computed twice. `python -m training report <out>` makes the tables and figures.
"""

from __future__ import annotations

import functools
import hashlib
import io
import itertools
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sg_hub.errors import InvalidInputError, SgHubError
from training import runs
from training.finetune import Trial, predict, run_trial
from training.initialise import Start, initialise, kind_of, look_up
from training.leakage import check_unseen
from training.results import Row, append, read_results, writing
from training.samples import axial_slices
from training.targets import Found, Target, identities, list_targets
from training.targets.splits import label_fraction
from training.task import Task, find_task, read_task

PROTOCOL = 2
"""Raised when a change of the code makes older results incomparable: every trial is then computed anew."""


@dataclass(frozen=True)
class Cell:
    """One trial of the grid."""

    task: Task
    start: Start
    fraction: float
    trial: int

    @property
    def key(self) -> str:
        text = json.dumps([PROTOCOL, self.task.key, self.start.fingerprint, self.fraction, self.trial])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def __str__(self) -> str:
        share = f", {self.fraction:.0%} of the labels" if self.fraction < 1 else ""
        return f"{self.task.target.name}, {self.start.init}{share}, trial {self.trial}"


Finished = Callable[[Cell, tuple[Row, dict[str, bytes]]], None]
"""Takes a cell, its row and its files."""
Failure = tuple[Cell, SgHubError]
Engine = Callable[[list[Cell], Finished], list[Failure]]
"""Runs cells, and returns those that failed."""


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
        engine: of `training.on_ray`; absent: one cell after the other, here.

    Raises:
        InvalidInputError: a target or initialisation that cannot be had, test patients that were pre-trained on, or
            another process that writes there.
        ReadError: data that are not there, or damaged.
    """
    if trials < 1:
        raise InvalidInputError(f"trials={trials}: expected at least 1, and 2 for a standard deviation")
    out = Path(out)
    with writing(out):
        done = read_results(out)
        found = [find_task(name, data, overrides) for name in targets]
        _check_overrides([target for target, _ in found], overrides)
        starts = [look_up(init) for init in dict.fromkeys(inits)]
        _check_starts(found, starts)
        tasks = [read_task(target, cases, out, progress=progress) for target, cases in found]
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


def one_by_one(cells: list[Cell], finished: Finished, *, progress: bool = True) -> list[Failure]:
    """Run cells here, one after the other; returns those that failed, which do not keep the others from running."""
    failed: list[Failure] = []
    for cell in cells:
        try:
            result = run_cell(cell, progress=progress)
        except SgHubError as error:
            failed.append((cell, error))
            print(f"{cell} failed: {error}", flush=True)
        else:
            finished(cell, result)
    return failed


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
            does not take the target's cases; test patients that were pre-trained on.
    """
    for target, cases in found:
        fitting = [start for start in starts if start.ndim == target.ndim]
        if not fitting:
            raise InvalidInputError(
                f"target {target.name} takes a {target.ndim}D network, and none of --inits is one: "
                f"{', '.join(start.init for start in starts)}"
            )
        for start in fitting:
            provenance = initialise(start.init, target, 0).provenance
            unchecked = check_unseen(provenance, target.dataset, identities(target, cases.cases)["test"])
            if unchecked:
                print(f"warning: {target.name}, {start.init}: {unchecked}", flush=True)
    for start in starts:
        if start.ndim not in {target.ndim for target, _ in found}:
            raise InvalidInputError(
                f"{start.init} is a {start.ndim}D network, and none of the targets takes one: "
                f"{', '.join(target.name for target, _ in found)}"
            )


def _grid(tasks: list[Task], starts: list[Start], fractions: Sequence[float], trials: int) -> list[Cell]:
    """Every cell, trial by trial, so that an unfinished grid is a fair one."""
    for fraction in fractions:
        for task in tasks:
            label_fraction([case for case in task.cases if case.split == "train"], fraction, "check")
    cells = [
        Cell(task, start, float(fraction), trial)
        for trial in range(trials)
        for fraction in fractions
        for task in tasks
        for start in starts
        if start.ndim == task.target.ndim
    ]
    return list({cell.key: cell for cell in cells}.values())


def run_cell(cell: Cell, *, progress: bool = True) -> tuple[Row, dict[str, bytes]]:
    """One trial: its row of the table, and the files of its folder."""
    task = cell.task
    trial = run_trial(
        task.target, cell.start.init, cell.trial, task.samples, task.cases, cell.fraction, progress=progress
    )
    return row_of(cell, trial), files_of(task, trial)


def row_of(cell: Cell, trial: Trial) -> Row:
    target = cell.task.target
    return {
        "key": cell.key,
        "protocol": PROTOCOL,
        "target": target.name,
        "task": cell.task.key,
        "init": cell.start.init,
        "kind": kind_of(cell.start.init),
        "weights": cell.start.fingerprint,
        "architecture": cell.start.architecture,
        "unchecked": trial.unchecked,
        "trial": cell.trial,
        "fraction": cell.fraction,
        "metric": target.metric,
        "value": trial.test.value,
        "values": trial.test.values,
        "left_out": trial.test.left_out,
        "cases": {part: len(cases) for part, cases in trial.parts.items()},
        "patients": {part: len({case.patient for case in cases}) for part, cases in trial.parts.items()},
        "curve": trial.curve,
        "best_step": trial.best_step,
        "minutes": round(trial.minutes, 3),
        "settings": target.model_dump(mode="json", exclude={"root"}),
        "machine": runs.machine(),
        "commit": runs.commit(),
        "torch": torch.__version__,
        "written": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
    }


def files_of(task: Task, trial: Trial) -> dict[str, bytes]:
    """`cases.jsonl`: every test case; `examples.npz`: a slice of the best, the median and the worst of them."""
    rows = trial.test.by_case
    text = "".join(json.dumps(row) + "\n" for row in rows)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **examples(task, trial))
    return {"cases.jsonl": text.encode(), "examples.npz": buffer.getvalue()}


def examples(task: Task, trial: Trial) -> dict[str, Any]:
    """Image (rows, columns) uint8 of the best, median and worst test case; masks of what is there and was found."""
    target, rows = task.target, trial.test.by_case
    order = sorted(range(len(rows)), key=lambda i: (-_goodness(target, rows[i]), i))
    cases = {case.name: case for case in trial.parts["test"]}
    arrays: dict[str, Any] = {}
    for rank, index in (("best", order[0]), ("median", order[len(order) // 2]), ("worst", order[-1])):
        case = cases[rows[index]["case"]]
        image, label = task.samples[case]
        plane = label.shape[-1] // 2 if target.head == "segmentation" else image.shape[-1] // 2
        if target.head == "segmentation":
            found = next(predict(trial.model, target, task.samples, [case]))[1]
            if target.data_ndim == 3:
                plane = int((label > 0).sum((0, 1)).argmax()) if bool(label.any()) else plane
                label, found = axial_slices(label)[plane], axial_slices(torch.from_numpy(found))[plane].numpy()
            arrays |= {f"{rank}_truth": label.numpy(), f"{rank}_found": found}
        if target.data_ndim == 3:
            image = axial_slices(image)[plane]
        arrays[f"{rank}_image"] = (image[0].float().clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        arrays[f"{rank}_title"] = np.array(_title(target, rows[index]))
    return arrays


def _goodness(target: Target, row: dict[str, Any]) -> float:
    """How well a test case went: its overlap, or the probability of what is right."""
    if target.head == "segmentation":
        return float(np.mean(row[target.metric]))
    probabilities = np.array(row["probabilities"])
    if target.exclusive:
        return float(probabilities[row["label"]])
    label = np.array(row["label"])
    return float(np.mean(np.where(label, probabilities, 1 - probabilities)))


def _title(target: Target, row: dict[str, Any]) -> str:
    if target.head == "segmentation":
        return f"{row['case']}\n{target.metric} {np.mean(row[target.metric]):.2f}"
    if target.exclusive:
        return f"{row['case']}\n{target.classes[row['label']]}, found with p = {row['probabilities'][row['label']]:.2f}"
    findings = [name for name, value in zip(target.classes, row["label"], strict=True) if value] or ["no finding"]
    return f"{row['case']}\n{', '.join(findings)}"
