from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sg_hub import InvalidInputError
from training.targets.items import Item
from training.trials.task.metrics import auc_by_class
from training.worth.measures.classification import LINEAR, NEAREST, SUBSETS, classified

CPU = torch.device("cpu")
NETWORK = SimpleNamespace(encoder=lambda x: [x, F.avg_pool3d(x, 2)])
CONFUSED = SimpleNamespace(encoder=lambda x: [torch.zeros_like(x)])


def data_of(labels, shift=1.0, **target):
    """A third of the items each for training, validation and test; how bright an item is says its label."""
    rng = np.random.default_rng(0)
    items = [Item(f"item{number}", f"patient{number}", "", label) for number, label in enumerate(labels)]
    arrays = {
        item: (torch.from_numpy(rng.random((1, 8, 8, 8))).float() + shift * float(np.sum(item.label)), None)
        for item in items
    }
    third = len(items) // 3
    parts = {"train": items[:third], "validation": items[third : 2 * third], "test": items[2 * third :]}
    of = {"name": "t", "classes": ("a", "b"), "exclusive": True} | target
    return SimpleNamespace(target=SimpleNamespace(**of), arrays=arrays, parts=parts, scored=tuple(of["classes"]))


def areas(data, network=NETWORK):
    classes, found = classified(data, network, data.parts["test"], CPU, progress=False)
    assert {what: values.shape for what, values in found.items()} == {
        NEAREST: (1, len(data.parts["test"]), len(classes)),
        LINEAR: (SUBSETS, len(data.parts["test"]), len(classes)),
    }
    return classes, {what: values.mean((0, 1)).round(9).tolist() for what, values in found.items()}


def test_features_that_say_the_class_and_features_that_say_nothing():
    data = data_of([number % 2 for number in range(36)])
    assert areas(data) == (["b"], {NEAREST: [1], LINEAR: [1]})
    assert areas(data, CONFUSED) == (["b"], {NEAREST: [0.5], LINEAR: [0.5]})


def test_more_classes_and_findings_that_do_not_exclude_each_other():
    data = data_of([number % 3 for number in range(90)], classes=("a", "b", "c"))
    classes, found = areas(data)
    assert classes == ["a", "b", "c"]
    assert min(found[NEAREST]) > 0.8  # the class in the middle is hard to tell
    assert min(found[LINEAR][::2]) > 0.95
    data = data_of([(number % 2, 0, int(number % 5 == 0)) for number in range(90)], 1.0, exclusive=False, classes="abc")
    assert areas(data)[0] == ["a", "c"]
    assert all(value > 0.7 for values in areas(data)[1].values() for value in values)


def test_classes_that_the_trials_score_and_that_are_there():
    data = data_of(
        [(number % 2, int(number > 2), int(number % 5 == 0)) for number in range(60)], exclusive=False, classes="abc"
    )
    assert areas(data)[0] == ["a", "c"]
    data.scored = ("a", "b")
    assert areas(data)[0] == ["a"]
    data.scored = ("b",)
    with pytest.raises(InvalidInputError, match="20 test items have no positive, or no negative, of b: take more"):
        areas(data)


def test_no_validation_patients_and_draws_of_one_label():
    data = data_of([number % 2 for number in range(36)])
    data.parts["validation"] = []
    assert areas(data)[1][LINEAR] == [1]
    data.parts["train"] = [item for item in data.parts["train"] if item.label]
    assert areas(data)[1] == {NEAREST: [0.5], LINEAR: [0.5]}
    labels = np.array([item.label for item in data.parts["test"]])
    assert auc_by_class(np.zeros((12, 2)), labels, ("a", "b"), True, ["b"]) == {"b": 0.5}
