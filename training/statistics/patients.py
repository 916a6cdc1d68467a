"""What differs between two weights on the same patients: paired, over patients and draws of the labelled ones at once.

The main interval is a bootstrap that draws patients and draws again, the same for both weights, so that what they share
(an easy patient, a lucky draw) does not count. A patient comes with all items that are of him, for these are no
independent ones. Welch's test on the patients' means stands beside it, as in the paper.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..run.seeds import rng
from .trials import compare, holm

RESAMPLES = 2000
LANDMARKS, VOTED = "landmark error", "landmark error, voted"
UNITS = {LANDMARKS: "mm", VOTED: "mm", "centre error": "mm"}
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
    """Of (draws, patients, classes): the median of an error of landmarks; else the mean over items, then classes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of what was drawn, nothing may have a value: NaN says so
        return float(np.nanmedian(values) if measure in _BY_MEDIAN else np.nanmean(_by_class(values)))


def interval(
    measure: str, values: np.ndarray, joint: bool, patients: Sequence[str] | None = None
) -> tuple[float, float]:
    """The 95 % interval of a summary, by the same bootstrap."""
    resamples = _resamples(values.shape, joint, _items_of(patients, values.shape[1]))
    return _ends([summary(measure, values[np.ix_(rows, columns)]) for rows, columns, _ in resamples])


def difference(
    measure: str, one: np.ndarray, other: np.ndarray, joint: bool, patients: Sequence[str] | None = None
) -> Difference:
    """Of two weights on the same draws and items.

    Args:
        one, other: (draws, items, classes), NaN where there is no value.
        joint: the draws are the items (as templates), and are drawn together with them.
        patients: of the items; absent: each is of another patient.
    """
    items = _items_of(patients, one.shape[1])
    whole, starts = np.concatenate(items), _starts(items)
    both = np.where(np.isnan(one) | np.isnan(other), np.nan, 1.0)
    one, other = one * both, other * both
    values, effects = [], []
    for rows, columns, drawn_starts in _resamples(one.shape, joint, items):
        a, b = (x[np.ix_(rows, columns)] for x in (one, other))
        values.append(summary(measure, a) - summary(measure, b))
        effects.append(_effect(a - b, drawn_starts))
    (low, high), (effect_low, effect_high) = _ends(values), _ends(effects)
    drawn = np.array(values)
    drawn = drawn[~np.isnan(drawn)]
    tail = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return Difference(
        summary(measure, one) - summary(measure, other),
        low,
        high,
        min(1.0, 2 * (tail + 1) / (len(drawn) + 1)) if len(drawn) else math.nan,
        _effect((one - other)[:, whole], starts),
        effect_low,
        effect_high,
        compare(*(_by_patient(x[:, whole], starts).tolist() for x in (one, other))).p,
    )


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


def _resamples(
    shape: Sequence[int], joint: bool, items: Sequence[np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Draws, items, and where those of each of the patients who were drawn begin."""
    noise = rng("worth", "bootstrap")
    for _ in range(RESAMPLES):
        drawn = [items[number] for number in noise.integers(len(items), size=len(items))]
        columns = np.concatenate(drawn)
        yield columns if joint else noise.integers(shape[0], size=shape[0]), columns, _starts(drawn)


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
