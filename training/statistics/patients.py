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
from collections.abc import Sequence
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
_AT_ONCE = 1 << 22
"""Weights of values that are held for a median."""
_LEAST = 1e-12
"""Of a mean, a standard deviation that is more than rounding."""


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
    drawn = _resamples(values.shape[1:], joint, _patient_of(patients, values.shape[2]), RESAMPLES, (len(values),))
    low, high = _ends(_summaries(measure, values, drawn, 0))
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
    both = _comparable(measure, _each(one), _each(other))
    one, other = both
    patient_of = _patient_of(patients, one.shape[2])
    count, networks = max(RESAMPLES, _FOR_EACH * comparisons), (len(one), len(other))
    drawn = _resamples(one.shape[1:], joint, patient_of, count, networks)
    values = _summaries(measure, one, drawn, 0) - _summaries(measure, other, drawn, 1)
    (low, high), (effect_low, effect_high) = _ends(values), _ends(_effects(both, patient_of, drawn))
    known = values[~np.isnan(values)]
    tail = min(int((known <= 0).sum()), int((known >= 0).sum()))
    undrawn = _undrawn(one.shape[1:], patient_of, networks)
    means = [_by_patient(both, number, patient_of, undrawn)[0] for number in range(2)]
    return Difference(
        summary(measure, one) - summary(measure, other),
        low,
        high,
        min(1.0, 2 * (tail + 1) / (len(known) + 1)) if len(known) else math.nan,
        float(_effects(both, patient_of, undrawn)[0]),
        effect_low,
        effect_high,
        compare(*(x[~np.isnan(x)].tolist() for x in means)).p,
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


def _ends(drawn: np.ndarray) -> tuple[float, float]:
    known = drawn[~np.isnan(drawn)]
    if not len(known):
        return math.nan, math.nan
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def _patient_of(patients: Sequence[str] | None, count: int) -> np.ndarray:
    """The number of each item's patient."""
    names = [str(number) for number in range(count)] if patients is None else patients
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], dtype=int)


class _Drawn(NamedTuple):
    """How often each was drawn, by resample."""

    draws: np.ndarray
    """(resamples, draws)."""
    items: np.ndarray
    patients: np.ndarray
    networks: tuple[np.ndarray, ...]
    """Of each of the weights that are compared, (resamples, its networks)."""


def _resamples(
    shape: Sequence[int], joint: bool, patient_of: np.ndarray, count: int, networks: Sequence[int]
) -> _Drawn:
    noise, of_networks = rng("worth", "bootstrap"), rng("worth", "bootstrap", "networks")
    people = int(patient_of.max()) + 1
    patients, draws = np.empty((count, people)), np.empty((count, shape[0]))
    several = tuple(np.ones((count, number)) for number in networks)
    for number in range(count):
        patients[number] = _times(noise, people)
        if not joint:
            draws[number] = _times(noise, shape[0])
        for times in several:
            if times.shape[1] > 1:
                times[number] = _times(of_networks, times.shape[1])
    items = patients[:, patient_of]
    return _Drawn(items if joint else draws, items, patients, several)


def _times(noise: np.random.Generator, count: int) -> np.ndarray:
    """How often each of so many is drawn, when as many are drawn and put back."""
    return np.bincount(noise.integers(count, size=count), minlength=count)


def _undrawn(shape: Sequence[int], patient_of: np.ndarray, networks: Sequence[int]) -> _Drawn:
    """Everything once."""
    people = int(patient_of.max()) + 1
    counts = [np.ones((1, number)) for number in (*shape[:2], people, *networks)]
    return _Drawn(counts[0], counts[1], counts[2], tuple(counts[3:]))


def _summaries(measure: str, values: np.ndarray, drawn: _Drawn, which: int) -> np.ndarray:
    """(resamples,) what `summary` says of what was drawn of the networks, draws and items of one of the weights."""
    of = _medians if measure in _BY_MEDIAN else _means
    found = np.stack([of(one, drawn) for one in values], 1)
    return _mean(found, drawn.networks[which])


def _means(values: np.ndarray, drawn: _Drawn) -> np.ndarray:
    """(resamples,) the mean over draws and items, then classes."""
    there = ~np.isnan(values)
    sums, counts = (
        np.stack([((drawn.draws @ x[..., c]) * drawn.items).sum(1) for c in range(x.shape[2])], 1)
        for x in (np.where(there, values, 0.0), there.astype(float))
    )
    with np.errstate(invalid="ignore"):
        by_class = sums / np.where(counts > 0, counts, np.nan)
    return _mean(by_class, np.ones_like(by_class))


def _medians(values: np.ndarray, drawn: _Drawn) -> np.ndarray:
    """(resamples,) the median of all values, each as often as its draw and item were drawn together."""
    draws, items, classes = np.nonzero(~np.isnan(values))
    known = values[draws, items, classes]
    if not len(known):
        return np.full(len(drawn.draws), np.nan)
    order = known.argsort()
    known, draws, items = known[order], draws[order], items[order]
    found = []
    for start in range(0, len(drawn.draws), step := max(1, _AT_ONCE // len(known))):
        part = slice(start, start + step)
        upto = (drawn.draws[part][:, draws] * drawn.items[part][:, items]).cumsum(1)
        total = upto[:, -1]
        middle = [known[(upto > np.floor(at)[:, None]).argmax(1)] for at in ((total - 1) / 2, total / 2)]
        found.append(np.where(total > 0, (middle[0] + middle[1]) / 2, np.nan))
    return np.concatenate(found)


def _mean(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(rows,) of (rows, columns): of what is there, each so many times; NaN where nothing is."""
    there = ~np.isnan(values) & (times > 0)
    count = (times * there).sum(1)
    result: np.ndarray = (times * np.where(there, values, 0.0)).sum(1) / np.where(count > 0, count, np.nan)
    return result


def _by_patient(both: Sequence[np.ndarray], which: int, patient_of: np.ndarray, drawn: _Drawn) -> np.ndarray:
    """(resamples, patients) each patient's mean for one of two weights, which have numbers at the same places."""
    values, times = both[which], drawn.networks[which]
    there = ~np.isnan(values[0])
    of_patient = np.eye(drawn.patients.shape[1])[patient_of]
    counts = drawn.draws @ (there.sum(2) @ of_patient)
    sums = sum(
        times[:, number, None] * (drawn.draws @ (np.where(there, one, 0.0).sum(2) @ of_patient))
        for number, one in enumerate(values)
    )
    result: np.ndarray = sums / len(values) / np.where(counts > 0, counts, np.nan)
    return result


def _effects(both: Sequence[np.ndarray], patient_of: np.ndarray, drawn: _Drawn) -> np.ndarray:
    """(resamples,) the mean of the patients' differences in their standard deviations."""
    apart = _by_patient(both, 0, patient_of, drawn) - _by_patient(both, 1, patient_of, drawn)
    times = drawn.patients * ~np.isnan(apart)
    mean, count = _mean(apart, times), times.sum(1)
    squares = (times * np.where(times > 0, apart - mean[:, None], 0.0) ** 2).sum(1)
    spread = np.sqrt(squares / np.where(count > 1, count - 1, np.nan))
    return mean / np.where(spread > _LEAST * np.abs(mean), spread, np.nan)


def _by_class(values: np.ndarray) -> np.ndarray:
    flat = values.reshape(-1, values.shape[2])
    counts = (~np.isnan(flat)).sum(0)
    with np.errstate(invalid="ignore"):
        result: np.ndarray = np.nansum(flat, 0) / np.where(counts > 0, counts, np.nan)
    return result
