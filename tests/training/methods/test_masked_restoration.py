"""Masked restoration: what is masked is seen by nobody, and asked for alone."""

import json

import pytest
import torch
from torch import nn

from sg_hub import from_pretrained
from sg_hub.errors import InvalidInputError
from sg_hub.models.unet import UNetEncoder
from tests.training.conftest import small_images, small_recipe
from tests.training.transforms.random_cubes import cubes, seeded
from training.data.prepare import prepare
from training.methods.masked_restoration import visible_alone
from training.methods.protocol import Batch
from training.methods.registry import build, method_of
from training.pretraining.evaluate import evaluate
from training.pretraining.inputs import open_inputs
from training.pretraining.loop import Trainer
from training.pretraining.pretrain import pretrain
from training.run.folder.metrics import read_metrics
from training.run.processes.process_group import Process
from training.transforms.blocks import visible_blocks

ALONE = Process(0, 1, torch.device("cpu"))
NAME = {"name": "masked_restoration"}


@pytest.mark.parametrize(("shape", "block"), [((32, 32, 16), 8), ((32, 32, 16), 16), ((64, 96), 32)])
def test_blocks_are_masked(shape, block):
    batch = Batch(cubes(6, 1, *shape) + 0.1)
    views = build(NAME | {"block": block}).views(batch, seeded())
    seen, _ = views.inputs
    masked = views.targets["masked"].expand_as(seen) > 0
    assert (seen[masked] == 0).all()
    assert torch.equal(seen[~masked], batch.cubes[~masked])
    torch.testing.assert_close(masked.float().mean(), torch.tensor(0.6), atol=0.11, rtol=0)
    for axis in range(2, seen.ndim):
        changes = (masked.diff(dim=axis) != 0).movedim(axis, 0).flatten(1).any(1).nonzero() + 1
        assert (changes % block == 0).all(), "at the edges of blocks alone"
    default = build(NAME).views(batch, seeded()).inputs[0]
    assert torch.equal(default, seen) == (block != 16), "as large as a voxel of the deepest map"


def network_of(run, *overrides):
    recipe = small_recipe(run, 'method={ name = "masked_restoration" }', "pretrain.size=[16, 16, 16]", *overrides)
    method = method_of(recipe)
    return method, method.network(open_inputs(recipe, method, ALONE).blueprint(recipe))


def test_statistics_of_masked_voxels_are_refused(run):
    with pytest.raises(InvalidInputError, match=r"InstanceNorm3d for masked_restoration: expected batch normalisation"):
        network_of(run, 'model.norm="instance"')


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_what_is_masked_has_no_influence(run, mode):
    method, network = network_of(run)
    getattr(network, mode)()
    one = Batch(cubes(4, 1, 16, 16, 16))
    views = method.views(one, seeded(1))
    other = Batch(torch.where(views.targets["masked"] > 0, cubes(4, 1, 16, 16, 16, seed=99), one.cubes))
    changed = method.views(other, seeded(1))
    outputs = [network(method.name, *each.inputs)["restoration"] for each in (views, changed)]
    assert torch.equal(*outputs)
    visible = views.inputs[0].clone()
    visible[views.targets["masked"] == 0] += 0.1
    assert not torch.equal(network(method.name, visible, views.inputs[1])["restoration"], outputs[0])


def test_the_loss_is_of_masked_voxels_alone():
    method, batch = build(NAME), Batch(cubes(3, 1, 32, 32, 16))
    views = method.views(batch, seeded())
    masked = views.targets["masked"] > 0
    wrong = torch.rand_like(batch.cubes)
    outside = torch.where(masked, batch.cubes, wrong)
    assert method.losses({"restoration": outside}, views.targets)["loss"] == 0
    found = method.losses({"restoration": wrong.bfloat16()}, views.targets)
    expected = (wrong.bfloat16().float() - batch.cubes).square()[masked].mean()
    torch.testing.assert_close(found["loss"], expected)
    scores = method.scores({"restoration": wrong}, views)
    means = torch.stack([cube[~hidden].mean() for cube, hidden in zip(batch.cubes, masked, strict=True)])
    guess = means.view(3, 1, 1, 1, 1).expand_as(batch.cubes)
    expected = torch.stack([(g - c)[m].square().mean() for g, c, m in zip(guess, batch.cubes, masked, strict=True)])
    torch.testing.assert_close(scores["mse_corrupted"], expected)
    shown = method.finished(wrong, views)
    assert torch.equal(shown[~masked], batch.cubes[~masked])
    assert torch.equal(shown[masked], wrong[masked])


def test_normalised_blocks():
    method = build(NAME | {"normalised": True})
    batch = Batch(cubes(3, 1, 32, 32, 16))
    views = method.views(batch, seeded())
    parts = batch.cubes.view(3, 1, 4, 8, 4, 8, 2, 8)
    mean = parts.mean((3, 5, 7), keepdim=True)
    deviation = (parts.var((3, 5, 7), keepdim=True, correction=0) + 1e-4).sqrt()
    wanted = ((parts - mean) / deviation).view_as(batch.cubes)
    assert method.losses({"restoration": wanted}, views.targets)["loss"] < 1e-6
    torch.testing.assert_close(method.finished(wanted, views), batch.cubes)
    trivial = method.scores({"restoration": wanted}, views)["mse_corrupted"]
    torch.testing.assert_close(trivial, torch.ones(3), atol=0.01, rtol=0)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("norm", ["batch", "batch_stats"])
def test_normalisation_counts_what_is_visible(ndim, norm):
    encoder = UNetEncoder(1, 4, norm, ndim=ndim, levels=2)
    first = encoder.levels[0][0]
    first.norm.momentum = None  # the statistics of this batch
    grid = (4, 4, 2)[:ndim]
    x = cubes(3, 1, *(4 * side for side in grid))
    visible = visible_blocks(3, grid, 0.5, seeded())
    maps = first.conv(x)
    hidden = []
    for cube, kept in zip(maps, visible, strict=True):
        blocks = cube.unflatten(1, (grid[0], 4)).unflatten(3, (grid[1], 4))
        blocks = blocks.unflatten(5, (grid[2], 4)) if ndim == 3 else blocks
        order = (0, 1, 3, 5, 2, 4, 6) if ndim == 3 else (0, 1, 3, 2, 4)
        hidden.append(blocks.permute(order).flatten(1, ndim).flatten(2)[:, kept].flatten(1))
    expected = torch.cat(hidden, dim=1).mean(1)
    with visible_alone(encoder, visible, grid):
        found = encoder(x)
    torch.testing.assert_close(first.norm.running_mean, expected)
    empty = (found[0] == 0).all(1)
    assert empty.float().mean() >= 0.5, "and leaves nothing where a block is masked"
    norms = [module for module in encoder.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in norms)


def test_a_block_that_does_not_fit_is_refused(run):
    with pytest.raises(InvalidInputError, match=r"block=12 with pretrain.size=\[16, 16, 16\]: expected a multiple of"):
        network_of(run, 'method={ name = "masked_restoration", block = 12 }')
    with pytest.raises(InvalidInputError, match="more than one block"):
        network_of(run, 'method={ name = "masked_restoration", block = 16 }')


@pytest.mark.parametrize("semantics", ["", ", semantics = true, classification_epochs = 0"])
def test_every_part_is_trained(run, semantics):
    section = f'method={{ name = "masked_restoration"{semantics} }}'
    recipe = small_recipe(run, section, "pretrain.samples_per_epoch=320", "pretrain.epochs=1", "pretrain.batch_size=8")
    method = method_of(recipe)
    started = Trainer(recipe, method, open_inputs(recipe, method, ALONE), ALONE, run / "out", progress=False)
    before = {key: value.clone() for key, value in started.network.named_parameters()}
    batch = next(started.readers["train"].read(started.plan.batches(1, 0, 0)[0]))
    losses = []
    for step in [*range(40), 0]:  # the last one has the masks of the first
        started.state.at.step = step
        losses.append(float(started.step(started.network, started.plan.stages[-1], [batch])["mse"]))
    assert losses[-1] < 0.7 * losses[0]
    changed = {key for key, value in started.network.named_parameters() if not torch.equal(value, before[key])}
    still = {key for key in before.keys() - changed if not key.endswith(("conv.bias", "classifier.block.norm.bias"))}
    assert not still, "everything that is exported, and what masked places hold"


@pytest.mark.parametrize("semantics", ["", ", semantics = true, classification_epochs = 1"])
def test_it_is_trained_published_and_evaluated(run, semantics):
    section = f'method={{ name = "masked_restoration"{semantics} }}'
    recipe = small_recipe(run, section, "pretrain.samples_per_epoch=8", "pretrain.epochs=1")
    model = from_pretrained(pretrain(recipe, progress=False), head="segmentation", num_classes=2)
    assert all(key.startswith("segmentation.") for key in model.load_report.reset), "the decoder is kept"
    row = read_metrics(run / "pretraining" / "metrics.jsonl")[-1]
    assert {"mse", "validation_mse", "validation_mse_corrupted"} <= row.keys()
    found = json.loads(evaluate(recipe, progress=False).read_text(encoding="utf-8"))
    assert (run / "restorations.png").stat().st_size > 5000
    row = method_of(recipe).results(found)[-1]
    assert row.name == "restoration of the masked part of cubes, mean squared error"
    assert (row.value, row.compare) == (found["mse"], found["mse_corrupted"])


def test_images(tmp_path):
    section = 'method={ name = "masked_restoration" }'
    small = ("pretrain.samples_per_epoch=8", "pretrain.epochs=1", "pretrain.size=[64, 64]")
    recipe = small_images(tmp_path / "run", section, *small)
    prepare(recipe, progress=False)
    assert from_pretrained(pretrain(recipe, progress=False)).head_name == "restoration"
    evaluate(recipe, progress=False)
    assert (tmp_path / "run" / "restorations.png").stat().st_size > 5000
