import numpy as np
import torch.nn.functional as F

from tests.training.worth.known import data_of, labelled, maps_of, texture
from training.worth.measures import probes

LABELS = [labelled(corner) for corner in ((4, 8, 4), (7, 6, 6), (2, 3, 2), (5, 9, 7), (9, 2, 5))]


def found(features, monkeypatch):
    """Of each measure, (draws, test items, classes)."""
    monkeypatch.setattr(probes, "SUBSETS", 2)
    data = data_of(LABELS, train=4)
    maps = {item: maps_of(features(label)) for item, (_, label) in data.arrays.items()}
    return probes.linear_probe(data, maps, ["encoder 0"], data.parts["test"], "", progress=False)


def test_features_that_are_the_classes_are_read_without_an_error(monkeypatch):
    values = found(lambda label: F.one_hot(label.long(), 3).movedim(-1, 0).float(), monkeypatch)
    assert values["iou"].shape == (2, 1, 2)
    assert (values["iou"] == 1).all()
    assert (values["surface dice"] == 1).all()
    assert (values["centre error"] == 0).all()


def test_features_that_say_nothing_find_nothing(monkeypatch):
    seeds = iter(range(100))
    values = found(lambda label: texture(next(seeds)), monkeypatch)
    assert values["iou"].max() < 0.1


def test_labelled_patients_without_a_class_find_background_alone():
    probe = probes.fit([(np.ones((5, 2)), np.zeros(5, dtype=int), 1.0)], 3)
    assert (np.ones((1, 2)) @ probe.weight.T + probe.bias).argmax() == 0
