import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from training.statistics.auc import auc_of_items


@pytest.mark.parametrize("ties", [False, True])
def test_the_mean_is_the_area_and_the_variance_delongs(ties):
    rng = np.random.default_rng(0)
    labels = (rng.random(60) < 0.3).astype(int)
    scores = rng.normal(size=60) + labels
    scores = scores.round() if ties else scores
    values = auc_of_items(scores, labels)
    assert values.mean() == pytest.approx(roc_auc_score(labels, scores))
    pairs = scores[labels == 1][:, None] - scores[labels == 0]
    right = (pairs > 0) + 0.5 * (pairs == 0)
    delong = right.mean(1).var() / len(right) + right.mean(0).var() / right.shape[1]
    assert values.var() / len(values) == pytest.approx(delong)
