"""A trial: trained on its patients, chosen on others, tested once on others again, in 2D and 3D."""

import numpy as np
import pytest
import torch

from sg_hub.errors import InvalidInputError, ReadError
from tests.training.targets.target_folders import target_at
from tests.training.trials.small_trials import ORGANS, QUICK, SMALL, organs, trial_of
from training.targets import in_parts
from training.trials import training as training_module
from training.trials import trial as module
from training.trials.task.batches import Batches
from training.trials.task.item_arrays import ItemArrays


def test_organs_in_whole_scans(weights, tmp_path):
    target = organs(tmp_path)
    found = target.split_items()
    assert found.skipped["pt_998"] == "spinal_cord not drawn"
    assert "is not there" in found.skipped["pt_999"]
    trial = trial_of(target, tmp_path, weights / "small3d")
    assert [row["item"] for row in trial.test.by_item] == list(ORGANS[4:])
    assert set(trial.test.values) == {f"{m}{c}" for m in ("iou", "dice") for c in ("", " spinal_cord", " mandible")}
    assert trial.test.value == trial.test.values["iou"]
    assert [step for step, _, _ in trial.curve] == [1, 2]
    label = ItemArrays(target, tmp_path / "items")[found.items[0]][1]
    assert label.unique().tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", ["lidc-candidates", "lidc-malignancy", "lidc-nodules"])
def test_patches_in_3d(name, patches, weights, tmp_path):
    target = target_at(name, patches, *QUICK, *SMALL)
    trial = trial_of(target, tmp_path, weights / "small3d")
    test = in_parts(target.split_items().items)["test"]
    assert [row["item"] for row in trial.test.by_item] == [item.name for item in test]
    assert 0 <= trial.test.value <= 1
    if target.head == "classification":
        assert all(sum(row["probabilities"]) == pytest.approx(1, abs=1e-4) for row in trial.test.by_item)


@pytest.mark.parametrize("name", ["lidc-candidates-2d", "lidc-nodules-2d"])
def test_slices_of_patches_in_2d(name, patches, weights, tmp_path):
    target = target_at(name, patches, *QUICK, "grid.size=[32, 32, 8]", "crop=16")
    trial = trial_of(target, tmp_path, weights / "small2d")
    assert len(trial.test.by_item) == len(in_parts(target.split_items().items)["test"])
    with pytest.raises(InvalidInputError, match=r"takes a 2D network, and none of these is one: .*small3d"):
        trial_of(target, tmp_path, weights / "small3d")


def test_trials_are_the_same_again_and_differ_by_number(patches, weights, tmp_path):
    target = target_at("lidc-nodules", patches, *QUICK, *SMALL)
    first, again, other = (trial_of(target, tmp_path, weights / "small3d", trial) for trial in (0, 0, 1))
    assert first.curve == again.curve
    assert first.test.by_item == again.test.by_item
    assert first.curve != other.curve


def test_the_best_step_is_kept_and_the_test_part_read_once(patches, weights, tmp_path, monkeypatch):
    reached = iter([0.2, 0.9, 0.1])
    looked, states = [], []
    real = module.score

    def watched(network, task, items, **options):
        looked.append({item.split for item in items})
        states.append(network.state_dict()["segmentation.weight"].clone())
        scores = real(network, task, items, **options)
        scores.value = next(reached) if looked[-1] == {"validation"} else scores.value
        return scores

    monkeypatch.setattr(module, "score", watched)
    monkeypatch.setattr(training_module, "score", watched)
    target = target_at("lidc-nodules", patches, *QUICK, *SMALL, "settings.steps=3")
    trial = trial_of(target, tmp_path, weights / "small3d")
    assert looked == [{"validation"}, {"validation"}, {"validation"}, {"test"}]
    assert trial.best_step == 2
    assert torch.equal(states[3], states[1])
    assert not torch.equal(states[3], states[2])


def test_a_fraction_of_the_labels_leaves_validation_and_test_whole(patches, weights, tmp_path):
    target = target_at("lidc-candidates", patches, *QUICK, *SMALL)
    whole = in_parts(target.split_items().items)
    part = trial_of(target, tmp_path, weights / "small3d", fraction=0.25).parts
    assert part["test"] == whole["test"]
    assert part["validation"] == whole["validation"]
    assert len({item.patient for item in part["train"]}) == 3  # a quarter of 9 patients, none cut


def test_every_initialisation_sees_the_same_batches(patches, weights, tmp_path, monkeypatch):
    seen = []
    real = Batches.draw
    monkeypatch.setattr(Batches, "draw", lambda *a: seen.append(real(*a)) or seen[-1])
    target = target_at("lidc-nodules", patches, *QUICK, *SMALL)
    for init in (weights / "small3d", f"random:{weights / 'small3d'}"):
        trial_of(target, tmp_path, init)
    for step in range(2):
        assert torch.equal(seen[step][0], seen[2 + step][0])


def test_test_patients_that_were_pre_trained_on_are_refused(weights, tmp_path):
    target = organs(tmp_path, test=("pt_201", "pt_207"))
    for init in ("", "encoder:"):
        with pytest.raises(InvalidInputError, match=r"1 test patients .*openkbp/pt_201"):
            trial_of(target, tmp_path, f"{init}{weights / 'small3d'}")
    trial_of(target, tmp_path, f"random:{weights / 'small3d'}")  # no weights, no leak


def test_missing_data_are_named(weights, tmp_path):
    with pytest.raises(ReadError, match="not there"):
        trial_of(target_at("lidc-nodules", tmp_path / "nowhere"), tmp_path, weights / "small3d")


def test_a_small_network_learns_the_task(patches, weights, tmp_path):
    """The blobs of the fixture can be told apart by anything that learns at all."""
    quick = ('settings.precision="float32"', "settings.steps=60", "settings.validate_every=20", "settings.batch_size=8")
    for name, least in (("lidc-nodules", 0.7), ("lidc-candidates", 0.95)):
        target = target_at(name, patches, *quick, *SMALL, "settings.lr=0.02", "settings.shift=0")
        trial = trial_of(target, tmp_path, f"random:{weights / 'small3d'}")
        assert trial.test.value > least
        assert np.mean([loss for _, _, loss in trial.curve[-1:]]) < trial.curve[0][2]
