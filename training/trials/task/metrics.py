"""How well a network does on a target: AUC, IoU, Dice. Every figure is between 0 and 1, higher is better."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from sklearn.metrics import roc_auc_score

METRICS = {"auc": "AUC", "iou": "IoU", "dice": "Dice"}
"""What they are called in tables and figures."""


def overlap(found: np.ndarray, truth: np.ndarray, classes: int) -> tuple[list[float], list[float]]:
    """IoU and Dice of every class of one item.

    A class in one of the masks only: both are 0. A class that is in neither: both are NaN, for nothing was outlined.

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
        iou.append(both / either if either else float("nan"))
        dice.append(2 * both / (either + both) if either else float("nan"))
    return iou, dice


def with_enough(labels: np.ndarray, names: Sequence[str], exclusive: bool, least: int) -> list[str]:
    """The classes that an AUC can be given of: those with this many positives, and at least one negative.

    Args:
        labels: (items,) class numbers where classes exclude each other, else (items, classes) of 0 and 1.
        least: positives.
    """
    columns = class_columns(labels, names, exclusive)
    return [name for name, column in columns.items() if least <= column.sum() < len(column)]


def auc_by_class(
    scores: np.ndarray, labels: np.ndarray, names: Sequence[str], exclusive: bool, wanted: Collection[str]
) -> dict[str, float]:
    """Area under the ROC curve, by class.

    Two classes that exclude each other have one curve, named after the second; of more than two, each is held against
    all others.

    Args:
        scores: (items, classes) probabilities.
        labels: as in `with_enough`.
        wanted: classes to look at; each has positives and negatives.
    """
    columns = class_columns(labels, names, exclusive)
    return {
        name: float(roc_auc_score(columns[name], scores[:, number]))
        for number, name in enumerate(names)
        if name in columns and name in wanted
    }


def class_columns(labels: np.ndarray, names: Sequence[str], exclusive: bool) -> dict[str, np.ndarray]:
    """0 and 1 of every item, for each class that has a curve of its own."""
    if not exclusive:
        return {name: labels[:, number] for number, name in enumerate(names)}
    first = 1 if len(names) == 2 else 0
    return {name: (labels == number).astype(int) for number, name in enumerate(names) if number >= first}
