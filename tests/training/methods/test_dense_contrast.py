"""Dense contrast: the voxels that are compared are the same tissue, and what is trained on them."""

import json

import pytest
import torch
import torch.nn.functional as F

from sg_hub import from_pretrained
from sg_hub.errors import InvalidInputError
from tests.training.conftest import small_images, small_recipe
from tests.training.transforms.random_cubes import cubes, seeded
from training.data.prepare import prepare
from training.methods.protocol import Batch
from training.methods.registry import build, method_of
from training.pretraining.evaluate import evaluate
from training.pretraining.inputs import open_inputs
from training.pretraining.loop import Trainer
from training.pretraining.pretrain import pretrain
from training.pretraining.show_transforms import show_transforms
from training.run.folder.metrics import read_metrics
from training.run.processes.process_group import Process
from training.transforms.views import sampled

ALONE = Process(0, 1, torch.device("cpu"))
NAME = {"name": "dense_contrast"}
UNALTERED = NAME | {"nonlinear": 0.0, "noise": 0.0, "painting": 0.0}
SHAPES = [(48, 48, 24), (96, 96)]


def coordinates(*shape):
    """A cube whose channels say where each voxel is, as shares of its sides."""
    return torch.stack(torch.meshgrid(*[(torch.arange(side) + 0.5) / side for side in shape], indexing="ij"))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("blur", [0.0, 0.5])
def test_the_two_views_of_a_voxel_are_the_same_tissue(shape, blur):
    batch = Batch(coordinates(*shape).expand(20, -1, *shape).clone())
    views = build(UNALTERED | {"blur": blur}).views(batch, seeded(3))
    seen, within = views.inputs
    assert seen.shape == (40, len(shape), *(side * 2 // 3 for side in shape))
    assert within.abs().max() < 1
    first, second = (sampled(seen, within) * torch.tensor(shape)).chunk(2)
    assert (first - second).abs().max() < 0.5
    assert (first - views.targets["place"]).abs().max() < 0.5
    assert (within[:20] - within[20:]).abs().mean() > 0.2, "they are at different places of the two views"
    corner, far = (seen[:, :, *[index] * len(shape)] * torch.tensor(shape) for index in (0, -1))
    scale = (far - corner)[:, :2] / (torch.tensor(seen.shape[2:4]) - 1)
    torch.testing.assert_close(scale[:, 0], scale[:, 1], atol=0.04, rtol=0)
    assert scale.min() < 0.85 < 1.2 < scale.max() < 1.43, "as the setting says"
    shared = torch.minimum(far[:20], far[20:]) - torch.maximum(corner[:20], corner[20:])
    assert (shared / torch.minimum(far - corner, far - corner).chunk(2)[0] > 0.2).all()


def test_each_view_is_altered_by_itself():
    same = build(NAME | {"context": 1.0, "scale": [1.0, 1.0], "overlap": 1.0, "blur": 0.0})
    batch = Batch(cubes(6, 1, 32, 32, 16))
    views = same.views(batch, seeded(1))
    torch.testing.assert_close(views.targets["restoration"], batch.cubes.repeat(2, 1, 1, 1, 1))
    first, second = views.inputs[0].chunk(2)
    assert (first - second).abs().flatten(1).mean(1).min() > 0.005
    assert (first - batch.cubes).abs().flatten(1).mean(1).min() > 0.003
    assert 0 <= first.min() <= first.max() <= 1


def test_the_same_seed_gives_the_same_views():
    method, batch = build(NAME), Batch(cubes(3, 1, 48, 48, 24))
    one, again, other = (method.views(batch, seeded(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one.inputs, again.inputs, strict=True))
    assert not torch.equal(one.inputs[1], other.inputs[1])


def test_voxels_are_drawn_in_tissue():
    cube = torch.zeros(4, 1, 48, 48, 24)
    cube[:, :, 16:32] = 0.5
    place = build(NAME | {"voxels": 32}).views(Batch(cube), seeded(2)).targets["place"]
    assert (place[..., 0] > 13).all()
    assert (place[..., 0] < 35).all()
    empty = build(NAME).views(Batch(torch.zeros(2, 1, 48, 48, 24)), seeded(2))
    assert empty.targets["place"].shape == (2, 64, 3), "where there is none, elsewhere"


def vectors(n, voxels, seed=0):
    """Of the first view and, the same, of the second."""
    one = F.normalize(torch.randn(n, voxels, 8, generator=seeded(seed)), dim=-1)
    return torch.cat([one, one])


def targets(place, label=None):
    nothing = torch.zeros(2 * len(place), 1, 4, 4, 4)
    return {"place": place, "restoration": nothing} | ({} if label is None else {"label": torch.tensor(label)})


def contrast(method, outputs, target):
    readout = {"restoration": target["restoration"]}
    return method.losses({"vectors": outputs} | readout, target)["loss"]


def test_the_loss_is_that_of_telling_each_voxel_from_those_that_are_not_near():
    method = build(NAME | {"temperature": 0.5})
    place = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [9, 0, 0]], [[0, 0, 0], [0, 7, 0], [0, 0, 7]]])
    both = torch.randn(4, 3, 8, generator=seeded())
    first, second = both.flatten(0, 1).chunk(2)
    logits = first @ second.T / 0.5
    logits[0, 1] = logits[1, 0] = -torch.inf  # a voxel apart in the same cube; in the other cube it does count
    own = torch.arange(6)
    expected = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    torch.testing.assert_close(contrast(method, both, targets(place)), expected)
    logits[0, 3] = logits[3, 0] = logits[1, 3] = logits[3, 1] = -torch.inf  # the same place of the same pattern
    expected = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    torch.testing.assert_close(contrast(method, both, targets(place, [4, 4])), expected)


def test_the_same_place_of_a_pattern_counts_as_equal():
    method = build(NAME | {"patterns": 0.25, "semantics": True}).inner
    place = torch.tensor([[[0.0, 0, 0], [9, 0, 0]], [[0, 0, 0], [0, 9, 0]], [[0, 0, 0], [0, 0, 9]]])
    outputs = vectors(3, 2)
    apart, equal = (contrast(method, outputs, targets(place, label)) for label in ([0, 1, 2], [0, 0, 2]))
    log = (outputs.flatten(0, 1).chunk(2)[0] @ outputs.flatten(0, 1).chunk(2)[0].T / 0.1).log_softmax(1)
    weights = torch.eye(6)
    torch.testing.assert_close(apart, -(weights * log).sum(1).mean())
    weights[0, 0] = weights[2, 2] = 0.75
    weights[0, 2] = weights[2, 0] = 0.25
    torch.testing.assert_close(equal, -(weights * log).sum(1).mean())


def test_what_is_found_and_what_a_guess_finds():
    method, batch = build(NAME | {"voxels": 16}), Batch(cubes(4, 1, 48, 48, 24))
    views = method.views(batch, seeded())
    found = method.scores({"vectors": vectors(4, 16)}, views)
    assert torch.equal(found["retrieval"], torch.ones(4))
    assert found["retrieval_by_place"].mean() < 0.7
    at_random = torch.cat([vectors(4, 16, 1)[:4], vectors(4, 16, 2)[:4]])
    assert method.scores({"vectors": at_random}, views)["retrieval"].mean() < 0.3


def test_what_is_reported():
    means = {f"{name} views": 0.1 for name in ("loss", "contrast", "mse", "retrieval", "retrieval_by_place")}
    expected = {"contrast": 0.1, "mse": 0.1, "retrieval": 0.1, "retrieval_by_place": 0.1, "retrieval_chance": 1 / 64}
    assert build(NAME).report(means) == expected
    semantic = build(NAME | {"semantics": True}).report(means | {"top1": 0.9, "top1 views": 0.5})
    assert semantic == expected | {"top1": 0.9, "top1_corrupted": 0.5}


def test_views_that_do_not_fit_are_refused():
    with pytest.raises(InvalidInputError, match=r"scale=\[0.7, 1.6\]: expected the smaller first, and up to context"):
        build(NAME | {"scale": [0.7, 1.6]})


def trainer(run, semantics, *overrides):
    sections = "".join(f", {key} = {value}" for key, value in semantics.items())
    small = ("pretrain.batch_size=8", "pretrain.samples_per_epoch=320", "pretrain.epochs=1", *overrides)
    recipe = small_recipe(run, f'method={{ name = "dense_contrast", voxels = 16{sections} }}', *small)
    method = method_of(recipe)
    return Trainer(recipe, method, open_inputs(recipe, method, ALONE), ALONE, run / "out", progress=False)


WITH = {"semantics": "true", "classification_epochs": 0, "patterns": 0.2}


@pytest.mark.parametrize("semantics", [{}, WITH], ids=["alone", "with semantics"])
def test_every_part_is_trained_and_voxels_are_found(run, semantics):
    started = trainer(run, semantics)
    before = {key: value.clone() for key, value in started.network.named_parameters()}
    batch = next(started.readers["train"].read(started.plan.batches(1, 0, 0)[0]))
    assert batch.cubes.shape[2:] == (24, 24, 12), "room for the views"
    losses = []
    for _ in range(30):
        losses.append(float(started.step(started.network, started.plan.stages[-1], [batch])["loss"]))
        started.state.at.step += 1
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    changed = {key for key, value in started.network.named_parameters() if not torch.equal(value, before[key])}
    still = {key for key in before.keys() - changed if not key.endswith(("conv.bias", "classifier.block.norm.bias"))}
    assert not still, "everything that is exported, and the projection"


def test_the_restoration_teaches_the_features_nothing(run):
    network = trainer(run, {}).network
    x = cubes(2, 1, 16, 16, 8)
    network.decode(network.encode(x), x, torch.zeros(2, 5, 3))["restoration"].sum().backward()
    trained = {key for key, value in network.named_parameters() if value.grad is not None}
    assert trained == {"model.restoration.weight", "model.restoration.bias"}


@pytest.mark.parametrize("semantics", [False, True])
def test_it_is_trained_published_and_evaluated(run, semantics):
    section = 'method={ name = "dense_contrast", voxels = 16%s }'
    added = ", semantics = true, classification_epochs = 1" if semantics else ""
    recipe = small_recipe(run, section % added, "pretrain.samples_per_epoch=8", "pretrain.epochs=1")
    model = from_pretrained(pretrain(recipe, progress=False), head="segmentation", num_classes=2)
    assert all(key.startswith("segmentation.") for key in model.load_report.reset), "the decoder is kept"
    row = read_metrics(run / "pretraining" / "metrics.jsonl")[-1]
    assert {"contrast", "mse", "validation_retrieval", "validation_retrieval_by_place"} <= row.keys()
    assert show_transforms(recipe).is_file()
    found = json.loads(evaluate(recipe, progress=False).read_text(encoding="utf-8"))
    assert found["retrieval_chance"] == 1 / 16
    assert (run / "similarity.png").stat().st_size > 5000
    rows = method_of(recipe).results(found)
    assert rows[-1].name == "the same voxel found in another view, of 16"
    assert (rows[-1].value, rows[-1].compare) == (found["retrieval"], found["retrieval_by_place"])


def test_images(tmp_path):
    overrides = ('method={ name = "dense_contrast", voxels = 16 }', "pretrain.samples_per_epoch=8")
    recipe = small_images(tmp_path / "run", *overrides, "pretrain.epochs=1")
    prepare(recipe, progress=False)
    assert from_pretrained(pretrain(recipe, progress=False)).head_name == "restoration"
    found = json.loads(evaluate(recipe, progress=False).read_text(encoding="utf-8"))
    assert (tmp_path / "run" / "similarity.png").stat().st_size > 5000
    (row,) = method_of(recipe).results(found, "patches")
    assert row.name == "the same pixel found in another view, of 16"
