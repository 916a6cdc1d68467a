import json

import numpy as np
import pytest
import torch
from PIL import Image

from sg_hub import from_pretrained
from sg_hub.errors import InvalidInputError
from tests.training.conftest import small_recipe
from training.methods.protocol import Batch
from training.methods.registry import build, method_of
from training.pretraining.evaluate import evaluate
from training.pretraining.inputs import open_inputs
from training.pretraining.pretrain import pretrain
from training.run.processes.process_group import Process

ALONE = Process(0, 1, torch.device("cpu"))


def test_everything_goes_through_the_deepest_map(run):
    """With skip connections the finest map would reach the output past the latent code."""
    recipe = small_recipe(run, 'method={ name = "autoencoder" }')
    method = method_of(recipe)
    network = method.network(open_inputs(recipe, method, ALONE).blueprint(recipe)).eval()
    x = torch.rand(2, 1, 16, 16, 8)
    features = network.encode(x)
    restored = network.decode(features, x)["restoration"]
    assert restored.shape == x.shape
    others = [torch.zeros_like(f) for f in features[:-1]]
    assert torch.equal(network.decode([*others, features[-1]], x)["restoration"], restored)


@pytest.mark.parametrize(("shape", "axis"), [((40, 1, 8, 8, 4), 2), ((40, 1, 8, 8), -1)])
def test_half_of_the_cubes_are_mirrored_left_and_right(shape, axis):
    method, batch = build({"name": "autoencoder"}), Batch(torch.rand(*shape))
    views = method.views(batch, torch.Generator().manual_seed(0))
    assert views.inputs[0] is views.targets["restoration"]
    mirrored = [torch.equal(x, y.flip(axis - (axis > 0))) for x, y in zip(views.inputs[0], batch.cubes, strict=True)]
    same = [torch.equal(x, y) for x, y in zip(views.inputs[0], batch.cubes, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 10 < sum(mirrored) < 30
    assert torch.equal(method.views(batch, torch.Generator(), "clean").inputs[0], batch.cubes)


def test_whole_scans_have_no_patterns():
    with pytest.raises(InvalidInputError, match="whole = true with semantics = true: patterns are of patches"):
        build({"name": "autoencoder", "whole": True, "semantics": True})
    assert build({"name": "autoencoder", "semantics": True}).needs == "patterns"


def test_as_a_method_of_pre_training_its_encoder_is_published(run):
    recipe = small_recipe(run, 'method={ name = "autoencoder" }', "pretrain.samples_per_epoch=8")
    model = from_pretrained(pretrain(recipe, progress=False), head="segmentation", num_classes=2)
    assert all(key.startswith(("decoder.", "segmentation.")) for key in model.load_report.reset)
    assert len(np.unique(np.asarray(Image.open(run / "pretraining" / "reconstructions.png").convert("L")))) > 20
    found = json.loads(evaluate(recipe, progress=False).read_text(encoding="utf-8"))
    assert 0 < found["mse"] < 1
