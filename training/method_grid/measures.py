"""What was measured of the weights of a grid, each kind in the same terms: a value with its interval, and what two of
them differ by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..report.columns import Column, columns_of
from ..statistics import patients
from ..statistics.patients import LOWER_IS_BETTER, UNITS
from ..statistics.trials import compare, paired, summarise
from ..targets import Target
from ..trials.grids.results import Row, by_settings_of, read_results
from ..trials.task.metrics import METRICS
from ..worth import rows

SHOWN = ("landmark error", "iou")
"""Measures of worth that the page shows; the others are on the page of `sg-hub worth`."""


@dataclass(frozen=True)
class Value:
    """Of one of the weights, with the ends of its 95 % interval: NaN where there is none."""

    value: float
    low: float
    high: float
    trials: int
    """That it is the mean of; 0: it is of patients."""


@dataclass(frozen=True)
class Gap:
    """Of one of the weights minus another."""

    value: float
    low: float
    high: float
    paired: float
    """p of a paired test: a bootstrap of patients, or Student's t of the trials of one number."""
    welch: float
    """p of Welch's test, which is not paired."""
    main: float
    """That of the two which Holm's correction goes over."""


class Measure(ABC):
    """One measure of several weights, by the names of their cells."""

    title: str
    unit: str
    lower_is_better = False

    @abstractmethod
    def values(self) -> dict[str, Value]:
        """Of all that have one."""

    @abstractmethod
    def gap(self, one: str, other: str, comparisons: int) -> Gap | None:
        """What two of them differ by, one of at most so many comparisons; None where one is missing, or they were
        measured on different patients."""


class Worth(Measure):
    """Without fine-tuning: of patients, and draws of the labelled ones."""

    def __init__(self, found: Mapping[str, rows.Row]) -> None:
        self.found, one = found, next(iter(found.values()))
        self.measure, self.unit = one.measure, UNITS.get(one.measure, "")
        self.lower_is_better = one.measure in LOWER_IS_BETTER
        self.title = f"{'landmarks' if one.part == 'zero' else ''} {one.what}".strip()
        if one.part != "zero":
            self.title = f"{one.what}: {one.measure}"

    def values(self) -> dict[str, Value]:
        return {
            name: Value(
                patients.summary(self.measure, row.array),
                *patients.interval(self.measure, row.array, row.joint, row.patients),
                trials=0,
            )
            for name, row in self.found.items()
        }

    def gap(self, one: str, other: str, comparisons: int) -> Gap | None:
        if one not in self.found or other not in self.found:
            return None
        a, b = self.found[one], self.found[other]
        if not a.is_paired(b):
            return None
        apart = patients.difference(self.measure, a.array, b.array, a.joint, a.patients, comparisons)
        return Gap(apart.value, apart.low, apart.high, apart.p, apart.welch, main=apart.p)


class Trials(Measure):
    """Fine-tuned: several trials of each of the weights on a target."""

    unit = "%"

    def __init__(self, column: Column, found: Mapping[str, list[Row]]) -> None:
        self.title = f"{column.name}{', own settings' if column.own else ''}: {METRICS[column.settings['metric']]}"
        self.found = {name: {row["trial"]: 100 * row["value"] for row in trials} for name, trials in found.items()}

    def values(self) -> dict[str, Value]:
        summaries = {name: summarise([value / 100 for value in trials.values()]) for name, trials in self.found.items()}
        return {name: Value(100 * s.mean, 100 * s.low, 100 * s.high, s.trials) for name, s in summaries.items()}

    def gap(self, one: str, other: str, comparisons: int) -> Gap | None:
        if one not in self.found or other not in self.found:
            return None
        a, b = self.found[one], self.found[other]
        welch = compare([value / 100 for value in a.values()], [value / 100 for value in b.values()])
        apart = paired({n: value / 100 for n, value in a.items()}, {n: value / 100 for n, value in b.items()})
        return Gap(100 * welch.difference, 100 * welch.low, 100 * welch.high, apart.p, welch.p, main=welch.p)


def worth_of(measured: Sequence[rows.Row], inits: Mapping[str, str]) -> list[Measure]:
    """What `sg-hub worth` wrote of these weights.

    Args:
        measured: of what was asked for, as `worth.measured` gives it.
        inits: by name, as they were given to it.
    """
    names = {init: name for name, init in inits.items()}
    grouped: dict[tuple[str, ...], dict[str, rows.Row]] = {}
    for row in measured:
        if row.weights in names and row.measure in SHOWN:
            grouped.setdefault((row.part, row.what, row.measure), {})[names[row.weights]] = row
    return [Worth(found) for _, found in sorted(grouped.items(), reverse=True)]


def rows_of_trials(folder: Path, weights: Collection[str], targets: Sequence[Target]) -> tuple[dict[str, Row], int]:
    """What `sg-hub benchmark` wrote of these weights, whatever they were called: of each target the trials on the same
    items by the same settings, which are those of today. Of a target that is not asked for any more they are those of
    the last trial.

    Args:
        weights: fingerprints.
        targets: that are asked for.

    Returns:
        rows by key, and how many others there are of these weights.
    """
    asked = {target.name: target for target in targets}
    of_weights = {key: row for key, row in read_results(folder).items() if row["weights"] in weights}
    tasks: dict[str, tuple[int, str]] = {}
    for row in of_weights.values():
        name, this = row["target"], (row["protocol"], row["task"])
        if this[0] >= tasks.get(name, (0, ""))[0] and (name not in asked or by_settings_of(row, asked[name])):
            tasks[name] = this
    kept = {key: row for key, row in of_weights.items() if tasks.get(row["target"]) == (row["protocol"], row["task"])}
    return kept, len(of_weights) - len(kept)


def trials_of(trials: Mapping[str, Row], names: Mapping[str, Sequence[str]]) -> list[Measure]:
    """What trials say.

    Args:
        trials: as `rows_of_trials` gives them.
        names: by fingerprint; the same weights may have several.
    """
    found: list[Measure] = []
    for column in columns_of(trials):
        of_column = {name: of_one for of_one in column.rows.values() for name in names[of_one[0]["weights"]]}
        if column.whole:
            found.append(Trials(column, of_column))
    return found
