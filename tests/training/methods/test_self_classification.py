import json

import torch

from sg_hub import from_pretrained
from tests.training.conftest import small_recipe
from training.methods.protocol import Batch
from training.methods.registry import method_of
from training.pretraining.evaluate import evaluate
from training.pretraining.pretrain import pretrain
from training.pretraining.show_transforms import show_transforms
from training.run.folder.metrics import read_metrics


def test_the_patterns_alone(run):
    recipe = small_recipe(run, "method={ name = 'self_classification', elastic = [65.0, 4.0] }")
    model = from_pretrained(pretrain(recipe, progress=False))
    assert (model.head_name, model.num_classes) == ("classification", 3)
    assert not hasattr(model, "decoder")
    row = read_metrics(run / "pretraining" / "metrics.jsonl")[-1]
    assert row["loss"] == row["cross_entropy"]
    assert "validation_top1" in row
    found = json.loads(evaluate(recipe, progress=False).read_text(encoding="utf-8"))
    assert found["patterns"] == 3
    assert {"top1", "top1_corrupted"} <= found.keys()
    assert len(method_of(recipe).results(found)) == 2
    assert show_transforms(recipe).is_file()


def test_cubes_are_corrupted_as_in_the_first_stage_of_semantic_genesis(run):
    alone = method_of(small_recipe(run, "method={ name = 'self_classification', elastic = [65.0, 4.0] }"))
    both = method_of(small_recipe(run, "method.shuffle_windows=5"))
    batch = Batch(torch.rand(4, 1, 16, 16, 8), torch.tensor([0, 1, 2, 1]))
    views = [method.views(batch, torch.Generator().manual_seed(1)) for method in (alone, both)]
    assert torch.equal(views[0].inputs[0], views[1].inputs[0])
    assert torch.equal(views[0].targets["pattern"], views[1].targets["pattern"])
