import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sg_hub.errors import InvalidInputError
from sg_hub.signals import Terminated
from tests.training.conftest import small_recipe
from training.data.store import Store
from training.discovery.features import load_features, read_features
from training.pretraining.autoencode import autoencode
from training.pretraining.loop import Trainer
from training.run.folder.metrics import read_metrics

LONGER = ("autoencode.epochs=3", "pretrain.checkpoint_every=1")


def everything(folder):
    """Features, weights and metrics (but for the speed) of an autoencoder."""
    rows = [{k: v for k, v in row.items() if k != "cubes_per_second"} for row in read_metrics(folder / "metrics.jsonl")]
    return read_features(folder / "features.npz")["features"], load_file(folder / "model" / "model.safetensors"), rows


def test_features_are_of_every_patient_and_are_not_made_twice(run):
    recipe = small_recipe(run)
    store = Store.open(run / "store.zarr")
    features = load_features(recipe, store)
    assert features.shape == (12, 32)
    assert len({tuple(row) for row in features.round(6)}) == 12
    done = run / "autoencoder" / "features.npz"
    before = done.stat().st_mtime_ns
    autoencode(recipe, progress=False)
    assert done.stat().st_mtime_ns == before
    autoencode(small_recipe(run, "autoencode.epochs=2"), progress=False)
    assert done.stat().st_mtime_ns != before
    record = json.loads((run / "autoencode.json").read_text(encoding="utf-8"))
    assert record["patients"] == 10
    assert record["recipe"]["method"]["name"] == "restoration", "the run's own method, not that of this step"
    kept = {path.name for path in (run / "autoencoder").iterdir()}
    assert kept == {
        "features.npz",
        "metrics.jsonl",
        "reconstructions.png",
        "curves.png",
        "model",
        "network.safetensors",
    }


def test_a_record_that_a_kill_prevented_is_written(run):
    (run / "autoencode.json").unlink()
    autoencode(small_recipe(run), progress=False)
    assert (run / "autoencode.json").is_file()


@pytest.fixture(scope="module")
def never_ended(discovered, tmp_path_factory):
    """What the longer training gives undisturbed."""
    run = Path(shutil.copytree(discovered, tmp_path_factory.mktemp("whole") / "run"))
    autoencode(small_recipe(run, *LONGER), progress=False)
    return everything(run / "autoencoder")


class Killed(BaseException):
    pass


@pytest.mark.parametrize("at", [1, 2, 5], ids=lambda at: f"after {at} steps")
@pytest.mark.parametrize("how", ["killed", "terminated"])
def test_ended_and_started_again_gives_the_same_features_bit_for_bit(run, never_ended, monkeypatch, at, how):
    recipe, expected = small_recipe(run, *LONGER), never_ended
    shutil.rmtree(run / "autoencoder")
    steps, step = [], Trainer.step

    def ended(self, *arguments):
        steps.append(1)
        if len(steps) == at + 1:
            if how == "killed":
                raise Killed
            os.kill(os.getpid(), signal.SIGTERM)  # the step is done, then a checkpoint is written
        return step(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", ended)
        with pytest.raises(Killed if how == "killed" else Terminated):
            autoencode(recipe, progress=False)
    assert not (run / "autoencoder" / "features.npz").exists()
    assert (run / "autoencoder" / "checkpoint.pt").is_file()
    steps.clear()
    autoencode(recipe, progress=False)
    features, state, rows = everything(run / "autoencoder")
    np.testing.assert_array_equal(features, expected[0])
    assert all(torch.equal(state[key], expected[1][key]) for key in expected[1])
    assert rows == expected[2]


def test_one_that_diverges_leaves_no_features(run):
    before = (run / "autoencoder" / "features.npz").read_bytes()
    recipe = small_recipe(run, "autoencode.lr=1e30", "autoencode.epochs=3")
    with pytest.raises(
        InvalidInputError, match=r"epoch \d.* no finite number: training diverged; lower autoencode\.lr"
    ):
        autoencode(recipe, progress=False)
    assert (run / "autoencoder" / "features.npz").read_bytes() == before
