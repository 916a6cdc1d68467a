"""The columns of a report: the trials of each target, summarised and tested against the best."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sg_hub.errors import InvalidInputError

from ..statistics.trials import LEAST_FOR_INTERVAL, LEVEL, Comparison, Paired, Summary, against_best, paired, summarise
from ..trials.grids.results import TABLE, Row
from ..trials.task.initialisation import RANDOM, kind_of, name_of
from ..trials.task.metrics import METRICS
from ..trials.task.surface import IN_MM

WORDS = ("title", "description", "code")
"""Of a target: settings that change no result."""


@dataclass(frozen=True)
class Column:
    """The trials of one target with as many labels and by one protocol, and what they say."""

    name: str
    settings: dict[str, Any]
    fraction: float
    labelled: int | None
    """Labelled patients, where a number of them was asked for."""
    own: bool
    """Whether each initialisation had settings of its own, or all those of the target."""
    rows: dict[str, list[Row]]
    """By initialisation, in the order of the trials."""
    summaries: dict[str, Summary]
    best: str
    tests: dict[str, Comparison]
    """All others against the best; empty where there are too few trials to call one that."""
    holm: dict[str, float]
    sure: dict[str, Summary]
    """The same without the test items whose reference is known to be wrong; empty where there are none."""
    others: dict[str, int] = field(default_factory=dict)
    """By initialisation, trials with other settings of its own, which are in none of this."""

    @property
    def title(self) -> str:
        return f"{self.cell} ({METRICS[self.settings['metric']]} %)"

    @property
    def cell(self) -> str:
        """Target, labels and protocol."""
        return f"{self.name}{self.labels}{', own settings' if self.own else ''}"

    @property
    def about(self) -> str:
        """What the target is, as a sentence; empty where its file gives it a name and no title."""
        title = self.settings["title"]
        return "" if title == self.name else f"{title[:1].upper()}{title[1:]}."

    @property
    def labels(self) -> str:
        """How many, in words; empty where all are used."""
        if self.labelled is not None:
            return f", {self.labelled} labelled patient{'s' if self.labelled > 1 else ''}"
        return f", {100 * self.fraction:g}% of labels" if self.fraction < 1 else ""

    @property
    def whole(self) -> bool:
        """Whether all labels are used."""
        return self.labelled is None and self.fraction == 1

    @property
    def patients(self) -> int:
        """Who were trained on; their number differs a little from trial to trial of a fraction."""
        return int(next(iter(self.rows.values()))[0]["patients"]["train"])

    @property
    def task(self) -> tuple[str, ...]:
        """What is asked, whether in 2D or in 3D."""
        settings = self.settings
        return settings["code"] or self.name, settings["dataset"], settings["head"], *settings.get("classes", ())

    @property
    def has_winner(self) -> bool:
        """Whether there are enough trials of each to call one the best."""
        return len(self.rows) > 1 and min(len(rows) for rows in self.rows.values()) >= LEAST_FOR_INTERVAL

    @property
    def keeps_last(self) -> bool:
        """Whether the weights of the last step were tested, not those of the step that did best on the validation part;
        of settings of its own they always are."""
        return self.own or self.settings["settings"].get("keep") == "last"

    @property
    def slug(self) -> str:
        """For the names of files."""
        few = f"-{self.labelled}-patients" if self.labelled is not None else f"-{100 * self.fraction:g}"
        return self.name + ("" if self.whole else few) + ("-own" if self.own else "")

    @property
    def doubtful(self) -> dict[str, str]:
        """Test items whose reference is known to be wrong, and why."""
        return dict((next(iter(self.rows.values()))[0].get("doubtful") or {}).get("items", {}))

    @property
    def values(self) -> dict[str, list[float]]:
        return {init: [row["value"] for row in rows] for init, rows in self.rows.items()}

    @property
    def in_mm(self) -> dict[str, dict[str, dict[int, float]]]:
        """What was measured in mm (surface Dice at 3 mm among it) in all trials: by measure and initialisation, the
        value of each trial by its number. The mean over classes is among them where all trials have all classes: a
        network that never finds one has no distance of it."""
        measured = [row.get("in_mm", {}) for rows in self.rows.values() for row in rows]
        lacking = {name for one in measured for name in one if not all(name in other for other in measured)}
        lacking |= {whole for whole in IN_MM if any(name.startswith(whole) for name in lacking)}
        names = [name for name in measured[0] if name not in lacking]
        return {
            name: {init: {row["trial"]: row["in_mm"][name] for row in rows} for init, rows in self.rows.items()}
            for name in names
        }

    def by_trial(self, init: str) -> dict[int, float]:
        """The metric of each trial, by its number."""
        return {row["trial"]: row["value"] for row in self.rows[init]}

    def paired(self, init: str, other: str) -> Paired:
        """One initialisation against another, trial by trial."""
        return paired(self.by_trial(init), self.by_trial(other))

    def equals_best(self, init: str) -> bool:
        """Whether an initialisation cannot be told from the best: Welch's p, corrected (Holm), is not below 0.05, or
        there is none because nothing scatters, and both have the same mean."""
        return init in self.tests and (self.holm[init] >= LEVEL or self.tests[init].is_level)  # of NaN p is neither


def columns_of(rows: Mapping[str, Row]) -> list[Column]:
    """Trials by target, protocol and labels; of an initialisation the trials are in order.

    Raises:
        InvalidInputError: trials of one target with different settings or items, which cannot be compared.
    """
    grouped: dict[tuple[str, bool, float, int], dict[str, list[Row]]] = {}
    names = _names(rows.values())
    for row in rows.values():
        cell = (row["target"], row.get("own") is not None, -row["fraction"], row.get("labelled") or 0)
        grouped.setdefault(cell, {}).setdefault(names[row["weights"]], []).append(row)
    columns = []
    for (target, own, fraction, labelled), by_init in sorted(grouped.items()):
        trials = [row for found in by_init.values() for row in found]
        _check_comparable(target, trials)
        counts = {init: len(found) for init, found in by_init.items()}
        by_init = {init: _of_one_choice(found) for init, found in by_init.items()}
        others = {init: count - len(by_init[init]) for init, count in counts.items() if count > len(by_init[init])}
        ordered = {init: sorted(found, key=lambda row: row["trial"]) for init, found in sorted(by_init.items())}
        values = {init: [row["value"] for row in found] for init, found in ordered.items()}
        summaries = {init: summarise(found) for init, found in values.items()}
        settings = trials[0]["settings"]
        best, tests, corrected = against_best(values)
        if min(map(len, values.values())) < LEAST_FOR_INTERVAL:
            tests, corrected = {}, {}
        sure = {init: summarise(without) for init, found in ordered.items() if (without := _without_doubtful(found))}
        said = (target, settings, -fraction, labelled or None, own)
        columns.append(Column(*said, ordered, summaries, best, tests, corrected, sure, others))
    return columns


def _names(rows: Iterable[Row]) -> dict[str, str]:
    """What weights are called: by the first name that they had, for they may have another on another machine. Other
    weights of one name, as when they were trained further, are told apart by their hash; a fresh network's hash is
    another in each protocol."""
    names: dict[str, str] = {}
    called: dict[tuple[str, int], set[str]] = {}
    for row in rows:
        name = names.setdefault(row["weights"], row["init"])
        protocol = row["protocol"] if kind_of(name) == RANDOM else 0
        called.setdefault((name, protocol), set()).add(row["weights"])
    unclear = {weights for same in called.values() if len(same) > 1 for weights in same}
    return {
        weights: f"{name} ({weights.partition(':')[2][:8]})" if weights in unclear else name
        for weights, name in names.items()
    }


def _of_one_choice(trials: list[Row]) -> list[Row]:
    """The trials with those settings of its own that an initialisation has most trials of. Two machines that are merged
    may have chosen differently: the others have the same numbers, and are no trials of the same."""
    choices = [row.get("own") for row in trials]
    most = max(choices, key=choices.count)
    return [row for row in trials if row.get("own") == most]


def _without_doubtful(rows: list[Row]) -> list[float]:
    """The metric of each trial without doubtful references; empty where some trial has none."""
    found = [(row.get("doubtful") or {}).get("values", {}).get(row["metric"]) for row in rows]
    return [] if None in found else found


def _check_comparable(target: str, trials: list[Row]) -> None:
    first = trials[0]
    for row in trials:
        if row["task"] == first["task"]:
            continue
        tasks = " and ".join(f'"task": "{one["task"][:8]}..."' for one in (row, first))
        advice = (
            f"they cannot be compared; give each its own --out, or copy the folder and leave in each copy's {TABLE} "
            f"the lines of one of them ({tasks})"
        )
        for key, value, other in differences(row["settings"], first["settings"]):
            if key not in WORDS:
                raise InvalidInputError(f"target {target} was run with different {key} ({value} and {other}): {advice}")
        raise InvalidInputError(
            f"target {target} was run on different items ({row['init']}, trial {row['trial']}, {row['items']}; "
            f"{first['init']}, trial {first['trial']}, {first['items']}): {advice}"
        )


def differences(one: Mapping[str, Any], other: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The keys of settings whose values differ, as a TOML has them, and both values."""
    for key, value in one.items():
        if isinstance(value, dict) and isinstance(other.get(key), dict):
            yield from differences(value, other[key], f"{above}{key}.")
        elif value != other.get(key):
            yield f"{above}{key}", value, other.get(key)


def inits_of(columns: list[Column]) -> list[str]:
    """Every initialisation: random ones first, as in the paper."""
    names = {init for column in columns for init in column.rows}
    return sorted(names, key=lambda init: (not init.startswith("random:"), init))


def labels_of(inits: Iterable[str]) -> dict[str, str]:
    """What initialisations are called in tables and figures: folders by as much of their path as tells them apart."""
    paths = {init: Path(name_of(init)).parts for init in inits}
    labels = {}
    for init, parts in paths.items():
        others = [other for other in paths.values() if other != parts]
        length = next((n for n in range(1, len(parts)) if all(o[-n:] != parts[-n:] for o in others)), len(parts))
        labels[init] = _described(init, "/".join(parts[-length:]))
    return labels if len(set(labels.values())) == len(labels) else {init: init for init in labels}


def _described(init: str, name: str) -> str:
    kind = kind_of(init)
    words = {"random": f"Random ({name})", "encoder": f"{name}, encoder alone", "imagenet": f"ImageNet ({name})"}
    return words.get(kind, name)
