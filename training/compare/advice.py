"""One sentence: which weights to take. It says no more than the trials can show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ..report.columns import Column
from ..statistics.trials import LEAST_FOR_INTERVAL
from ..trials.task.initialisation import RANDOM, kind_of
from ..trials.task.metrics import METRICS
from .contrasts import Contrast, primary_of


def advice(contrasts: Sequence[Contrast], columns: Sequence[Column], labels: Mapping[str, str]) -> str:
    """The sentence.

    Args:
        contrasts: as `contrasts_of` gives them.
        labels: what the initialisations are called.
    """
    column = primary_of(columns)
    trials = min(len(rows) for rows in column.rows.values())
    with_all = f"with {column.patients} labelled patient{'s' if column.patients > 1 else ''}"
    if trials < LEAST_FOR_INTERVAL:
        return f"{trials} trial{'s' if trials > 1 else ''} of each can show no difference: give --trials 3 or more."
    of_best = [
        _seen_from(column.best, test) for test in contrasts if test.column is column and column.best in _both(test)
    ]
    if not of_best:
        return f"There are trials of {labels[column.best]} alone {with_all}: there is nothing to hold them against."
    equal = [other for other, differs, *_ in of_best if not differs]
    worse = [one for one in of_best if one[1]]
    if not worse:
        widest = max(of_best, key=lambda one: one[2])
        return (
            f"No difference that these trials can show {with_all}: of {trials} trials each, {labels[column.best]} is "
            f"above {labels[widest[0]]} by {_gap(column, widest)}; {_cheapest(column, [column.best, *equal], labels)}"
            f"{_few(contrasts, column, labels)}."
        )
    best = sorted([column.best, *equal], key=lambda init: (kind_of(init) == RANDOM, init != column.best))
    named = " or ".join(labels[init] for init in best)
    nearest = min(worse, key=lambda one: one[2])
    between = "; between them these trials can show no difference" if equal else ""
    return (
        f"Take {named}: {with_all} {labels[column.best]} is better than {labels[nearest[0]]} by "
        f"{_gap(column, nearest)}{_others(worse, labels, nearest[0])}{between}{_few(contrasts, column, labels)}."
    )


def taken(contrasts: Sequence[Contrast], column: Column, inits: Sequence[str]) -> str:
    """What to go on with: the best, or of those that cannot be told from it the first that was named."""
    tested = [one for one in contrasts if one.column is column and column.best in _both(one)]
    equal = {name for one in tested if not one.differs for name in _both(one)} | {column.best}
    return next(init for init in inits if init in equal)


Seen = tuple[str, bool, float, float, float]
"""The other one, whether it differs, by how much the best is above it, and the ends of the interval."""


def _both(test: Contrast) -> tuple[str, str]:
    return test.one, test.other


def _seen_from(best: str, test: Contrast) -> Seen:
    paired = test.paired
    if test.one == best:
        return test.other, test.differs, paired.difference, paired.low, paired.high
    return test.one, test.differs, -paired.difference, -paired.high, -paired.low


def _gap(column: Column, seen: Seen) -> str:
    interval = "" if math.isnan(seen[3]) else f" ({seen[3]:+.3f} to {seen[4]:+.3f})"
    return f"{seen[2]:.3f} {METRICS[column.settings['metric']]}{interval}"


def _others(worse: Sequence[Seen], labels: Mapping[str, str], named: str) -> str:
    others = [labels[one[0]] for one in worse if one[0] != named]
    return f", and than {' and '.join(others)} by more" if others else ""


def _cheapest(column: Column, inits: Sequence[str], labels: Mapping[str, str]) -> str:
    """Which to take where they cannot be told apart."""
    parameters = {init: (column.rows[init][0].get("cost") or {}).get("parameters", 0) for init in inits}
    if len(set(parameters.values())) > 1:
        least = min(inits, key=lambda init: parameters[init])
        return f"take {labels[least]}, which is the smallest"
    return "take whichever you have, or run more trials"


def _few(contrasts: Sequence[Contrast], primary: Column, labels: Mapping[str, str]) -> str:
    """What fewer labels change, by the protocol of the main cell."""
    few = [test for test in contrasts if test.column.own == primary.own and test.column.patients < primary.patients]
    if not few:
        return ""
    seen = [test for test in few if test.differs]
    if not seen:
        any_at_all = any(test.differs for test in contrasts if test.column is primary)
        return f"; with fewer labels they show {'no difference' if any_at_all else 'none either'}"
    parts = []
    for test in seen:
        gap = test.paired
        than = f"{'above' if gap.difference > 0 else 'below'} {labels[test.other]}"
        parts.append(f"with {test.column.patients} {labels[test.one]} is {abs(gap.difference):.3f} {than}")
    return "; " + ", ".join(parts)
