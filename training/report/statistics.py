"""What trials say: mean, standard deviation, confidence interval, t-tests against the best with Holm's correction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests

LEVEL = 0.05
"""Below it, a difference is called significant, as in the paper."""


@dataclass(frozen=True)
class Summary:
    """Trials of one initialisation."""

    trials: int
    mean: float
    sd: float
    """Sample standard deviation; NaN of one trial."""
    low: float
    """Ends of the 95 % confidence interval of the mean (Student's t); NaN of one trial."""
    high: float


@dataclass(frozen=True)
class Comparison:
    """Trials of one initialisation against another's: two-sample t-tests."""

    difference: float
    low: float
    """Ends of the 95 % confidence interval of the difference (Welch)."""
    high: float
    p: float
    """Welch: equal variances are not assumed."""
    p_plain: float
    """The plain two-sample t-test, as in the paper: equal variances assumed."""


def summarise(values: Sequence[float]) -> Summary:
    mean = float(np.mean(values))
    if len(values) < 2:
        return Summary(len(values), mean, *[float("nan")] * 3)
    sd = float(np.std(values, ddof=1))
    if sd == 0:
        return Summary(len(values), mean, 0.0, mean, mean)
    low, high = stats.t.interval(0.95, len(values) - 1, loc=mean, scale=stats.sem(values))
    return Summary(len(values), mean, sd, float(low), float(high))


def compare(a: Sequence[float], b: Sequence[float]) -> Comparison:
    """Trials a against trials b; with fewer than two of either, or no scatter at all, p is NaN."""
    difference = float(np.mean(a) - np.mean(b))
    if min(len(a), len(b)) < 2 or (np.ptp(a) == 0 and np.ptp(b) == 0):
        return Comparison(difference, *[float("nan")] * 4)
    welch = stats.ttest_ind(a, b, equal_var=False)
    interval = welch.confidence_interval(0.95)
    plain = stats.ttest_ind(a, b)
    return Comparison(difference, float(interval.low), float(interval.high), float(welch.pvalue), float(plain.pvalue))


def against_best(trials: Mapping[str, Sequence[float]]) -> tuple[str, dict[str, Comparison], dict[str, float]]:
    """Everything against the one with the highest mean.

    Returns:
        its name; comparisons of all others with it; and their p of Welch's test, corrected for their number (Holm).
    """
    best = max(trials, key=lambda name: (float(np.mean(trials[name])), name))
    tests = {name: compare(values, trials[best]) for name, values in trials.items() if name != best}
    return best, tests, holm({name: test.p for name, test in tests.items()})


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p corrected for the number of tests; NaN stays, and is not counted."""
    real = {name: p for name, p in p_values.items() if not np.isnan(p)}
    if not real:
        return dict(p_values)
    corrected = multipletests(list(real.values()), method="holm")[1]
    return dict(p_values) | {name: float(p) for name, p in zip(real, corrected, strict=True)}
