"""TransVW: what it shares with Semantic Genesis, and what differs."""

import json

import pytest
import torch

from sg_hub import from_pretrained
from sg_hub.errors import InvalidInputError
from tests.training.conftest import small_images, small_recipe
from tests.training.transforms.random_cubes import cubes, seeded
from training import transforms
from training.data.prepare import prepare
from training.discovery.discover import discover
from training.methods.protocol import Batch
from training.methods.registry import build, method_of
from training.pretraining.autoencode import autoencode
from training.pretraining.evaluate import evaluate
from training.pretraining.pretrain import pretrain
from training.run.folder.metrics import read_metrics

SECTION = 'method={ name = "transvw" }'


def test_words_are_disturbed_as_in_models_genesis_and_classified():
    method, batch = build({"name": "transvw"}), Batch(cubes(4, 1, 16, 16, 8), torch.tensor([1, 0, 2, 1]))
    views = method.views(batch, seeded(5))
    corrupted, target = transforms.models_genesis(batch.cubes, seeded(5))
    assert torch.equal(views.inputs[0], corrupted)
    assert torch.equal(views.targets["restoration"], target)
    assert torch.equal(views.targets["pattern"], batch.labels)
    assert method.needs == "patterns"
    outputs = {"restoration": corrupted, "pattern_logits": torch.zeros(4, 3)}
    losses = method.losses(outputs, views.targets)
    torch.testing.assert_close(losses["loss"], losses["mse"] + 0.01 * losses["cross_entropy"])


def test_both_branches_train_from_the_start(run):
    recipe = small_recipe(run, SECTION, "pretrain.epochs=8")  # what is drawn differs from epoch to epoch
    model = from_pretrained(pretrain(recipe, progress=False))
    assert (model.head_name, model.num_classes) == ("pretext", 3)
    rows = read_metrics(run / "pretraining" / "metrics.jsonl")
    assert [row["stage"] for row in rows] == ["joint"] * 8
    losses = [row["loss"] for row in rows]
    assert sum(losses[4:]) < sum(losses[:4])
    assert {"mse", "cross_entropy", "validation_top1"} <= rows[0].keys()
    found = json.loads(evaluate(recipe, progress=False).read_text(encoding="utf-8"))
    assert {"top1", "top1_corrupted", "mse", "mse_corrupted"} <= found.keys()
    method = method_of(recipe)
    assert (method.name, method.title) == ("transvw", "transferable visual words")
    assert "Transferable Visual Words" in method.source
    assert [result.metric for result in method.results(found)] == ["accuracy", "accuracy", "mse"]


def test_as_semantic_genesis_has_it(tmp_path):
    settings = {"transforms": "one", "classification_epochs": 2, "elastic": (65.0, 4.0)}
    method = build({"name": "transvw"} | settings)
    genesis = build({"name": "restoration", "semantics": True} | settings)
    assert method.stages(5) == genesis.stages(5)
    batch = Batch(cubes(4, 1, 16, 16, 8), torch.tensor([1, 0, 2, 1]))
    ours, theirs = (each.views(batch, seeded()) for each in (method, genesis))
    assert torch.equal(ours.inputs[0], theirs.inputs[0])
    assert ours.targets.keys() == theirs.targets.keys()


def test_patterns_are_not_added_twice():
    with pytest.raises(InvalidInputError, match="transvw has patterns already"):
        build({"name": "transvw", "semantics": True})


def test_images(tmp_path):
    recipe = small_images(tmp_path / "run", SECTION, "pretrain.epochs=1")
    for step in (prepare, autoencode, discover, pretrain, evaluate):
        step(recipe, progress=False)
    assert (tmp_path / "run" / "restorations.png").stat().st_size > 5000
