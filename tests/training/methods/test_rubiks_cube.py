import json

import pytest
import torch
import torch.nn.functional as F

from sg_hub import from_pretrained
from sg_hub.errors import InvalidInputError
from tests.training.conftest import small_recipe
from tests.training.methods.plain import blueprint, reads_no_value, smooth, trained
from tests.training.transforms.random_cubes import cubes, seeded
from training.methods.protocol import Batch
from training.methods.registry import build
from training.methods.rubiks_cube import RubiksCube
from training.pretraining.evaluate import evaluate
from training.pretraining.pretrain import pretrain
from training.pretraining.show_transforms import show_transforms
from training.run.folder.metrics import read_metrics
from training.transforms.sub_cubes import joined

SIZE = "pretrain.size=[16, 16, 16]"
SHAPES = [(6, 1, 16, 16, 16), (6, 3, 64, 64)]


def method(**settings) -> RubiksCube:
    return build({"name": "rubiks_cube", **settings})


def network(of, ndim):
    plan = blueprint(ndim)
    size = [16, 16, 16] if ndim == 3 else [64, 64]
    pretraining = plan.recipe.pretrain.model_copy(update={"size": tuple(size)})
    return of.network(type(plan)(plan.recipe.model_copy(update={"pretrain": pretraining}), plan.store))


@pytest.mark.parametrize("quarter_turns", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_cube_comes_back_from_the_labels(shape, quarter_turns):
    rubik, batch = method(gap=0.0, quarter_turns=quarter_turns), Batch(cubes(*shape))
    views = rubik.views(batch, seeded(1))
    solved = rubik.solved(views.inputs[0], views.targets["permutation"], views.targets["rotation"])
    assert torch.equal(joined(solved, len(batch.cubes)), batch.cubes)
    assert not torch.equal(joined(views.inputs[0], len(batch.cubes)), batch.cubes)
    seen = views.inputs[0].unflatten(0, (-1, len(batch.cubes))).movedim(0, 2).flatten(2)
    assert torch.equal(seen.sort(-1).values, batch.cubes.flatten(2).sort(-1).values)


def test_gaps_come_from_a_larger_cube():
    rubik = method(gap=0.25)
    assert rubik.context == 1.25
    larger = torch.arange(20.0).view(1, 1, 20, 1, 1).expand(300, 1, 20, 20, 10)
    views = rubik.views(Batch(larger), seeded())
    assert views.inputs[0].shape == (8 * 300, 1, 8, 8, 4)
    solved = rubik.solved(views.inputs[0], views.targets["permutation"], views.targets["rotation"])
    places = solved.unflatten(0, (8, 300))[:, :, 0, :, 0, 0]
    gaps = places[4:, :, 0] - places[:4, :, -1] - 1
    assert sorted(set(gaps.flatten().tolist())) == [0, 1, 2, 3, 4]


def test_labels_are_balanced():
    rubik = method(permutations=10, masking=True)
    targets = rubik.views(Batch(torch.rand(1, 1, 8, 8, 8).expand(4000, -1, -1, -1, -1)), seeded()).targets
    assert (targets["permutation"].bincount() / 4000 - 1 / 10).abs().max() < 0.02
    for place in range(8):
        assert (targets["rotation"][:, place].bincount(minlength=4) / 4000 - 1 / 4).abs().max() < 0.03
        assert abs(targets["masked"][:, place].mean() - 0.5) < 0.03
    together = torch.corrcoef(torch.cat([targets["rotation"].float(), targets["masked"][:, :, 0]], dim=1).T)
    assert together.fill_diagonal_(0).abs().max() < 0.07, "none tells another"


def test_what_is_masked_is_a_part_of_the_sub_cubes_that_say_so():
    batch = Batch(0.5 + cubes(8, 1, 18, 18, 18) / 2)
    views, plain = method(masking=True).views(batch, seeded(3)), method().views(batch, seeded(3))
    assert torch.equal(views.targets["rotation"], plain.targets["rotation"])
    hidden = views.inputs[0] == 0
    assert torch.equal(views.inputs[0][~hidden], plain.inputs[0][~hidden])
    share = hidden.flatten(1).float().mean(1).unflatten(0, (8, 8)).T[:, :, None]
    assert torch.equal(share > 0, views.targets["masked"] > 0)
    assert share[share > 0].unique().tolist() == pytest.approx([1 / 8])


def test_all_sub_cubes_are_seen_by_one_encoder_and_by_nothing_else():
    rubik = method(permutations=10, masking=True)
    scrambler = network(rubik, 3).train()
    views = rubik.views(Batch(cubes(3, 1, 18, 18, 18)), seeded())
    for _ in range(30):  # until the running statistics are those of such cubes
        scrambler("rubiks_cube", *views.inputs)
    scrambler.eval()
    outputs = scrambler("rubiks_cube", *views.inputs)
    assert {name: tuple(x.shape) for name, x in outputs.items()} == {
        "permutation": (3, 10),
        "rotation": (3, 8, 4),
        "masked": (3, 8, 1),
    }
    one = scrambler("rubiks_cube", views.inputs[0][1::3])
    for name, output in outputs.items():
        torch.testing.assert_close(one[name], output[1:2], msg="each cube has its own sub-cubes")
    others = views.inputs[0].unflatten(0, (8, 3)).roll(1, 0).flatten(0, 1)
    assert not torch.allclose(scrambler("rubiks_cube", others)["permutation"], outputs["permutation"], atol=1e-4)


@pytest.mark.parametrize("masking", [False, True])
def test_the_parts_of_the_loss_weigh_the_same(masking):
    rubik = method(permutations=10, masking=masking)
    views = rubik.views(Batch(cubes(4, 1, 18, 18, 18)), seeded())
    outputs = network(rubik, 3).train()("rubiks_cube", *views.inputs)
    losses, targets = rubik.losses(outputs, views.targets), views.targets
    parts = [
        F.cross_entropy(outputs["permutation"], targets["permutation"]),
        F.cross_entropy(outputs["rotation"].reshape(-1, 4), targets["rotation"].flatten()),
    ]
    if masking:
        parts.append(F.binary_cross_entropy(outputs["masked"].sigmoid(), targets["masked"]))
    torch.testing.assert_close(losses["loss"], sum(parts) / len(parts))
    right = {name: F.one_hot(targets[name], 24).float() for name in ("permutation", "rotation")}
    wrong = {name: F.one_hot(targets[name] + 1, 24).float() for name in right}
    masks = {"masked": targets["masked"] - 0.5} if masking else {}
    assert all((score == 1).all() for score in rubik.scores(right | masks, views).values())
    missed = rubik.scores(wrong | {name: -value for name, value in masks.items()}, views)
    assert all((score == 0).all() for score in missed.values())
    assert len(missed) == len(parts)


@pytest.mark.parametrize("part", ["permutation", "rotation", "masked"])
def test_every_question_teaches_the_encoder(part):
    rubik = method(permutations=10, masking=True)
    asked = network(rubik, 3).train()
    views = rubik.views(Batch(cubes(4, 1, 18, 18, 18)), seeded())
    rubik.losses(asked("rubiks_cube", *views.inputs), views.targets)[f"{part}_entropy"].backward()
    assert all(parameter.grad is not None for parameter in asked.model.encoder.parameters())
    assert asked.model.encoder.levels[0][0].conv.weight.grad.abs().sum() > 0
    layers = {"permutation": [asked.permutation]}
    layers |= {name: [asked.of_all[name], asked.of_one[name]] for name in ("rotation", "masked")}
    for name, both in layers.items():
        assert all((layer.weight.grad is not None) == (name == part) for layer in both)


@pytest.mark.parametrize("masking", [False, True])
@pytest.mark.parametrize("shape", [(16, 16, 16), (64, 64)])
def test_a_few_steps_help(shape, masking):
    rubik = method(permutations=4, gap=0.0, masking=masking)
    ramps = torch.meshgrid(*(torch.linspace(0, 1, side) for side in shape), indexing="ij")
    cubes = 0.2 * smooth(16, *shape) + sum(ramp * 0.1 * 2**axis for axis, ramp in enumerate(ramps))  # with directions
    before, after = trained(rubik, network(rubik, len(shape)), cubes, steps=40, lr=0.003)
    assert after < 0.9 * before


def test_the_same_seed_gives_the_same_and_no_value_is_read():
    rubik, batch = method(masking=True), Batch(cubes(4, 1, 18, 18, 18))
    one, two, other = (rubik.views(batch, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(one.inputs[0], two.inputs[0])
    assert all(torch.equal(one.targets[name], two.targets[name]) for name in one.targets)
    assert not torch.equal(one.inputs[0], other.inputs[0])
    reads_no_value(lambda: rubik.views(Batch(torch.rand(4, 1, 18, 18, 18)), seeded()))  # its tables are made


def test_sub_cubes_that_the_encoder_cannot_halve_are_refused():
    with pytest.raises(InvalidInputError, match=r"pretrain.size=\[16, 16, 8\]: expected sides of at least 16"):
        method().network(blueprint(3))
    with pytest.raises(InvalidInputError, match="restores nothing"):
        method(semantics=True)


@pytest.mark.parametrize("masking", ["false", "true"])
def test_from_pre_training_to_what_the_card_says(run, masking):
    overrides = f"method={{ name = 'rubiks_cube', permutations = 6, masking = {masking} }}"
    recipe = small_recipe(run, overrides, SIZE, "pretrain.samples_per_epoch=8", "pretrain.epochs=1")
    model = from_pretrained(pretrain(recipe, progress=False), head="segmentation", num_classes=2)
    assert all(key.startswith(("decoder.", "segmentation.")) for key in model.load_report.reset)
    row = read_metrics(run / "pretraining" / "metrics.jsonl")[-1]
    assert {"validation_accuracy_permutation", "validation_accuracy_rotation"} <= row.keys()
    assert (run / "pretraining" / "solved.png").stat().st_size > 5000
    assert show_transforms(recipe).stat().st_size > 5000
    found = json.loads(evaluate(recipe, progress=False).read_text(encoding="utf-8"))
    assert ("chance_masked" in found) == (masking == "true")
    rows = method(masking=masking == "true").results(found)
    chances = {"order of the parts, accuracy": 1 / 6, "turn of each part, accuracy": 1 / 4}
    if masking == "true":
        chances["which parts are masked, accuracy"] = 1 / 2
    assert {row.name: row.compare for row in rows} == pytest.approx(chances)
    assert all(0 <= row.value <= 1 for row in rows)
