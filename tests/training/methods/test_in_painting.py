import json

import pytest
import torch

from sg_hub import from_pretrained
from sg_hub.errors import InvalidInputError
from tests.training.conftest import small_recipe
from tests.training.methods.plain import blueprint, reads_no_value, smooth, trained, trained_parts
from tests.training.transforms.random_cubes import cubes, seeded
from training.methods.in_painting import InPainting
from training.methods.protocol import Batch
from training.methods.registry import build
from training.pretraining.evaluate import evaluate
from training.pretraining.pretrain import pretrain
from training.pretraining.show_transforms import show_transforms
from training.run.folder.metrics import read_metrics

SHAPES = [(6, 1, 32, 32, 16), (6, 3, 64, 48)]


def method(**settings) -> InPainting:
    return build({"name": "in_painting", **settings})


@pytest.mark.parametrize("region", ["central", "random"])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_hidden_is_hidden_and_nothing_else_changes(shape, region):
    batch = Batch(cubes(*shape))
    views = method(region=region).views(batch, seeded(1))
    hidden = views.targets["hidden"].expand(shape)
    (seen,) = views.inputs
    assert torch.equal(seen[~hidden], batch.cubes[~hidden])
    assert torch.equal(views.targets["restoration"], batch.cubes)
    for cube, mask, original in zip(seen, hidden, batch.cubes, strict=True):
        for channel in range(shape[1]):
            filled, rest = cube[channel][mask[channel]], original[channel][~mask[channel]]
            torch.testing.assert_close(filled, rest.mean().expand_as(filled))  # which says nothing of what is hidden
    other = torch.where(hidden, cubes(*shape, seed=9), batch.cubes)
    assert torch.equal(method(region=region).views(Batch(other), seeded(1)).inputs[0], seen)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_middle_half_of_each_side_is_hidden(shape):
    hidden = method(region="central").views(Batch(cubes(*shape)), seeded()).targets["hidden"]
    middle = torch.zeros(shape[2:], dtype=torch.bool)
    middle[tuple(slice(side // 4, side // 4 + side // 2) for side in shape[2:])] = True
    assert (hidden == middle).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_random_blocks_cover_up_to_a_quarter_and_lie_anywhere(shape):
    batch = Batch(cubes(*shape).repeat(30, *[1] * (len(shape) - 1)))
    hidden = method().views(batch, seeded(2)).targets["hidden"].float()
    share = hidden.flatten(1).mean(1)
    assert share.max() <= 0.25
    assert share.min() > 0
    assert share.mean() > 0.1
    assert len({tuple(mask.flatten().tolist()) for mask in hidden}) == len(hidden), "each cube has its own"
    often = hidden.mean((0, 1))
    corner = tuple(slice(0, side // 8) for side in shape[2:])
    assert often[corner].max() > 0, "no voxel is always seen"
    assert often.max() < 0.6


@pytest.mark.parametrize("shape", SHAPES)
def test_the_border_around_it_weighs_ten_times(shape):
    views = method(region="central").views(Batch(cubes(*shape)), seeded())
    border = [round(side * 7 / 128) for side in shape[2:]]
    wide = torch.zeros(shape[2:])
    wide[tuple(slice(s // 4 - b, s // 4 + s // 2 + b) for s, b in zip(shape[2:], border, strict=True))] = 10
    expected = torch.where(views.targets["hidden"], 1.0, wide)
    assert torch.equal(views.targets["weight"], expected)
    random = method().views(Batch(cubes(*shape)), seeded(5)).targets
    assert (random["weight"][random["hidden"]] == 1).all()
    assert (random["weight"] == 10).any()
    assert set(method(overlap=0.0).views(Batch(cubes(*shape)), seeded(5)).targets["weight"].unique().tolist()) == {0, 1}


def test_the_loss_asks_for_what_is_hidden_and_for_its_border():
    batch = Batch(cubes(3, 1, 32, 32, 16))
    views = method().views(batch, seeded(4))
    restoration = cubes(3, 1, 32, 32, 16, seed=8).requires_grad_()
    losses = method().losses({"restoration": restoration}, views.targets)
    losses["loss"].backward()
    weight = views.targets["weight"]
    assert ((restoration.grad != 0) == (weight > 0)).all()
    torch.testing.assert_close(restoration.grad, 2 * (restoration.detach() - batch.cubes) * weight / (weight > 0).sum())
    hidden = views.targets["hidden"]
    scores = method().scores({"restoration": restoration.detach()}, views)
    error = (restoration.detach() - batch.cubes).square()
    for cube in range(3):
        assert scores["mse"][cube] == pytest.approx(error[cube][hidden[cube]].mean().item(), rel=1e-5)
    torch.testing.assert_close(losses["mse"].detach(), scores["mse"].mean())
    copied = method().scores({"restoration": views.inputs[0]}, views)
    assert torch.equal(copied["mse"], copied["mse_corrupted"])


def test_a_picture_shows_the_cube_around_what_was_restored():
    views = method().views(Batch(cubes(2, 1, 16, 16, 8)), seeded())
    shown = method().finished(torch.full((2, 1, 16, 16, 8), 7.0), views)
    assert torch.equal(shown == 7, views.targets["hidden"])
    assert torch.equal(shown[shown != 7], views.targets["restoration"][shown != 7])


def test_both_sides_of_the_adversarial_loss_get_their_own_gradients():
    adversarial = method(adversarial=0.25)
    network = adversarial.network(blueprint(3)).train()
    views = adversarial.views(Batch(smooth(4, 16, 16, 8)), seeded())
    outputs = network("in_painting", *views.inputs)
    losses = adversarial.losses(outputs, views.targets)
    alone = method().losses({"restoration": outputs["restoration"]}, views.targets)["loss"]
    torch.testing.assert_close(losses["loss"], 0.75 * alone + 0.25 * losses["fooling"])
    torch.testing.assert_close(outputs["restored_logits"], outputs["judged_logits"])

    restoring, telling = list(network.model.parameters()), list(network.discriminator.parameters())
    options = {"retain_graph": True, "allow_unused": True}
    assert torch.autograd.grad(losses["telling"], restoring, **options) == (None,) * len(restoring)
    assert torch.autograd.grad(losses["fooling"], telling, **options) == (None,) * len(telling)
    found = torch.autograd.grad(losses["loss"], telling, **options)
    for own, expected in zip(found, torch.autograd.grad(losses["telling"], telling, **options), strict=True):
        torch.testing.assert_close(own, expected)
    found = torch.autograd.grad(losses["loss"], restoring, **options)
    share = torch.autograd.grad(0.75 * alone + 0.25 * losses["fooling"], restoring, **options)
    without = torch.autograd.grad(0.75 * alone, restoring, **options)
    for own, expected in zip(found, share, strict=True):
        torch.testing.assert_close(own, expected)
    assert any(not torch.equal(a, b) for a, b in zip(found, without, strict=True)), "the discriminator is heard"


def test_the_discriminator_sees_restorations_in_their_cubes_alone():
    adversarial = method(adversarial=0.001)
    network = adversarial.network(blueprint(2)).eval()
    views = adversarial.views(Batch(smooth(2, 32, 32)), seeded())
    outputs = network("in_painting", *views.inputs)
    restored = adversarial.finished(outputs["restoration"], views)
    torch.testing.assert_close(outputs["restored_logits"], network.discriminator(restored))
    torch.testing.assert_close(outputs["real_logits"], network.discriminator(views.targets["restoration"]))


@pytest.mark.parametrize("settings", [{}, {"region": "central"}, {"adversarial": 0.001}])
@pytest.mark.parametrize("shape", [(16, 16, 8), (32, 32)])
def test_a_few_steps_help(shape, settings):
    inpainting = method(**settings)
    before, after = trained(inpainting, inpainting.network(blueprint(len(shape))), smooth(8, *shape))
    assert after < 0.7 * before


def test_the_same_seed_gives_the_same_and_no_value_is_read():
    batch = Batch(cubes(4, 1, 16, 16, 8))
    one, two, other = (method().views(batch, seeded(seed)).inputs[0] for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    for region in ("central", "random"):
        reads_no_value(lambda region=region: method(region=region).views(Batch(torch.rand(4, 1, 16, 16, 8)), seeded()))


@pytest.mark.parametrize("sides", ["[0.3, 0.2]", "[0.0, 0.2]", "[0.2, 0.6]"])
def test_blocks_that_would_cover_too_much_are_refused(tmp_path, sides):
    with pytest.raises(InvalidInputError, match="sides"):
        build(small_recipe(tmp_path, f"method={{ name = 'in_painting', sides = {sides} }}").method.model_dump())


@pytest.mark.parametrize("shape", [(16, 16, 8), (32, 32)])
def test_with_semantics_the_patterns_teach_the_encoder_first(shape):
    reached = trained_parts({"name": "in_painting", "adversarial": 0.001}, smooth(6, *shape))
    assert reached == {
        "classification": {"encoder", "classifier"},
        "joint": {"encoder", "classifier", "decoder", "restoration"},
    }


@pytest.mark.parametrize("semantics", ["false", "true"])
def test_from_pre_training_to_what_the_card_says(run, semantics):
    overrides = f"method={{ name = 'in_painting', semantics = {semantics}, adversarial = 0.001 }}"
    recipe = small_recipe(run, overrides, "pretrain.samples_per_epoch=8", "pretrain.epochs=1")
    model = from_pretrained(pretrain(recipe, progress=False))
    assert model.head_name == ("pretext" if semantics == "true" else "restoration")
    row = read_metrics(run / "pretraining" / "metrics.jsonl")[-1]
    assert {"validation_mse", "validation_mse_corrupted", "validation_fooling", "validation_telling"} <= row.keys()
    assert ("validation_top1" in row) == (semantics == "true")
    assert (run / "pretraining" / "restorations.png").stat().st_size > 5000
    assert show_transforms(recipe).stat().st_size > 5000
    found = json.loads(evaluate(recipe, progress=False).read_text(encoding="utf-8"))
    assert {"mse", "mse_corrupted"} <= found["by_transformation"]["hidden"].keys()
    (result,) = method().results(found)
    assert (result.name, result.metric) == ("restoration of hidden voxels, mean squared error", "mse")
