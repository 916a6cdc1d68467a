"""Frozen: how well a classification is done on what the encoder says of whole items: by the nearest of those that are
labelled, and by a linear layer that learns from few of them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits
from torch import Tensor
from tqdm import tqdm

from sg_hub.errors import InvalidInputError

from ...statistics.auc import auc_of_items
from ...targets import Item
from ...targets.splits import label_fraction
from ...trials.task.metrics import class_columns, with_enough
from ..data import Data

NEIGHBOURS = 20
FRACTION = 0.1
"""Of the training patients, from whose items the linear layer learns."""
SUBSETS = 10
"""Draws of these patients: those of the trials of the same numbers."""
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Inverse weights of the linear layer's penalty, of which each network gets what does best on validation patients."""
NEAREST = f"{NEIGHBOURS} nearest neighbours"
LINEAR = f"linear probe, {FRACTION:.0%} of patients"
_ITERATIONS = 300


def classified(
    data: Data, network: Any, test: Sequence[Item], device: torch.device, progress: bool
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Mean and deviation of every level of the encoder describe an item.

    Returns:
        the classes that have an AUC, which are those of the target's trials; and of NEAREST and LINEAR (draws, test
        items, classes), values whose mean over the items is the AUC.

    Raises:
        InvalidInputError: no class has both positives and negatives among the test items.
    """
    target, train, validation = data.target, data.parts["train"], data.parts["validation"]
    labels = np.array([item.label for item in test])
    there = with_enough(labels, target.classes, target.exclusive, 1)
    classes = [name for name in data.scored if name in there]
    if not classes:
        raise InvalidInputError(
            f"target {target.name}: {len(test)} test items have no positive, or no negative, of "
            f"{', '.join(data.scored)}: take more patients (--patients)"
        )
    every = [*train, *validation, *test]
    bar = tqdm(every, "describing", unit="item", disable=not progress, leave=False)
    described = torch.stack([_described(data, network, item, device) for item in bar])
    known = described[: len(train)]
    described = (described - known.mean(0)) / (known.std(0) + 1e-6)
    parts = described.split([len(train), len(validation), len(test)])
    truth = [_truth(data, items, classes) for items in (train, validation, test)]
    scores = {
        NEAREST: [_by_neighbours(parts[0], truth[0], parts[2])],
        LINEAR: _by_linear_layer(data, [part.double().numpy() for part in parts], truth),
    }
    return classes, {what: np.stack([_values(one, truth[2]) for one in drawn]) for what, drawn in scores.items()}


def _described(data: Data, network: Any, item: Item, device: torch.device) -> Tensor:
    with torch.inference_mode():
        levels = [level[0].flatten(1) for level in network.encoder(data.arrays[item][0].float()[None].to(device))]
        return torch.cat([torch.cat([level.mean(1), level.std(1)]) for level in levels]).cpu()


def _truth(data: Data, items: Sequence[Item], classes: Sequence[str]) -> np.ndarray:
    """(items, classes) of 0 and 1."""
    labels = np.array([item.label for item in items])
    columns = class_columns(labels, data.target.classes, data.target.exclusive) if len(items) else {}
    return np.stack([columns[name] for name in classes], 1) if columns else np.zeros((0, len(classes)), int)


def _values(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return np.stack([auc_of_items(scores[:, number], truth[:, number]) for number in range(truth.shape[1])], 1)


def _by_neighbours(known: Tensor, truth: np.ndarray, wanted: Tensor) -> np.ndarray:
    """(items, classes): the cosines of the nearest training items that are of the class."""
    nearest = (F.normalize(wanted) @ F.normalize(known).T).topk(min(NEIGHBOURS, len(known)))
    votes = torch.from_numpy(truth).float()[nearest.indices]
    result: np.ndarray = (nearest.values.clamp(min=1e-6)[..., None] * votes).mean(1).numpy()
    return result


def _by_linear_layer(data: Data, parts: Sequence[np.ndarray], truth: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Of each draw of the labelled patients, (test items, classes)."""
    train = data.parts["train"]
    place = {item.name: number for number, item in enumerate(train)}
    subsets = [
        [place[item.name] for item in label_fraction(train, FRACTION, data.target.name, number)]
        for number in range(SUBSETS)
    ]
    reached = {}
    for strength in STRENGTHS:
        drawn = [_scores(parts, truth, subset, strength) for subset in subsets]
        reached[strength] = (sum(_areas([one[0] for one in drawn], truth[1])), [one[1] for one in drawn])
    best = max(STRENGTHS, key=lambda strength: reached[strength][0])
    return reached[best][1]


def _scores(
    parts: Sequence[np.ndarray], truth: Sequence[np.ndarray], subset: Sequence[int], strength: float
) -> tuple[np.ndarray, np.ndarray]:
    """Of the validation and of the test items, (items, classes); the same for all where one label alone was learnt."""
    x, y = parts[0][subset], truth[0][subset]
    found = [np.zeros(of.shape) for of in truth[1:]]
    for number in range(y.shape[1]):
        if len(np.unique(y[:, number])) < 2:
            continue
        with (
            warnings.catch_warnings(),
            threadpool_limits(1),
        ):  # so small a fit waits for other threads more than it works
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = LogisticRegression(C=strength, max_iter=_ITERATIONS).fit(x, y[:, number])
        for scores, items in zip(found, parts[1:], strict=True):
            scores[:, number] = model.decision_function(items) if len(items) else 0
    return found[0], found[1]


def _areas(drawn: Sequence[np.ndarray], truth: np.ndarray) -> Iterator[float]:
    """AUC of each draw and class that has both labels."""
    for scores in drawn:
        for number in range(truth.shape[1]):
            if len(np.unique(truth[:, number])) == 2:
                yield float(auc_of_items(scores[:, number], truth[:, number]).mean())
