"""What a network does on some items: absent classes are in no mean, doubtful references are scored apart."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.training.targets.target_folders import target_at
from tests.training.trials.small_trials import ORGANS, QUICK, SMALL, organs, task_of, trial_of
from training.targets import Item, in_parts
from training.trials import scoring as module
from training.trials.class_metrics import auc_table
from training.trials.scoring import score


def scored(monkeypatch, task, predictions, **options):
    """The scores of the test part, had the network given these predictions, by item."""
    items = in_parts(task.items)["test"]
    monkeypatch.setattr(module, "predict", lambda network, task, items: ((item, predictions(item)) for item in items))
    return score(None, task, items, **options)


def test_a_network_that_draws_nothing_scores_nothing(patches, tmp_path, monkeypatch):
    """Half of the nodules are taken away: what is not there and not found is no success."""
    task = task_of(target_at("lidc-nodules", patches, *QUICK, *SMALL), tmp_path)
    items = in_parts(task.items)["test"]
    for item in items[::2]:
        image, label = task.arrays[item]
        task.arrays._held[item.name] = (image, torch.zeros_like(label))
    nothing = scored(monkeypatch, task, lambda item: np.zeros((16, 16, 8), dtype=np.uint8))
    assert nothing.value == 0
    assert nothing.absent == {"nodule": len(items[::2])}
    assert [row["iou"] for row in nothing.by_item[::2]] == [[None]] * len(items[::2])
    right = scored(monkeypatch, task, lambda item: task.arrays[item][1].numpy())
    assert (right.value, right.values["dice"]) == (1, 1)
    everywhere = scored(monkeypatch, task, lambda item: np.ones((16, 16, 8), dtype=np.uint8))
    assert everywhere.absent == {}
    assert 0 < everywhere.value < 0.5  # false alarms count 0


def test_the_mean_is_over_the_items_of_each_class_then_over_the_classes(tmp_path, monkeypatch):
    task = task_of(organs(tmp_path), tmp_path)
    first, second = in_parts(task.items)["test"]
    for item in (first, second):
        image, label = task.arrays[item]
        task.arrays._held[item.name] = (image, label.clone())
    task.arrays[second][1][task.arrays[second][1] == 2] = 0  # no mandible

    def found(item):
        label = task.arrays[item][1].numpy().copy()
        return np.where(label == 1, 0, label) if item is second else label  # all right, but for the second cord

    scores = scored(monkeypatch, task, found)
    assert scores.values["iou spinal_cord"] == 0.5
    assert scores.values["iou mandible"] == 1
    assert scores.value == 0.75
    assert scores.absent == {"mandible": 1}


def test_surfaces_and_centres_are_measured_in_mm(tmp_path, monkeypatch):
    task = task_of(organs(tmp_path), tmp_path)
    assert task.target.voxel == task.target.grid.spacing
    across = task.target.voxel[0]

    def found(item):
        label = task.arrays[item][1].numpy()
        moved = np.roll(np.where(label == 1, 1, 0), 1, 0)  # the cord by a voxel, the mandible in one item
        return np.where(label == 2, 2, moved) if item is items[0] else moved

    items = in_parts(task.items)["test"]
    scores = scored(monkeypatch, task, found, in_mm=True)
    assert scores.in_mm["centre error spinal_cord"] == pytest.approx(across, rel=0.2), "but for what rolls out"
    assert scores.in_mm["centre error mandible"] == 0, "where it was found"
    assert scores.in_mm["surface dice mandible"] == 0.5
    assert scores.in_mm["surface dice"] == pytest.approx((scores.in_mm["surface dice spinal_cord"] + 0.5) / 2)
    assert scores.by_item[1]["centre error"][1] is None
    assert scores.by_item[1]["surface dice"][1] == 0
    assert scored(monkeypatch, task, found).in_mm == {}, "of the validation part nothing is asked"


def test_the_time_of_a_prediction_is_without_the_scoring(tmp_path, monkeypatch):
    task = task_of(organs(tmp_path), tmp_path)
    clock = iter(range(100))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    measured, asked = module.measured_in_mm, []
    monkeypatch.setattr(
        module, "measured_in_mm", lambda *given: (asked.append(module.time.monotonic()), measured(*given))[1]
    )
    scores = scored(monkeypatch, task, lambda item: task.arrays[item][1].numpy(), in_mm=True)
    assert len(asked) == 2
    assert scores.seconds == 3, "two items and the end, a tick each: those of the scoring are not counted"


def test_voxels_of_patches_are_not_known(patches, tmp_path, monkeypatch):
    task = task_of(target_at("lidc-nodules", patches, *QUICK, *SMALL), tmp_path)
    assert task.target.voxel is None
    assert scored(monkeypatch, task, lambda item: task.arrays[item][1].numpy(), in_mm=True).in_mm == {}


def test_doubtful_references_are_scored_apart(weights, tmp_path):
    doubtful = f'doubtful={{ {ORGANS[5]} = "drawn too large", pt_215 = "as well" }}'
    trial = trial_of(organs(tmp_path, doubtful), tmp_path, f"random:{weights / 'small3d'}")
    record = trial.record()["doubtful"]
    assert record["items"] == {ORGANS[5]: "drawn too large"}
    (sure,) = (row for row in trial.test.by_item if row["item"] == ORGANS[4])
    assert record["values"]["iou"] == pytest.approx(np.mean(sure["iou"]))
    assert trial.test.value != record["values"]["iou"]
    (tmp_path / "again").mkdir()
    whole = trial_of(organs(tmp_path / "again", "doubtful={}"), tmp_path, f"random:{weights / 'small3d'}")
    assert "doubtful" not in whole.record()
    assert whole.test.values == trial.test.values


def test_doubtful_labels_are_left_out_of_an_auc(patches, tmp_path, monkeypatch):
    target = target_at("lidc-candidates", patches, *QUICK, *SMALL)
    doubtful = in_parts(target.split_items().items)["test"][0].name
    target = target.model_copy(update={"doubtful": {doubtful: "the reader was not sure"}})

    def found(item):  # right, but for the one that is labelled wrongly
        nodule = 0.9 if item.label == 1 else 0.1
        nodule = 1 - nodule if item.name == doubtful else nodule
        return np.array([1 - nodule, nodule])

    scores = scored(monkeypatch, task_of(target, tmp_path), found)
    assert scores.value < 1
    assert scores.without_doubtful == {"auc": 1}


def classified(monkeypatch, labels, found, classes, scored):
    """The scores of items of exclusive classes, had the network given these probabilities, and the task."""
    items = [Item(f"{number}", f"{number}", "", label, split="test") for number, label in enumerate(labels)]
    target = target_at("lidc-malignancy", "nowhere").model_copy(update={"classes": classes})
    arrays = {item: (None, torch.tensor(item.label)) for item in items}
    monkeypatch.setattr(module, "predict", lambda network, task, items: zip(items, found, strict=True))
    return score(None, SimpleNamespace(target=target, arrays=arrays, scored=scored), items), target


def test_a_class_that_is_in_no_mean_is_said_where_classes_exclude_each_other(monkeypatch):
    found = np.eye(3)[[0, 1, 2, 0, 1, 2]]
    scores, _ = classified(monkeypatch, [0, 1, 2, 0, 1, 2], found, ("a", "b", "c"), ("a", "b"))
    assert ({*scores.values}, scores.left_out) == ({"auc", "auc a", "auc b"}, ["c"])
    scores, _ = classified(monkeypatch, [0, 1], np.eye(2), ("a", "b"), ("b",))
    assert scores.left_out == []


def test_probabilities_are_kept_as_they_rank(monkeypatch):
    """The table of the classes is made of what is kept, and says what was measured."""
    ill = np.array([1e-6, 2e-6, 3e-6, 4e-6, 1 - 3e-7, 1 - 2e-7, 1 - 1e-7, 1], np.float32)
    found = np.stack([1 - ill, ill], 1)
    scores, target = classified(monkeypatch, [0, 0, 1, 1, 0, 0, 1, 1], found, ("benign", "malignant"), ("malignant",))
    kept = [row["probabilities"][1] for row in scores.by_item]
    assert kept == sorted({*kept})
    assert scores.value == 0.75
    assert auc_table(target, scores.by_item).splitlines()[2] == "malignant,8,4,0.75"
