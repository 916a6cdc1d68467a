import itertools
import json

import pytest
import torch

from sg_hub import from_pretrained
from tests.training.conftest import small_recipe
from tests.training.methods.plain import blueprint, reads_no_value, smooth, trained, trained_parts
from tests.training.transforms.random_cubes import cubes, seeded
from training.methods.patch_shuffling import swap_patches
from training.methods.protocol import Batch
from training.methods.registry import build
from training.pretraining.evaluate import evaluate
from training.pretraining.pretrain import pretrain
from training.pretraining.show_transforms import show_transforms
from training.run.folder.metrics import read_metrics

SHAPES = [(6, 2, 16, 20, 8), (6, 2, 32, 24)]


def numbered(shape):
    """Cubes whose voxels say where they are from."""
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float64).view(shape)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_pair_of_patches_changes_places(shape):
    size = [round(0.2 * side) for side in shape[2:]]
    corners = [[], []]
    for cube, moved in zip(numbered(shape), swap_patches(numbered(shape), seeded(1), 0.2, 1), strict=True):
        places = (cube != moved)[0].nonzero()
        assert len(places) in (0, 2 * torch.tensor(size).prod()), "two patches, or none where they would overlap"
        if len(places) == 0:
            continue
        origins = torch.stack(torch.unravel_index(moved[0][tuple(places.T)].long() % cube[0].numel(), shape[2:]), 1)
        shift = origins - places
        assert len(shift.unique(dim=0)) == 2, "each as a whole"
        assert torch.equal(shift.unique(dim=0)[0], -shift.unique(dim=0)[1]), "one to where the other was"
        for number, which in enumerate(shift.unique(dim=0)):
            patch = places[(shift == which).all(1)]
            assert (patch.amax(0) - patch.amin(0) + 1).tolist() == size
            corners[number].append(tuple(patch.amin(0).tolist()))
    assert len(set(corners[0])) > 3, "each cube has its own"


@pytest.mark.parametrize("shape", SHAPES)
def test_no_voxel_is_lost_and_channels_move_together(shape):
    before = numbered(shape)
    after = swap_patches(before, seeded(2), 0.2, 20)
    assert torch.equal(after.flatten(2).sort(-1).values, before.flatten(2))
    per_channel = before[0, 1] - before[0, 0]
    assert torch.equal(after[:, 1] - after[:, 0], per_channel.expand_as(after[:, 0]))
    assert torch.equal(before, numbered(shape)), "the batch itself stays"
    moved = (after != before).double().flatten(1).mean(1)
    assert (moved > 0.1).all()
    assert (moved < 0.9).all()


def test_later_swaps_move_on_what_was_moved():
    one, two = (swap_patches(numbered((1, 1, 24, 24)), seeded(0), 0.3, swaps) for swaps in (1, 12))
    shifts = {
        tuple(shift)
        for place, value in zip(itertools.product(range(24), range(24)), two.flatten().long().tolist(), strict=True)
        if (shift := (value // 24 - place[0], value % 24 - place[1])) != (0, 0)
    }
    assert len(shifts) > 24, "more than two of each swap"
    assert (one != two).any()


def test_patches_may_lie_anywhere():
    before = numbered((2000, 1, 10, 10))
    often = (swap_patches(before, seeded(), 0.2, 1) != before).float().mean((0, 1))
    assert often.min() > 0.01, "corners, too"
    assert often[2:8, 2:8].std() < 0.03


@pytest.mark.parametrize("shape", SHAPES)
def test_the_target_is_the_undamaged_cube(shape):
    method, batch = build({"name": "patch_shuffling"}), Batch(cubes(*shape))
    views = method.views(batch, seeded(3))
    assert torch.equal(views.targets["restoration"], batch.cubes)
    assert torch.equal(views.inputs[0], swap_patches(batch.cubes, seeded(3), 0.2, 10))
    assert not torch.equal(views.inputs[0], method.views(batch, seeded(4)).inputs[0])
    restoration = views.inputs[0].clone().requires_grad_()
    loss = method.losses({"restoration": restoration}, views.targets)["loss"]
    loss.backward()
    assert torch.equal(restoration.grad != 0, views.inputs[0] != batch.cubes), "all of the cube counts"


def test_no_value_is_read():
    reads_no_value(lambda: swap_patches(torch.rand(4, 1, 16, 16, 8), seeded(), 0.2, 3))


@pytest.mark.parametrize("shape", [(16, 16, 8), (32, 32)])
def test_a_few_steps_help(shape):
    method = build({"name": "patch_shuffling"})
    before, after = trained(method, method.network(blueprint(len(shape))), smooth(8, *shape))
    assert after < 0.7 * before


@pytest.mark.parametrize("shape", [(16, 16, 8), (32, 32)])
def test_with_semantics_the_patterns_teach_the_encoder_first(shape):
    reached = trained_parts({"name": "patch_shuffling"}, smooth(6, *shape))
    assert reached == {
        "classification": {"encoder", "classifier"},
        "joint": {"encoder", "classifier", "decoder", "restoration"},
    }


@pytest.mark.parametrize("semantics", ["false", "true"])
def test_from_pre_training_to_what_the_card_says(run, semantics):
    overrides = f"method={{ name = 'patch_shuffling', semantics = {semantics} }}"
    recipe = small_recipe(run, overrides, "pretrain.samples_per_epoch=8", "pretrain.epochs=1")
    model = from_pretrained(pretrain(recipe, progress=False))
    assert model.head_name == ("pretext" if semantics == "true" else "restoration")
    row = read_metrics(run / "pretraining" / "metrics.jsonl")[-1]
    assert {"validation_mse", "validation_mse_corrupted"} <= row.keys()
    assert ("validation_top1" in row) == (semantics == "true")
    assert (run / "pretraining" / "restorations.png").stat().st_size > 5000
    assert show_transforms(recipe).stat().st_size > 5000
    found = json.loads(evaluate(recipe, progress=False).read_text(encoding="utf-8"))
    (result,) = build({"name": "patch_shuffling"}).results(found)
    assert result.name == "restoration of shuffled patches, mean squared error"
    assert result.compare == found["mse_corrupted"]
