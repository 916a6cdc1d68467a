"""How well a network does on a target: AUC, IoU, Dice. Every figure is between 0 and 1, higher is better."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score

from sg_hub.errors import InvalidInputError

METRICS = {"auc": "AUC", "iou": "IoU", "dice": "Dice"}
"""What they are called in tables and figures."""


def overlap(found: np.ndarray, truth: np.ndarray, classes: int) -> tuple[list[float], list[float]]:
    """IoU and Dice of every class of one item.

    A class that is in neither mask was found to be absent: both are 1. A class in one of them only: both are 0.

    Args:
        found, truth: class numbers of the same shape; 0 is background.
        classes: without background.

    Returns:
        IoU and Dice of classes 1, 2, ...
    """
    iou, dice = [], []
    for number in range(1, classes + 1):
        a, b = found == number, truth == number
        both, either = int((a & b).sum()), int((a | b).sum())
        iou.append(both / either if either else 1.0)
        dice.append(2 * both / (either + both) if either else 1.0)
    return iou, dice


def auc_by_class(
    scores: np.ndarray, labels: np.ndarray, names: tuple[str, ...], exclusive: bool, min_positives: int = 1
) -> dict[str, float]:
    """Area under the ROC curve.

    Args:
        scores: (items, classes) probabilities.
        labels: (items,) class numbers where classes exclude each other, else (items, classes) of 0 and 1.
        min_positives: classes with fewer items, or with all of them, are left out.

    Returns:
        by class. Two classes that exclude each other have one curve, named after the second; of more than two, each
        is held against all others.

    Raises:
        InvalidInputError: no class is left.
    """
    if exclusive:
        labels = (labels[:, None] == np.arange(len(names))).astype(int)
        if len(names) == 2:
            scores, labels, names = scores[:, 1:], labels[:, 1:], names[1:]
    kept = [i for i in range(len(names)) if min_positives <= labels[:, i].sum() < len(labels)]
    if not kept:
        raise InvalidInputError(
            f"no AUC: of {len(labels)} items, no class has {min_positives} positives and at least one negative"
        )
    return {names[i]: float(roc_auc_score(labels[:, i], scores[:, i])) for i in kept}
