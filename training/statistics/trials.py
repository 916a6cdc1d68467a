"""What trials say: mean, standard deviation, confidence interval, and tests with Holm's correction.

Trials of one number share their seed, their batches and their draw of labelled patients, whatever they start from: the
paired test takes that out. Welch's test and the plain one, which do not, stand beside it, as in the paper.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy import stats

Key = TypeVar("Key")
LEVEL = 0.05
"""Below it, a difference is called significant, as in the paper."""
LEAST_FOR_INTERVAL = 3
"""Trials below which there is no confidence interval (of two it is 12 times as wide as they lie apart), no test, and no
best."""


@dataclass(frozen=True)
class Summary:
    """Trials of one initialisation."""

    trials: int
    mean: float
    sd: float
    """Sample standard deviation; NaN of one trial."""
    low: float
    """Ends of the 95 % confidence interval of the mean (Student's t), within 0 and 1; NaN of fewer than three."""
    high: float


@dataclass(frozen=True)
class Comparison:
    """Trials of one initialisation against another's: two-sample t-tests."""

    difference: float
    low: float
    """Ends of the 95 % confidence interval of the difference (Welch), within -1 and 1; NaN with fewer than three
    trials of either."""
    high: float
    p: float
    """Welch: equal variances are not assumed."""
    p_plain: float
    """The plain two-sample t-test, as in the paper: equal variances assumed."""

    @property
    def is_level(self) -> bool:
        """Whether both have the same mean."""
        return abs(self.difference) < 1e-12


@dataclass(frozen=True)
class Paired:
    """Trials of one initialisation against those of the same numbers of another's."""

    pairs: int
    difference: float
    low: float
    """Ends of the 95 % confidence interval of the mean difference (Student's t), within -1 and 1; NaN of fewer than
    three pairs."""
    high: float
    p: float
    """Paired t-test, two-sided."""
    effect: float
    """Mean of the differences in their standard deviations; NaN where they have none."""
    effect_low: float
    """Ends of its 95 % interval, approximately (Hedges and Olkin 1985)."""
    effect_high: float


def summarise(values: Sequence[float]) -> Summary:
    """Trials of a metric that lies between 0 and 1."""
    mean, count = float(np.mean(values)), len(values)
    sd = float(np.std(values, ddof=1)) if count > 1 else math.nan
    if count < LEAST_FOR_INTERVAL:
        return Summary(count, mean, sd, math.nan, math.nan)
    if sd == 0:
        return Summary(count, mean, sd, mean, mean)
    low, high = stats.t.interval(0.95, count - 1, loc=mean, scale=stats.sem(values))
    return Summary(count, mean, sd, max(0.0, float(low)), min(1.0, float(high)))


def compare(a: Sequence[float], b: Sequence[float]) -> Comparison:
    """Trials a against trials b; with fewer than three of either, or no scatter at all, p is NaN."""
    fewer = min(len(a), len(b))
    difference = float(np.mean(a) - np.mean(b)) if fewer else math.nan
    if fewer < LEAST_FOR_INTERVAL or (np.ptp(a) == 0 and np.ptp(b) == 0):
        return Comparison(difference, *[math.nan] * 4)
    welch, plain = stats.ttest_ind(a, b, equal_var=False), stats.ttest_ind(a, b)
    interval = welch.confidence_interval(0.95)
    low, high = max(-1.0, float(interval.low)), min(1.0, float(interval.high))
    return Comparison(difference, low, high, float(welch.pvalue), float(plain.pvalue))


def paired(a: Mapping[int, float], b: Mapping[int, float]) -> Paired:
    """Trials a against trials b, by their numbers; those that one of them alone has are left out."""
    both = sorted(a.keys() & b.keys())
    apart = np.array([a[number] - b[number] for number in both])
    count = len(apart)
    mean = float(apart.mean()) if count else math.nan
    if count < LEAST_FOR_INTERVAL or np.ptp(apart) < 1e-12:
        return Paired(count, mean, *[math.nan] * 6)
    test = stats.ttest_1samp(apart, 0)
    interval = test.confidence_interval(0.95)
    effect = mean / float(apart.std(ddof=1))
    half = 1.96 * math.sqrt(1 / count + effect**2 / (2 * count))
    low, high = max(-1.0, float(interval.low)), min(1.0, float(interval.high))
    return Paired(count, mean, low, high, float(test.pvalue), effect, effect - half, effect + half)


def against_best(trials: Mapping[str, Sequence[float]]) -> tuple[str, dict[str, Comparison], dict[str, float]]:
    """Everything against the one with the highest mean.

    Returns:
        its name; comparisons of all others with it; and their p of Welch's test, corrected for their number (Holm).
    """
    best = max(trials, key=lambda name: (float(np.mean(trials[name])), name))
    tests = {name: compare(values, trials[best]) for name, values in trials.items() if name != best}
    return best, tests, holm({name: test.p for name, test in tests.items()})


def holm(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """p corrected for the number of tests (Holm 1979: the smallest times their number, the next times one less, and so
    on, never falling); NaN stays, and is not counted."""
    corrected, highest = dict(p_values), 0.0
    real = sorted(((p, name) for name, p in p_values.items() if not math.isnan(p)), key=lambda pair: pair[0])
    for rank, (p, name) in enumerate(real):
        highest = max(highest, min(1.0, (len(real) - rank) * p))
        corrected[name] = highest
    return corrected
