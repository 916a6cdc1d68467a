"""Statistics against SciPy and known numbers."""

import math

import numpy as np
import pytest
from scipy import stats

from training.statistics.trials import against_best, compare, holm, paired, summarise


def test_summary_of_trials():
    values = [0.5, 0.6, 0.7, 0.65]
    found = summarise(values)
    assert (found.trials, found.mean, found.sd) == (4, pytest.approx(0.6125), pytest.approx(np.std(values, ddof=1)))
    half = stats.t.ppf(0.975, 3) * found.sd / 2
    assert (found.low, found.high) == (pytest.approx(0.6125 - half), pytest.approx(0.6125 + half))
    assert math.isnan(summarise([0.5]).sd)
    assert summarise([0.5, 0.5]).sd == 0


def test_comparison_is_scipys_in_both_forms():
    a, b = [0.5, 0.6, 0.7, 0.65], [0.4, 0.45, 0.5, 0.3, 0.2]
    found = compare(a, b)
    assert found.p == pytest.approx(stats.ttest_ind(a, b, equal_var=False).pvalue)
    assert found.p_plain == pytest.approx(stats.ttest_ind(a, b).pvalue)
    assert found.low < found.difference < found.high
    assert math.isnan(compare([0.5], b).p)
    assert math.isnan(compare([0.5, 0.5], [0.5, 0.5]).p)


@pytest.mark.parametrize(
    ("values", "corrected"),
    [
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),
        ([0.001, 0.02, 0.02, 0.6, 0.04], [0.005, 0.08, 0.08, 0.6, 0.08]),  # as statsmodels and R's p.adjust give them
        ([0.5, 0.4, 0.9], [1.0, 1.0, 1.0]),
        ([], []),
    ],
)
def test_holm_on_known_numbers(values, corrected):
    found = holm({str(number): p for number, p in enumerate(values)})
    assert list(found.values()) == pytest.approx(corrected)


def test_holm_does_not_count_what_is_no_number():
    kept = holm({"a": 0.02, "b": float("nan")})
    assert kept["a"] == pytest.approx(0.02)
    assert math.isnan(kept["b"])


def test_intervals_need_three_trials_and_stay_within_the_metric():
    assert math.isnan(summarise([0.0, 0.6]).low)
    assert summarise([0.0, 0.6]).sd == pytest.approx(np.std([0.0, 0.6], ddof=1))
    wide = summarise([0.05, 0.9, 0.95])
    assert (wide.low, wide.high) == (0, 1)
    assert math.isnan(compare([0.5, 0.6], [0.1, 0.2, 0.3]).high)
    assert math.isnan(compare([0.5, 0.6], [0.1, 0.2, 0.3]).p), "and no test"
    assert compare([0.5, 0.6, 0.7], [0.1, 0.2, 0.3]).p < 0.05
    assert compare([0.01, 0.99, 0.5], [0.02, 0.9, 0.4]).low == -1


def test_against_the_best():
    trials = {"low": [0.1, 0.2, 0.15], "best": [0.8, 0.9, 0.85], "near": [0.8, 0.85, 0.86]}
    best, tests, corrected = against_best(trials)
    assert best == "best"
    assert set(tests) == {"low", "near"}
    assert corrected["low"] < 0.05 < corrected["near"]
    assert corrected["near"] >= tests["near"].p


def test_the_paired_test_is_scipys_and_takes_out_what_trials_share():
    a, b = {0: 0.5, 1: 0.7, 2: 0.6, 9: 0.1}, {2: 0.55, 1: 0.66, 0: 0.47, 5: 0.9}
    found = paired(a, b)
    test = stats.ttest_rel([0.5, 0.7, 0.6], [0.47, 0.66, 0.55])
    assert (found.pairs, found.p) == (3, pytest.approx(test.pvalue))
    assert found.difference == pytest.approx(0.04)
    interval = test.confidence_interval(0.95)
    assert (found.low, found.high) == (pytest.approx(interval.low), pytest.approx(interval.high))
    assert found.effect == pytest.approx(0.04 / np.std([0.03, 0.04, 0.05], ddof=1))
    assert found.effect_low < found.effect < found.effect_high
    assert found.p < 0.05 < compare([0.5, 0.7, 0.6], [0.47, 0.66, 0.55]).p


def test_two_pairs_or_no_scatter_have_no_paired_test():
    for a, b in (({0: 0.5, 1: 0.6}, {0: 0.1, 1: 0.3}), ({0: 0.5, 1: 0.6, 2: 0.7}, {0: 0.4, 1: 0.5, 2: 0.6})):
        found = paired(a, b)
        assert math.isnan(found.p)
        assert math.isnan(found.low)
        assert math.isnan(found.effect)
    assert math.isnan(paired({0: 0.5}, {1: 0.5}).difference)
