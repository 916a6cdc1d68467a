"""What differs between two weights on the same patients: paired, over patients and draws of the labelled ones at once.

The main interval is a bootstrap that draws patients and draws again, the same for both weights, so that what they share
(an easy patient, a lucky draw) does not count. A patient comes with all items that are of him, for these are no
independent ones. Welch's test on the patients' means stands beside it, as in the paper.

Values are (draws, items, classes), or (networks, draws, items, classes) of several random networks: what is said of
them is the mean of what is said of each, and the bootstrap draws networks, too.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..run.seeds import rng
from .trials import compare, holm

RESAMPLES = 2000
"""Of the bootstrap, at least."""
_FOR_EACH = 80
"""Resamples for each comparison: the smallest p that there can be, corrected for all, is 0.025."""
LANDMARKS, VOTED, CENTRES = "landmark error", "landmark error, voted", "centre error"
AUC = "auc"
"""Of which the values are those of `auc_of_items`."""
UNITS = {LANDMARKS: "mm", VOTED: "mm", CENTRES: "mm"}
LOWER_IS_BETTER = frozenset(UNITS)
_BY_MEDIAN = frozenset({LANDMARKS, VOTED})


@dataclass(frozen=True)
class Difference:
    """Of one weights' measure minus another's."""

    value: float
    low: float
    """Ends of the 95 % interval of the bootstrap."""
    high: float
    p: float
    """Two-sided, of the same bootstrap."""
    effect: float
    """Mean of the patients' differences in their standard deviations."""
    effect_low: float
    effect_high: float
    welch: float
    """p of Welch's test on the patients' means: not paired."""


def summary(measure: str, values: np.ndarray) -> float:
    """The median of an error of landmarks; else the mean over items, then classes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of what was drawn, nothing may have a value: NaN says so
        found = [np.nanmedian(one) if measure in _BY_MEDIAN else np.nanmean(_by_class(one)) for one in _each(values)]
        return float(np.nanmean(found))


def interval(
    measure: str, values: np.ndarray, joint: bool, patients: Sequence[str] | None = None
) -> tuple[float, float]:
    """The 95 % interval of a summary, by the same bootstrap."""
    values = _each(values)
    resamples = _resamples(values.shape[1:], joint, _items_of(patients, values.shape[2]), RESAMPLES)
    low, high = _ends([summary(measure, _drawn(values, drawn)) for drawn in resamples])
    return (max(0.0, low), min(1.0, high)) if measure == AUC else (low, high)


def difference(
    measure: str,
    one: np.ndarray,
    other: np.ndarray,
    joint: bool,
    patients: Sequence[str] | None = None,
    comparisons: int = 1,
) -> Difference:
    """Of two weights on the same draws and items.

    Where one of them says nothing of a class and the other something (NaN and a number): an overlap of what one of them
    rightly says is absent is 1; an error of what one of them did not find counts in neither.

    Args:
        one, other: NaN where there is no value.
        joint: the draws are the items (as templates), and are drawn together with them.
        patients: of the items; absent: each is of another patient.
        comparisons: for how many p will be corrected.
    """
    one, other = _comparable(measure, _each(one), _each(other))
    items = _items_of(patients, one.shape[2])
    whole, starts = np.concatenate(items), _starts(items)
    values, effects = [], []
    for drawn in _resamples(one.shape[1:], joint, items, max(RESAMPLES, _FOR_EACH * comparisons)):
        a, b = (_drawn(x, drawn) for x in (one, other))
        values.append(summary(measure, a) - summary(measure, b))
        effects.append(_effect(a.mean(0) - b.mean(0), drawn.starts))
    (low, high), (effect_low, effect_high) = _ends(values), _ends(effects)
    known = np.array(values)
    known = known[~np.isnan(known)]
    tail = min(int((known <= 0).sum()), int((known >= 0).sum()))
    means = [x.mean(0)[:, whole] for x in (one, other)]
    return Difference(
        summary(measure, one) - summary(measure, other),
        low,
        high,
        min(1.0, 2 * (tail + 1) / (len(known) + 1)) if len(known) else math.nan,
        _effect(means[0] - means[1], starts),
        effect_low,
        effect_high,
        compare(*(_by_patient(x, starts).tolist() for x in means)).p,
    )


def found_share(one: np.ndarray, other: np.ndarray) -> float:
    """Of what either found, the share that one did."""
    one, other = _each(one), _each(other)
    there = ~np.isnan(one).all(0) | ~np.isnan(other).all(0)
    return float((~np.isnan(one)).mean(0)[there].mean()) if there.any() else math.nan


def _each(values: np.ndarray) -> np.ndarray:
    """(networks, draws, items, classes)."""
    return values.reshape(-1, *values.shape[-3:])


def _comparable(measure: str, one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both with numbers at the same places."""
    both = np.concatenate([one, other])
    unlike = np.isnan(both).any(0) & ~np.isnan(both).all(0)
    if measure not in UNITS:
        absent = unlike & ~(both > 0).any(0)  # nothing was outlined: 0 of what found something, NaN of what did not
        both = np.where(absent & np.isnan(both), 1.0, both)
        unlike &= ~absent
    both = np.where(unlike, np.nan, both)
    return both[: len(one)], both[len(one) :]


def corrected(differences: dict[Any, Difference]) -> dict[Any, float]:
    """Holm's correction of the bootstrap's p, over all of them."""
    return holm({key: one.p for key, one in differences.items()})


def _ends(drawn: Sequence[float]) -> tuple[float, float]:
    known = [value for value in drawn if not math.isnan(value)]
    if not known:
        return math.nan, math.nan
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def _items_of(patients: Sequence[str] | None, count: int) -> list[np.ndarray]:
    """The places of each patient's items."""
    names = np.arange(count) if patients is None else np.array(patients)
    return [np.flatnonzero(names == name) for name in dict.fromkeys(names.tolist())]


def _starts(items: Sequence[np.ndarray]) -> np.ndarray:
    """Where each patient's items begin, one patient behind the other."""
    return np.cumsum([0, *(len(of_one) for of_one in items[:-1])])


class _Drawn(NamedTuple):
    """Of one resample."""

    draws: np.ndarray
    items: np.ndarray
    starts: np.ndarray
    """Where the items of each of the patients begin."""
    noise: np.random.Generator
    """Of what is drawn beside them: networks, of those that have several."""


def _resamples(shape: Sequence[int], joint: bool, items: Sequence[np.ndarray], count: int) -> Iterator[_Drawn]:
    noise, networks = rng("worth", "bootstrap"), rng("worth", "bootstrap", "networks")
    for _ in range(count):
        drawn = [items[number] for number in noise.integers(len(items), size=len(items))]
        columns = np.concatenate(drawn)
        rows = columns if joint else noise.integers(shape[0], size=shape[0])
        yield _Drawn(rows, columns, _starts(drawn), networks)


def _drawn(values: np.ndarray, resample: _Drawn) -> np.ndarray:
    """What of the values a resample holds."""
    networks = resample.noise.integers(len(values), size=len(values)) if len(values) > 1 else np.zeros(1, int)
    found: np.ndarray = values[np.ix_(networks, resample.draws, resample.items)]
    return found


def _by_class(values: np.ndarray) -> np.ndarray:
    flat = values.reshape(-1, values.shape[2])
    counts = (~np.isnan(flat)).sum(0)
    with np.errstate(invalid="ignore"):
        result: np.ndarray = np.nansum(flat, 0) / np.where(counts > 0, counts, np.nan)
    return result


def _by_patient(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Means of the patients that have any value, whose items begin at these places."""
    counts = np.add.reduceat((~np.isnan(values)).sum((0, 2)), starts)
    totals = np.add.reduceat(np.nansum(values, (0, 2)), starts)
    result: np.ndarray = totals[counts > 0] / counts[counts > 0]
    return result


def _effect(differences: np.ndarray, starts: np.ndarray) -> float:
    apart = _by_patient(differences, starts)
    spread = float(np.std(apart, ddof=1)) if len(apart) > 1 else math.nan
    return float(np.mean(apart)) / spread if spread > 0 else math.nan
