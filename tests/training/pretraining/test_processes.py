"""Training by several processes is training by one: the same parts of a batch, wherever they are computed."""

import os
import shutil
import signal

import numpy as np
import pytest
import torch

from tests.support.forked import run_ranks
from tests.training.conftest import small_recipe
from training.discovery.features import read_features
from training.pretraining import state
from training.pretraining.autoencode import autoencode
from training.pretraining.pretrain import pretrain
from training.run.folder.metrics import read_metrics
from training.run.recipe import Recipe

MORE = ("pretrain.samples_per_epoch=12", "pretrain.checkpoint_every=1", "pretrain.average=0.5", "pretrain.clip=0.5")
TWO_PARTS = ("pretrain.batch_parts=2", *MORE)


def train(recipe: Recipe) -> None:
    pretrain(recipe, device="cpu", progress=False)


def train_until_one_dies(recipe: Recipe, saves: int) -> None:
    """The second process is killed after so many checkpoints."""
    save = state.State.save
    done = []

    def save_and_die(self, metrics):
        save(self, metrics)
        done.append(1)
        if len(done) == saves and self.me.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    state.State.save = save_and_die
    train(recipe)


def curve(run):
    return [
        {key: value for key, value in row.items() if key != "cubes_per_second"}
        for row in read_metrics(run / "pretraining" / "metrics.jsonl")
    ]


def checkpoint(run):
    return torch.load(run / "pretraining" / "checkpoint.pt", weights_only=True)


def assert_same_training(run, expected, rtol=2e-4):
    """Loss curves, weights, their average and the optimiser's state, within rounding."""
    rows, others = curve(run), curve(expected)
    assert [row["stage"] for row in rows] == [row["stage"] for row in others]
    for row, other in zip(rows, others, strict=True):
        assert {k: v for k, v in row.items() if k != "stage"} == pytest.approx(
            {k: v for k, v in other.items() if k != "stage"}, rel=rtol, abs=1e-5
        )
    state, other = checkpoint(run), checkpoint(expected)
    # As a whole, and kernels alone: a gradient near 0 is rounding, of which Adam's first steps make whole ones, as is
    # every gradient of a bias before a norm. Other noise, or other statistics, change a kernel by some hundredths.
    for part in ("network", "average"):
        for key, kernel in other[part].items():
            if kernel.ndim > 1:
                assert torch.dist(state[part][key], kernel) < 0.01 * kernel.norm(), (part, key)
    assert state["optimizer"].keys() == other["optimizer"].keys()


@pytest.fixture(scope="module")
def alone(discovered, tmp_path_factory):
    """One process that computes the two parts of every batch one after the other."""
    run = shutil.copytree(discovered, tmp_path_factory.mktemp("alone") / "run")
    train(small_recipe(run, *TWO_PARTS))
    return run


def test_one_dies_the_other_says_so_and_one_process_goes_on(alone, run):
    (first, said), (second, _) = run_ranks(2, train_until_one_dies, small_recipe(run, *TWO_PARTS), 4)
    assert (first, second) == (1, -signal.SIGKILL)
    assert said.startswith("LostProcessError: process 1 of 2 stopped, for another one of this run ended")
    at = checkpoint(run)["at"]
    assert (at["epoch"], at["step"]) == (1, 1), "in the middle"
    train(small_recipe(run, *MORE))  # in as many parts as it was begun with, which need not be said
    assert_same_training(run, alone)


def test_a_sharded_network_trains_like_a_whole_one_and_goes_on_as_one(alone, run):
    short = small_recipe(run, *TWO_PARTS, "pretrain.epochs=1", "pretrain.picture_every=1", "pretrain.shard=true")
    assert [code for code, _ in run_ranks(2, train, short)] == [0, 0]
    assert (run / "pretraining" / "restorations.png").is_file()
    pretrain(small_recipe(run, *TWO_PARTS), progress=False)
    assert_same_training(run, alone)


def test_compiled_it_trains_alike(alone, run, monkeypatch):
    compiled = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled(self, backend="aot_eager"))
    train(small_recipe(run, *TWO_PARTS, "pretrain.compile=true"))
    assert_same_training(run, alone)


def encode(recipe: Recipe) -> None:
    autoencode(recipe, device="cpu", progress=False)


def test_the_autoencoder_and_its_features(run):
    """Three processes, so that scans and batches of validation are not shared evenly."""
    parts = ("autoencode.batch_size=3", "pretrain.batch_parts=3")
    features = {}
    for world in (1, 3):
        shutil.rmtree(run / "autoencoder")
        assert [code for code, _ in run_ranks(world, encode, small_recipe(run, *parts))] == [0] * world
        features[world] = read_features(run / "autoencoder" / "features.npz")["features"]
    np.testing.assert_allclose(features[3], features[1], rtol=1e-2, atol=1e-4)
    assert len(read_metrics(run / "autoencoder" / "metrics.jsonl")) == 1
