"""Metrics against scikit-learn and worked numbers."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score, roc_auc_score

from training.trials.task.metrics import auc_by_class, overlap, with_enough


def test_overlap_is_scikit_learns():
    rng = np.random.default_rng(0)
    found, truth = rng.integers(0, 4, (2, 9, 8, 7))
    iou, dice = overlap(found, truth, 3)
    labels = [1, 2, 3]
    assert iou == pytest.approx(jaccard_score(truth.ravel(), found.ravel(), labels=labels, average=None))
    assert dice == pytest.approx(f1_score(truth.ravel(), found.ravel(), labels=labels, average=None))


def test_overlap_of_empty_masks():
    empty, one = np.zeros((3, 3), dtype=int), np.eye(3, dtype=int)
    assert np.isnan(overlap(empty, empty, 1)).all()  # nothing was outlined: it says nothing
    assert overlap(empty, one, 1) == ([0.0], [0.0])
    assert overlap(one, empty, 1) == ([0.0], [0.0])
    iou, dice = overlap(one, one, 2)
    assert (iou[0], dice[0]) == (1, 1)
    assert np.isnan((iou[1], dice[1])).all()  # class 2 is in neither


def test_auc_is_scikit_learns():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 60)
    scores = rng.random((60, 3))
    scores /= scores.sum(1, keepdims=True)
    by_class = auc_by_class(scores, labels, ("a", "b", "c"), True, ("a", "b", "c"))
    assert np.mean(list(by_class.values())) == pytest.approx(roc_auc_score(labels, scores, multi_class="ovr"))
    binary = auc_by_class(scores[:, :2], labels % 2, ("other", "nodule"), True, ("nodule",))
    assert binary == {"nodule": pytest.approx(roc_auc_score(labels % 2, scores[:, 1]))}


def test_findings_with_few_positives_have_no_auc():
    rng = np.random.default_rng(2)
    labels = np.zeros((50, 3), dtype=int)
    labels[:20, 0], labels[:14, 1], labels[:, 2] = 1, 1, 1
    scores = rng.random((50, 3))
    names = ("often", "rare", "always")
    assert with_enough(labels, names, False, 15) == ["often"]
    assert with_enough(labels, names, False, 14) == ["often", "rare"]
    assert with_enough(labels, names, False, 21) == []
    found = auc_by_class(scores, labels, names, False, ["often"])
    assert found == {"often": pytest.approx(roc_auc_score(labels[:, 0], scores[:, 0]))}
