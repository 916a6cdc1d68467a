"""Metrics against scikit-learn, statistics against SciPy and worked numbers."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score, jaccard_score, roc_auc_score

from sg_hub.errors import InvalidInputError
from training.report.statistics import against_best, compare, holm, summarise
from training.trials.metrics import auc_by_class, overlap


def test_overlap_is_scikit_learns():
    rng = np.random.default_rng(0)
    found, truth = rng.integers(0, 4, (2, 9, 8, 7))
    iou, dice = overlap(found, truth, 3)
    labels = [1, 2, 3]
    assert iou == pytest.approx(jaccard_score(truth.ravel(), found.ravel(), labels=labels, average=None))
    assert dice == pytest.approx(f1_score(truth.ravel(), found.ravel(), labels=labels, average=None))


def test_overlap_of_empty_masks():
    empty, one = np.zeros((3, 3), dtype=int), np.eye(3, dtype=int)
    assert overlap(empty, empty, 1) == ([1.0], [1.0])
    assert overlap(empty, one, 1) == ([0.0], [0.0])
    assert overlap(one, empty, 1) == ([0.0], [0.0])
    assert overlap(one, one, 2) == ([1.0, 1.0], [1.0, 1.0])  # class 2 is in neither


def test_auc_is_scikit_learns():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 60)
    scores = rng.random((60, 3))
    scores /= scores.sum(1, keepdims=True)
    by_class = auc_by_class(scores, labels, ("a", "b", "c"), True)
    assert np.mean(list(by_class.values())) == pytest.approx(roc_auc_score(labels, scores, multi_class="ovr"))
    binary = auc_by_class(scores[:, :2], labels % 2, ("other", "nodule"), True)
    assert binary == {"nodule": pytest.approx(roc_auc_score(labels % 2, scores[:, 1]))}


def test_findings_with_few_positives_have_no_auc():
    rng = np.random.default_rng(2)
    labels = np.zeros((50, 3), dtype=int)
    labels[:20, 0], labels[:14, 1], labels[:, 2] = 1, 1, 1
    scores = rng.random((50, 3))
    found = auc_by_class(scores, labels, ("often", "rare", "always"), False, min_positives=15)
    assert found == {"often": pytest.approx(roc_auc_score(labels[:, 0], scores[:, 0]))}
    with pytest.raises(InvalidInputError, match="no class has 21 positives"):
        auc_by_class(scores, labels, ("often", "rare", "always"), False, min_positives=21)


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


def test_holm_on_worked_numbers():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == {
        "a": pytest.approx(0.03),
        "b": pytest.approx(0.06),
        "c": pytest.approx(0.06),
    }
    kept = holm({"a": 0.02, "b": float("nan")})
    assert kept["a"] == pytest.approx(0.02)
    assert math.isnan(kept["b"])


def test_against_the_best():
    trials = {"low": [0.1, 0.2, 0.15], "best": [0.8, 0.9, 0.85], "near": [0.8, 0.85, 0.86]}
    best, tests, corrected = against_best(trials)
    assert best == "best"
    assert set(tests) == {"low", "near"}
    assert corrected["low"] < 0.05 < corrected["near"]
    assert corrected["near"] >= tests["near"].p
