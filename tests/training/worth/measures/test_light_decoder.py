"""The light decoder on frozen feature maps learns what there is, mixes what lies side by side, and changes no map."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sg_hub.inference.feature_maps import FeatureMaps
from tests.training.worth.known import data_of, labelled, maps_of, texture
from training.worth.measures import light_decoder as module
from training.worth.measures import probes

LABELS = [labelled(corner) for corner in ((4, 8, 4), (7, 6, 6), (2, 3, 2), (5, 9, 7), (9, 2, 5))]


def one_hot(label):
    return F.one_hot(label.long(), 3).movedim(-1, 0).float()


def found(features, monkeypatch, names=("encoder 0",), maps=None):
    """Of each measure, (draws, test items, classes)."""
    monkeypatch.setattr(probes, "SUBSETS", 2)
    data = data_of(LABELS, train=4)
    maps = maps or {item: maps_of(features(label)) for item, (_, label) in data.arrays.items()}
    before = {item: [level.clone() for level in one.levels] for item, one in maps.items()}
    values = module.light_decoder(data, maps, [*names], data.parts["test"], "", progress=False)
    assert all(torch.equal(a, b) for item, one in maps.items() for a, b in zip(one.levels, before[item], strict=True))
    return values


def test_features_that_are_the_classes_are_read(monkeypatch):
    values = found(one_hot, monkeypatch)
    assert values["iou"].shape == (2, 1, 2)
    assert values["iou"].min() > 0.9
    assert values["centre error"].max() < 1


def test_features_that_say_nothing_find_nothing(monkeypatch):
    seeds = iter(range(100))
    assert found(lambda label: texture(next(seeds)), monkeypatch)["iou"].max() < 0.15


def test_what_lies_beside_a_cell_counts(monkeypatch):
    """Features that tell the classes of the next cell along x: a layer without neighbours cannot use them."""
    values = found(lambda label: one_hot(torch.roll(label, 1, 0)), monkeypatch)
    assert values["iou"].min() > 0.9


@pytest.mark.parametrize("stride", [(2, 2, 1), (2, 2, 2)], ids=str)
def test_levels_of_larger_cells_are_brought_to_the_smallest(stride, monkeypatch):
    """The fine level says nothing, the coarse one all."""
    data = data_of(LABELS, train=4)
    maps = {}
    for number, (item, (_, label)) in enumerate(data.arrays.items()):
        coarse = F.avg_pool3d(one_hot(label)[None], stride)[0]
        levels = (texture(number, channels=2).half(), coarse.half())
        maps[item] = FeatureMaps(("encoder 0", "encoder 1"), levels, ((1, 1, 1), stride), tuple(label.shape))
    values = found(None, monkeypatch, ("encoder 0", "encoder 1"), maps)
    assert values["iou"].mean() > 0.4


def test_a_channel_that_was_constant_where_it_learnt_does_no_harm(monkeypatch):
    data = data_of(LABELS, train=4)
    maps = {}
    for item, (_, label) in data.arrays.items():
        dead = torch.zeros(1, *label.shape) if item in data.parts["train"] else torch.rand(1, *label.shape)
        maps[item] = maps_of(torch.cat([one_hot(label), dead]))
    assert found(None, monkeypatch, maps=maps)["iou"].min() > 0.9


def test_it_takes_as_many_steps_as_it_says(monkeypatch):
    steps = []
    monkeypatch.setattr(module, "STEPS", 5)  # of three labelled scans
    step = torch.optim.lr_scheduler.CosineAnnealingLR.step
    monkeypatch.setattr(torch.optim.lr_scheduler.CosineAnnealingLR, "step", lambda one: (steps.append(one), step(one)))
    found(one_hot, monkeypatch)
    last = {id(one): one for one in steps}.values()
    assert [one.last_epoch for one in last] == [5, 5]
    assert all(one.get_last_lr()[0] < 1e-9 for one in last)


def test_the_same_draw_gives_the_same_decoder(monkeypatch):
    one, other = (found(one_hot, monkeypatch)["iou"] for _ in range(2))
    assert np.array_equal(one, other)
