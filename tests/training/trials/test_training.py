"""The training of a trial: its loss, and what stops it."""

import os
import signal

import pytest
import torch

from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.signals import Terminated
from tests.training.targets.target_folders import target_at
from tests.training.trials.small_trials import QUICK, SMALL, trial_of
from training.run.folder.checkpoint import read_checkpoint, save_checkpoint
from training.targets.sections import Settings
from training.trials.training import Training, alone, dice_cross_entropy, rate_at


@pytest.mark.parametrize("spatial", [(2, 2, 2), (4, 4)])
def test_loss_on_known_masks(spatial):
    labels = torch.zeros(1, *spatial, dtype=torch.long)
    labels[0, 0] = 1
    right = torch.nn.functional.one_hot(labels, 2).movedim(-1, 1).float() * 40
    assert float(dice_cross_entropy(right, labels)) < 1e-4
    assert float(dice_cross_entropy(-right, labels)) > 10


def test_a_loss_that_is_no_number_ends_the_trial(patches, weights, tmp_path):
    target = target_at("lidc-nodules", patches, *QUICK, *SMALL, "settings.steps=6", "settings.lr=1e18")
    with pytest.raises(InvalidInputError, match=r"smaller settings\.lr"):
        trial_of(target, tmp_path, weights / "small3d")


# -- schedules ---------------------------------------------------------------------------------------------------------


def test_the_rate_rises_and_falls_to_0():
    settings = Settings(steps=100, warmup=0.1)
    rates = [rate_at(step, settings) for step in range(100)]
    assert rates[:10] == pytest.approx([(k + 1) / 10 * (1 - k / 100) ** 0.9 for k in range(10)])
    assert rates[50] == 0.5**0.9
    assert rates[9] > rates[99] > 0 == rate_at(100, settings)


def test_head_first_the_rate_stays_up_and_then_begins_anew():
    settings = Settings(steps=100, warmup=0.1, head_first=0.3)
    rates = [rate_at(step, settings) for step in range(100)]
    assert alone(settings) == 30
    assert rates[9:30] == [1.0] * 21
    assert rates[30] == pytest.approx(0.1)
    assert rates[40] == pytest.approx((1 - 10 / 70) ** 0.9)
    assert rate_at(100, settings) == 0


def test_head_first_the_encoder_is_frozen_and_then_it_is_not(patches, weights, tmp_path, monkeypatch):
    kept, real = [], Training.step

    def watched(self):
        kept.append({key: value.clone() for key, value in self.network.named_parameters()})
        return real(self)

    monkeypatch.setattr(Training, "step", watched)
    more = ("settings.steps=4", "settings.head_first=0.5", "settings.keep=last")
    trial_of(target_at("lidc-nodules", patches, *QUICK, *SMALL, *more), tmp_path, weights / "small3d")
    moved = [{key for key in kept[0] if not torch.equal(kept[n][key], kept[n + 1][key])} for n in range(3)]
    assert all("segmentation.weight" in names for names in moved)
    assert [any(key.startswith("encoder.") for key in names) for names in moved] == [False, False, True]
    assert any(key.startswith("decoder.") for key in moved[0])


def test_the_last_weights_are_kept_where_that_is_asked_for(patches, weights, tmp_path, monkeypatch):
    reached = iter([0.9, 0.1])
    real = Training.validate

    def watched(self):
        monkeypatch.setattr("training.trials.training.score", lambda *a: type("Scores", (), {"value": next(reached)}))
        return real(self)

    monkeypatch.setattr(Training, "validate", watched)
    target = target_at("lidc-nodules", patches, *QUICK, *SMALL, "settings.keep=last")
    assert trial_of(target, tmp_path, weights / "small3d").best_step == 2


# -- a training that is stopped ----------------------------------------------------------------------------------------

FOUR = ("settings.steps=4", "settings.validate_every=2")


class Killed(Exception):
    """What nothing catches."""


def stop_at(monkeypatch, step, how):
    """Let the training be stopped after a step."""
    real = Training.step

    def stopped(self):
        value = real(self)
        if self.progress.step == step:
            how()
        return value

    monkeypatch.setattr(Training, "step", stopped)


def kill():
    raise Killed


@pytest.mark.parametrize(
    ("step", "how", "raised", "goes_on_after"),
    [
        (3, kill, Killed, 2),  # of the last validation
        (1, lambda: os.kill(os.getpid(), signal.SIGTERM), Terminated, 1),
        (3, lambda: os.kill(os.getpid(), signal.SIGINT), KeyboardInterrupt, 3),
    ],
)
def test_a_stopped_training_ends_in_the_same_weights(
    patches, weights, tmp_path, monkeypatch, capsys, step, how, raised, goes_on_after
):
    target = target_at("lidc-nodules", patches, *QUICK, *SMALL, *FOUR)
    init, kept = weights / "small3d", tmp_path / "kept.pt"
    whole = trial_of(target, tmp_path, init)
    with monkeypatch.context() as patch:
        stop_at(patch, step, how)
        with pytest.raises(raised):
            trial_of(target, tmp_path, init, checkpoint=kept)
    capsys.readouterr()
    again = trial_of(target, tmp_path, init, checkpoint=kept)
    assert f"goes on after step {goes_on_after}" in capsys.readouterr().out
    assert again.curve == whole.curve
    assert (again.best_step, again.test.by_item) == (whole.best_step, whole.test.by_item)
    for key, value in whole.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[key])


def test_what_a_trial_took_before_it_was_stopped_counts(patches, weights, tmp_path, monkeypatch):
    target = target_at("lidc-nodules", patches, *QUICK, *SMALL, *FOUR)
    kept = tmp_path / "kept.pt"
    with monkeypatch.context() as patch:
        stop_at(patch, 3, kill)
        with pytest.raises(Killed):
            trial_of(target, tmp_path, weights / "small3d", checkpoint=kept)
    state = read_checkpoint(kept)
    assert state["progress"]["spent"] > state["progress"]["seconds"]
    state["progress"]["spent"] = 1e6
    save_checkpoint(kept, state)
    assert trial_of(target, tmp_path, weights / "small3d", checkpoint=kept).minutes > 1e6 / 60
    del state["progress"]["spent"]  # written by code that did not count it yet
    save_checkpoint(kept, state)
    assert trial_of(target, tmp_path, weights / "small3d", checkpoint=kept).minutes > 0


def test_a_checkpoint_of_another_trial_is_refused(patches, weights, tmp_path):
    target, kept = target_at("lidc-nodules", patches, *QUICK, *SMALL), tmp_path / "kept.pt"
    trial_of(target, tmp_path, weights / "small3d", checkpoint=kept)
    with pytest.raises(ReadError, match="was written with another recipe or other data"):
        trial_of(target, tmp_path, weights / "small3d", number=1, checkpoint=kept)
