"""Frozen: what a linear layer on the feature maps finds of the classes of a segmentation."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits
from torch import Tensor
from tqdm import tqdm

from sg_hub.inference.feature_maps import FeatureMaps

from ...run.seeds import rng
from ...targets import Item
from ...trials.task.metrics import overlap
from ...trials.task.surface import IN_MM, measured_in_mm
from ..data import Data, Maps

SUBSETS = 10
"""Draws of the labelled patients."""
POOL = 12
"""Training patients that they are drawn from, so that few scans go through the network."""
LABELLED = 3
"""Patients of a draw."""
MEASURES = ("iou", *IN_MM)
_BACKGROUND = 2000
"""Cells of the background that are learnt from, of each patient; the intercept tells of the others."""
_ITERATIONS = 100
_SHIFTS = 12
"""Of the background's logit that are tried on the labelled patients."""


@dataclass(frozen=True)
class Probe:
    """A linear layer: logits = weight x + bias."""

    weight: np.ndarray
    """(classes, features)."""
    bias: np.ndarray


def draws(data: Data, labelled: int, subsets: int) -> list[list[Item]]:
    """The labelled patients' items of each draw."""
    patients = sorted({item.patient for item in data.parts["train"]})
    pool = [patients[i] for i in rng("worth", "pool").permutation(len(patients))[:POOL]]
    chosen = [
        {pool[i] for i in rng("worth", "subset", number).permutation(len(pool))[:labelled]} for number in range(subsets)
    ]
    return [[item for item in data.parts["train"] if item.patient in one] for one in chosen]


def linear_probe(
    data: Data, maps: Maps, names: Sequence[str], test: Sequence[Item], title: str, progress: bool
) -> dict[str, np.ndarray]:
    """Logistic regression on the cells of the labelled patients; tested on whole scans, on the weights' grid.

    Returns:
        as `tested` does.
    """
    subsets = draws(data, LABELLED, SUBSETS)
    samples = {item.name: item for subset in subsets for item in subset}
    drawn = {
        name: _cells(data, maps[item].only(names), item)
        for name, item in tqdm(samples.items(), f"{title}: labels", unit="scan", disable=not progress, leave=False)
    }
    classes = data.target.num_classes
    probes = [
        fit([drawn[item.name] for item in subset], classes)
        for subset in tqdm(subsets, f"{title}: fits", unit="fit", disable=not progress, leave=False)
    ]

    def segment(item: Item, size: Sequence[int]) -> Iterator[np.ndarray]:
        return _segmented(probes, maps[item].only(names), size)

    return tested(data, test, len(probes), segment, title, progress)


def tested(
    data: Data,
    test: Sequence[Item],
    count: int,
    segment: Callable[[Item, Sequence[int]], Iterator[np.ndarray]],
    title: str,
    progress: bool,
) -> dict[str, np.ndarray]:
    """How well whole scans are segmented, on the weights' grid.

    Args:
        segment: class numbers of every voxel of an item, of that size, by each of `count` draws.

    Returns:
        of each measure (draws, test items, classes); NaN where a class is neither there nor found.
    """
    classes = data.target.num_classes - 1
    found = {name: np.full((count, len(test), classes), np.nan) for name in MEASURES}
    for column, item in enumerate(tqdm(test, f"{title}: tests", unit="scan", disable=not progress, leave=False)):
        truth = data.arrays[item][1].numpy()
        for row, labels in enumerate(segment(item, truth.shape)):
            for name, values in measures(labels, truth, data.voxel, classes).items():
                found[name][row, column] = values
    return found


def measures(found: np.ndarray, truth: np.ndarray, voxel: Sequence[float], classes: int) -> dict[str, list[float]]:
    """Of each class of a scan: IoU, surface Dice, and the centres' distance."""
    return {"iou": overlap(found, truth, classes)[0], **measured_in_mm(found, truth, voxel, classes)}


def fit(samples: Sequence[tuple[np.ndarray, np.ndarray, float]], classes: int) -> Probe:
    """A probe of cells: vectors (n, features), class numbers (n,), and the share of the background's cells that are
    among them, for each patient."""
    x = np.concatenate([vectors for vectors, _, _ in samples])
    y = np.concatenate([labels for _, labels, _ in samples])
    share = float(np.mean([share for _, _, share in samples]))
    if len(np.unique(y)) < 2:  # no labelled patient has a cell of any class
        return Probe(np.zeros((classes, x.shape[1])), np.where(np.arange(classes) == y[0], 0.0, -1e4))
    mean, deviation = x.mean(0), x.std(0) + 1e-6
    with warnings.catch_warnings(), threadpool_limits(1):  # so small a fit waits for other threads more than it works
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(max_iter=_ITERATIONS).fit((x - mean) / deviation, y)
    weight, bias = np.zeros((classes, x.shape[1])), np.full(classes, -1e4)
    if len(model.classes_) == 2:  # one row for two classes
        weight[model.classes_[1]], bias[model.classes_] = model.coef_[0], (0.0, model.intercept_[0])
    else:
        weight[model.classes_], bias[model.classes_] = model.coef_, model.intercept_
    weight = weight / deviation
    bias = bias - weight @ mean
    bias[0] += _shift(x @ weight.T + bias, y, share, classes)
    return Probe(weight, bias)


def _shift(logits: np.ndarray, labels: np.ndarray, share: float, classes: int) -> float:
    """What is added to the logit of the background, of which there is more than was learnt from: what gives the highest
    IoU on the labelled patients. Added in full, an argmax finds the most probable class, and hardly any small organ."""
    counts = np.where(labels == 0, 1 / share, 1.0)
    shifts = np.linspace(0, -np.log(share), _SHIFTS)
    reached = []
    for shift in shifts:
        found = (logits + np.eye(classes)[0] * shift).argmax(1)
        pairs = [(found == number, labels == number) for number in range(1, classes)]
        reached.append(np.mean([counts[a & b].sum() / max(1.0, counts[a | b].sum()) for a, b in pairs]))
    return float(shifts[int(np.argmax(reached))])


def _cells(data: Data, maps: FeatureMaps, item: Item) -> tuple[np.ndarray, np.ndarray, float]:
    """All cells of the classes and some of the background: their vectors, class numbers, and the background's share."""
    stride = maps.strides[maps.finest]
    labels = _by_cell(data.arrays[item][1].numpy(), stride, data.target.num_classes)
    noise, flat = rng("worth", "cells", item.name), labels.ravel()
    background = np.flatnonzero(flat == 0)
    kept = background[noise.permutation(len(background))[:_BACKGROUND]]
    chosen = np.concatenate([np.flatnonzero(flat), kept])
    places = torch.from_numpy(np.stack(np.unravel_index(chosen, labels.shape), 1)).float()
    vectors = torch.cat(maps.at(maps.voxels(places)), 1).numpy()
    return vectors, flat[chosen], len(kept) / max(1, len(background))


def _by_cell(labels: np.ndarray, stride: Sequence[int], classes: int) -> np.ndarray:
    """The class that has most of each cell."""
    x = F.one_hot(torch.from_numpy(labels).long(), classes).movedim(-1, 0).float()[None]
    short = [value for side, step in zip(labels.shape[::-1], stride[::-1], strict=True) for value in (0, -side % step)]
    return F.avg_pool3d(F.pad(x, short), tuple(stride))[0].argmax(0).numpy()


def _segmented(probes: Sequence[Probe], maps: FeatureMaps, size: Sequence[int]) -> Iterator[np.ndarray]:
    """Class numbers of every voxel, by each probe. Logits are interpolated, not features: it is the same, and quick."""
    classes = len(probes[0].bias)
    weight = torch.from_numpy(np.concatenate([probe.weight for probe in probes])).float()
    fine = maps.strides[maps.finest]
    cells = maps.levels[maps.finest].shape[1:]
    total: Tensor | float = 0.0
    for level, stride, part in zip(
        maps.levels, maps.strides, weight.split([len(level) for level in maps.levels], 1), strict=True
    ):
        logits = torch.einsum("kc,cxyz->kxyz", part, level.float())
        total = total + finer(logits, [a // b for a, b in zip(stride, fine, strict=True)], cells)
    assert isinstance(total, Tensor)
    for number, probe in enumerate(probes):
        bias = torch.from_numpy(probe.bias).float().view(-1, 1, 1, 1)
        logits = total[number * classes : (number + 1) * classes] + bias
        yield finer(logits, fine, size).argmax(0).to(torch.uint8).numpy()


def finer(x: Tensor, scale: Sequence[int], size: Sequence[int]) -> Tensor:
    """(K, X, Y, Z) on cells that are `scale` times finer, cropped to `size`."""
    if max(scale) > 1:
        x = F.interpolate(x[None], scale_factor=tuple(map(float, scale)), mode="trilinear")[0]
    return x[:, : size[0], : size[1], : size[2]]
