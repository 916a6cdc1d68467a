"""Scans whose feature maps say what there is to find."""

from types import SimpleNamespace

import numpy as np
import torch

from sg_hub.inference.feature_maps import FeatureMaps
from training.targets.items import Item

VOXEL = (2.0, 2.0, 3.0)


def labelled(corner, size=(24, 20, 16)):
    """Two boxes, class 1 and class 2, whose centres are voxels."""
    label = torch.zeros(size, dtype=torch.uint8)
    x, y, z = corner
    label[x : x + 5, y : y + 3, z : z + 5], label[x + 8 : x + 11, y : y + 5, z : z + 3] = 1, 2
    return label


def data_of(labels, train=0):
    """What `Data` is, of these label maps; the first `train` are for training."""
    items = [Item(f"item{number}", f"patient{number}", "") for number in range(len(labels))]
    target = SimpleNamespace(num_classes=3, classes=("a", "b"), exclusive=True)
    arrays = {item: (torch.zeros(1, *label.shape), label) for item, label in zip(items, labels, strict=True)}
    return SimpleNamespace(
        target=target, voxel=VOXEL, arrays=arrays, parts={"train": items[:train], "test": items[train:]}
    )


def maps_of(features, stride=(1, 1, 1)):
    size = tuple(side * step for side, step in zip(features.shape[1:], stride, strict=True))
    return FeatureMaps(("encoder 0",), (features.half(),), (stride,), size)


def texture(seed=0, size=(24, 20, 16), channels=16):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(channels, *size)).astype(np.float32))
