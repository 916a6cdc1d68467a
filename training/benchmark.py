"""Initialisations against each other on target tasks: a grid of (initialisation, target, label fraction, trial).

    python -m training benchmark --targets lidc-candidates lidc-nodules --inits NAME random:NAME --trials 10
        --out runs/benchmark [--data FOLDER] [--label-fraction 0.1 0.25 0.5 1] [--ray] [key=value or TARGET:key=value
        ...]

Every cell is a line of `<out>/results.jsonl` (see `results`), so that a grid can be stopped, continued, extended and
merged, and nothing is computed twice. `python -m training report <out>` makes the tables and figures.
"""

from __future__ import annotations

import csv
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

from sg_hub.errors import InvalidInputError
from training import runs
from training.finetune import Trial, check_parts, predict, run_trial
from training.initialise import fingerprint, initialise, kind_of, ndim_of
from training.leakage import check_unseen
from training.results import Row, append, read_results, writing
from training.samples import Samples, axial_slices
from training.targets import Case, Target, identities, load_target
from training.targets.splits import label_fraction

PROTOCOL = 1
"""Raised when a change of the code makes older results incomparable: every trial is then computed anew."""
DATA = "data"
"""Where the shipped targets look for their data, below the current folder; `--data` names another place."""


@dataclass(frozen=True)
class Task:
    """A target whose cases are found, split, checked and read."""

    target: Target
    cases: list[Case]
    samples: Samples
    key: str
    """A hash of everything of it that determines a trial."""


@dataclass(frozen=True)
class Start:
    """An initialisation of the grid."""

    init: str
    weights: str
    """Its fingerprint."""
    ndim: int


@dataclass(frozen=True)
class Cell:
    """One trial of the grid."""

    task: Task
    init: str
    weights: str
    fraction: float
    trial: int

    @property
    def key(self) -> str:
        text = json.dumps([PROTOCOL, self.task.key, self.weights, self.fraction, self.trial])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def __str__(self) -> str:
        share = f", {self.fraction:.0%} of the labels" if self.fraction < 1 else ""
        return f"{self.task.target.name}, {self.init}{share}, trial {self.trial}"


def benchmark(
    targets: Sequence[str],
    inits: Sequence[str],
    trials: int,
    out: str | Path,
    *,
    fractions: Sequence[float] = (1.0,),
    data: str | Path | None = None,
    overrides: Sequence[str] = (),
    engine: Callable[[list[Cell], Callable[[Row, dict[str, bytes]], None]], None] | None = None,
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
        engine: runs cells side by side (`training.on_ray`); absent: one after the other, here.

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
        tasks = [open_task(name, out, data, overrides) for name in targets]
        starts = _starts(tasks, inits)
        cells = _grid(tasks, starts, fractions, trials)
        missing = [cell for cell in cells if cell.key not in done]
        print(f"{len(cells)} trials, {len(cells) - len(missing)} of them done", flush=True)
        for task in {id(cell.task): cell.task for cell in missing}.values():
            _check_starts(task, [start for start in starts if start.ndim == task.target.ndim])
            task.samples.prepare(task.cases, progress=progress)
        count = itertools.count(len(cells) - len(missing) + 1)

        def finished(row: Row, files: dict[str, bytes]) -> None:
            append(out, row, files)
            line = f"{row['target']}, {row['init']}, {row['fraction']:g} of the labels, trial {row['trial']}"
            print(
                f"{next(count)}/{len(cells)} {line}: {row['metric']} {row['value']:.4f}, {row['minutes']:.1f} min",
                flush=True,
            )

        if engine is not None:
            engine(missing, finished)
        else:
            for cell in missing:
                finished(*run_cell(cell, progress=progress))
    return out


def open_task(name: str, out: str | Path, data: str | Path | None = None, overrides: Sequence[str] = ()) -> Task:
    """Read a target and find, split and check its cases; what is left out is written to `<out>/skipped/<target>.csv`.

    Raises:
        InvalidInputError, ReadError: see `load_target`, `Target.cases` and `check_parts`.
    """
    target = load_target(name)
    mine = [text.partition(":")[2] for text in overrides if text.startswith(f"{target.name}:")]
    general = [text for text in overrides if ":" not in text.partition("=")[0]]
    place = Path(target.root)
    if data is not None and place.parts[:1] == (DATA,):
        general = [f"root={json.dumps(str(Path(data).joinpath(*place.parts[1:])))}", *general]
    target = load_target(name, [*general, *mine])
    found = target.cases()
    check_parts(target, found.cases)
    if found.skipped:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([("case", "reason"), *sorted(found.skipped.items())])
        runs.write_atomic(Path(out) / "skipped" / f"{target.name}.csv", text.getvalue())
        case, why = next(iter(sorted(found.skipped.items())))
        print(f"{target.name}: {len(found.cases)} cases; {len(found.skipped)} left out, such as {case}: {why}")
    return Task(target, found.cases, Samples(target, Path(out) / "cases"), _task_key(target, found.cases))


def _task_key(target: Target, cases: list[Case]) -> str:
    settings = target.model_dump(mode="json", exclude={"root", "title", "description", "code"})
    rows = [(c.name, c.patient, c.split, None if isinstance(c.label, str) else c.label, c.place) for c in cases]
    return hashlib.sha256(json.dumps([settings, rows], sort_keys=True).encode()).hexdigest()


def _starts(tasks: list[Task], inits: Sequence[str]) -> list[Start]:
    """The initialisations; one of a 2D network goes with the 2D targets, one of a 3D network with the 3D ones.

    Raises:
        InvalidInputError: weights that cannot be had, a target without an initialisation, or one without a target.
    """
    starts = [Start(init, fingerprint(init), ndim_of(init)) for init in inits]
    wanted, given = {task.target.ndim for task in tasks}, {start.ndim for start in starts}
    for task in tasks:
        if task.target.ndim not in given:
            raise InvalidInputError(
                f"target {task.target.name} takes a {task.target.ndim}D network, and none of --inits is one: "
                f"{', '.join(inits)}"
            )
    for start in starts:
        if start.ndim not in wanted:
            raise InvalidInputError(
                f"{start.init} is a {start.ndim}D network, and none of the targets takes one: "
                f"{', '.join(task.target.name for task in tasks)}"
            )
    return starts


def _grid(tasks: list[Task], starts: list[Start], fractions: Sequence[float], trials: int) -> list[Cell]:
    """Every cell, trial by trial, so that an unfinished grid is a fair one."""
    for fraction in fractions:
        for task in tasks:
            label_fraction([case for case in task.cases if case.split == "train"], fraction, "check")
    cells = [
        Cell(task, start.init, start.weights, fraction, trial)
        for trial in range(trials)
        for fraction in fractions
        for task in tasks
        for start in starts
        if start.ndim == task.target.ndim
    ]
    return list({cell.key: cell for cell in cells}.values())


def _check_starts(task: Task, starts: list[Start]) -> None:
    """Build every network once, before hours of work end in an error."""
    for start in starts:
        network = initialise(start.init, task.target, 0)
        check_unseen(network.provenance, identities(task.target, task.cases)["test"])


def run_cell(cell: Cell, *, progress: bool = True) -> tuple[Row, dict[str, bytes]]:
    """One trial: its row of the table, and the files of its folder."""
    task = cell.task
    trial = run_trial(task.target, cell.init, cell.trial, task.samples, task.cases, cell.fraction, progress=progress)
    return row_of(cell, trial), files_of(task, trial)


def row_of(cell: Cell, trial: Trial) -> Row:
    target = cell.task.target
    return {
        "key": cell.key,
        "protocol": PROTOCOL,
        "target": target.name,
        "init": cell.init,
        "kind": kind_of(cell.init),
        "weights": cell.weights,
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
