"""The area under a ROC curve as a mean over items, so that it can be tested like any other mean."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata


def auc_of_items(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Values of the items whose mean is the area under the ROC curve, and the variance of whose mean is DeLong's
    (Biometrics 44, 1988); over patients with several items it is Obuchowski's (Biometrics 53, 1997).

    An item's value is its share of pairs of a positive and a negative that are in order, weighed by how rare its label
    is; it may lie outside of 0 and 1.

    Args:
        scores: (items,) higher for positives.
        labels: (items,) 0 and 1, of which there are both.
    """
    positive = labels == 1
    together, share = rankdata(scores), np.empty(len(scores))
    for of, others in ((positive, ~positive), (~positive, positive)):
        below = (together[of] - rankdata(scores[of])) / others.sum()  # of the other label; ties count a half
        share[of] = below if of is positive else 1 - below
    area = share[positive].mean()
    weight = np.where(positive, len(labels) / positive.sum(), len(labels) / (~positive).sum())
    result: np.ndarray = area + weight * (share - area)
    return result
