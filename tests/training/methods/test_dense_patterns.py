"""Dense patterns: which region a place is of, what is learnt from that, and the whole way."""

import json
import shutil

import numpy as np
import pytest
import torch

from sg_hub import SemanticGenesis3D, from_pretrained
from sg_hub.errors import InvalidInputError
from tests.training.discovery.regions.conftest import bodies, regions_recipe  # noqa: F401  (a fixture)
from tests.training.transforms.random_cubes import cubes, seeded
from training.discovery.regions.alignments import FAR
from training.discovery.regions.find import find_regions
from training.discovery.regions.references import References
from training.methods.dense_patterns import DensePatternsNetwork
from training.methods.protocol import Batch
from training.methods.registry import build, method_of
from training.pretraining.evaluate import evaluate
from training.pretraining.inputs import open_inputs
from training.pretraining.loop import Trainer
from training.pretraining.pretrain import pretrain
from training.pretraining.show_transforms import show_transforms
from training.publishing.publish import publish
from training.run.folder.metrics import read_metrics
from training.run.processes.process_group import Process

ALONE = Process(0, 1, torch.device("cpu"))
NAME = {"name": "dense_patterns", "voxels": 40}
MM = 4.0


def placed(n, references=2, shape=(48, 48, 24)):
    """Cubes whose voxels measure 4 mm, and where they lie: in reference r 100 r mm beside their own place."""
    axes = [(torch.arange(side // 2) + 0.5) * 2 * MM for side in shape]
    own = torch.stack([*torch.meshgrid(*axes, indexing="ij"), torch.zeros(*(side // 2 for side in shape))])
    labels = torch.stack([own + torch.tensor([100.0 * r, 0, 0, 0]).view(4, 1, 1, 1) for r in range(references)])
    return Batch(cubes(n, 1, *shape), labels.expand(n, -1, -1, -1, -1, -1).clone())


def test_a_place_is_where_it_lies_in_each_reference():
    method, batch = build(NAME), placed(3)
    views = method.views(batch, seeded(2))
    seen, within, places, intensity = views.inputs
    assert (seen.shape[0], within.shape, places.shape, intensity.shape) == (6, (6, 40, 3), (6, 40, 2, 4), (6, 40))
    inner = (views.targets["place"] > 1).all(-1) & (views.targets["place"] < torch.tensor([47.0, 47, 23])).all(-1)
    mm = views.targets["place"] * MM
    assert (places[:3, :, 0, :3] - mm)[inner].abs().max() < 1e-3
    assert (places[3:, :, 1, 0] - mm[..., 0] - 100)[inner].abs().max() < 1e-3
    torch.testing.assert_close(views.targets["weight"], torch.ones(6, 40, 2))
    alone = method.views(Batch(batch.cubes), seeded(2))
    assert len(alone.inputs) == 2, "without regions it is dense contrast"
    assert torch.equal(alone.inputs[0], seen)


def test_intensity_is_that_of_the_scan_whatever_the_view_looks_like():
    method, batch = build(NAME | {"nonlinear": 1.0, "noise": 0.1}), placed(2)
    grey = Batch(torch.full_like(batch.cubes, 0.6), batch.labels)
    views = method.views(grey, seeded())
    torch.testing.assert_close(views.inputs[3], torch.full((4, 40), 0.6))
    assert (views.inputs[0] - 0.6).abs().max() > 0.02


def network_of(middles, soft=6.0):
    torch.manual_seed(0)
    references = References(("a", "b"), np.zeros((2, 3), np.float32), middles, (0.25, 0.75, 100.0))
    return DensePatternsNetwork(SemanticGenesis3D(width=2, head="restoration", norm="batch"), 8, references, soft)


def test_the_nearest_regions_are_right():
    middles = np.array(
        [[[0, 0, 0, 50], [30, 0, 0, 50], [0, 0, 0, 75]], [[500, 0, 0, 50], [506, 0, 0, 50], [512, 0, 0, 50]]]
    )
    network = network_of(middles.astype(np.float32))
    places = torch.tensor([[[[2.0, 0, 0, 0], [506.0, 0, 0, 0]], [[29.0, 0, 0, 0], [0.0, 0, 0, 0]]]])
    right = network._wanted(places, torch.tensor([[0.5, 0.9]]))
    assert right.argmax(-1).tolist() == [[[0, 1], [1, 0]]]
    np.testing.assert_allclose(right.sum(-1), 1, rtol=1e-5)
    around = torch.tensor([-0.5, 0.0, -0.5]).softmax(0)
    torch.testing.assert_close(right[0, 0, 1], around)
    bright = network._wanted(torch.tensor([[[[0.0, 0, 0, 0]] * 2]]), torch.tensor([[1.0]]))
    assert bright[0, 0, 0].argmax() == 2, "as bright as that one"


def test_what_no_reference_is_like_does_not_count():
    method, network = build(NAME), network_of(np.random.default_rng(0).uniform(0, 200, (2, 9, 4)).astype(np.float32))
    batch = placed(2)
    labels = batch.labels.clone()
    labels[:, 1, 3] = FAR
    views = method.views(Batch(batch.cubes, labels), seeded())
    assert views.targets["weight"][..., 1].max() < 1e-6
    outputs = network("x", *views.inputs)
    half = method.losses(outputs, views.targets)
    for part in ("encoder", "decoder"):
        outputs[part] = outputs[part].clone()
        outputs[part][:, :, 1] = 100 * torch.randn(outputs[part][:, :, 1].shape, generator=seeded())
    again = method.losses(outputs, views.targets)
    torch.testing.assert_close(half["encoder"], again["encoder"], rtol=1e-4, atol=0)
    expected = half["contrast"] + half["mse"] + half["encoder"] + half["decoder"]
    torch.testing.assert_close(half["loss"], expected)
    without = build(NAME | {"contrast": 0.0}).losses(outputs, views.targets)
    torch.testing.assert_close(without["loss"], again["loss"] - again["contrast"])


def test_where_nothing_is_alike_there_is_nothing_to_learn_or_to_score():
    method, network = build(NAME), network_of(np.random.default_rng(0).uniform(0, 200, (2, 9, 4)).astype(np.float32))
    batch = placed(2)
    nowhere = Batch(batch.cubes, batch.labels.clone())
    nowhere.labels[:, :, 3] = FAR
    views = method.views(nowhere, seeded())
    outputs = network("x", *views.inputs)
    losses = method.losses(outputs, views.targets)
    assert losses["encoder"].item() == losses["decoder"].item() == 0
    half = Batch(batch.cubes, torch.cat([nowhere.labels[:1], batch.labels[1:]]))
    views = method.views(half, seeded())
    scores = method.scores(network.eval()("x", *views.inputs), views)
    assert scores["off_encoder"][0] == pytest.approx(float(scores["off_encoder"][1])), "that of the others"


def test_scores_say_how_often_and_how_far():
    method, network = (
        build(NAME),
        network_of(np.random.default_rng(0).uniform(0, 200, (2, 9, 4)).astype(np.float32)).eval(),
    )
    views = method.views(placed(3), seeded())
    outputs = network("x", *views.inputs)
    right = outputs["wanted"].argmax(-1)
    for part in ("encoder", "decoder"):
        outputs[part] = torch.nn.functional.one_hot(right, 9).float()
        outputs[f"{part}_mm"] = views.targets["mm"] + torch.tensor([3.0, 4.0, 0.0])
    outputs["decoder"][3:] = 0  # the second views: the first region is taken
    scores = method.scores(outputs, views)
    torch.testing.assert_close(scores["region_encoder"], torch.ones(3))
    expected = 0.5 + 0.5 * (right[3:] == 0).float().flatten(1).mean(1)
    torch.testing.assert_close(scores["region_decoder"], expected)
    torch.testing.assert_close(scores["off_encoder"], torch.full((3,), 5.0))


@pytest.fixture(scope="module")
def discovered(bodies, tmp_path_factory):  # noqa: F811
    run = tmp_path_factory.mktemp("dense") / "run"
    shutil.copytree(bodies / "run", run)
    find_regions(regions_recipe(bodies, run=run), progress=False)
    return run


@pytest.fixture
def run(discovered, tmp_path):
    return shutil.copytree(discovered, tmp_path / "run")


def test_every_part_is_trained_and_regions_are_found(bodies, run):  # noqa: F811
    recipe = regions_recipe(bodies, run=run)
    method = method_of(recipe)
    started = Trainer(recipe, method, open_inputs(recipe, method, ALONE), ALONE, run / "out", progress=False)
    before = {key: value.clone() for key, value in started.network.named_parameters()}
    batch = next(started.readers["train"].read(started.plan.batches(1, 0, 0)[0]))
    losses = []
    for _ in range(30):
        losses.append(float(started.step(started.network, started.plan.stages[-1], [batch])["encoder"]))
        started.state.at.step += 1
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    changed = {key for key, value in started.network.named_parameters() if not torch.equal(value, before[key])}
    assert not {key for key in before.keys() - changed if not key.endswith("conv.bias")}


def test_weights_of_other_regions_are_not_published(bodies, run, tmp_path):  # noqa: F811
    pretrain(regions_recipe(bodies, run=run), progress=False)
    evaluate(regions_recipe(bodies, run=run), progress=False)
    find_regions(regions_recipe(bodies, "regions.regions=60", run=run), progress=False)
    with pytest.raises(InvalidInputError, match="trained on another store or other patterns"):
        publish(regions_recipe(bodies, "regions.regions=60", run=run), tmp_path / "cards")


@pytest.mark.slow
def test_it_is_trained_evaluated_and_published(bodies, run, tmp_path):  # noqa: F811
    recipe = regions_recipe(bodies, run=run)
    model = from_pretrained(pretrain(recipe, progress=False), head="segmentation", num_classes=2)
    assert all(key.startswith("segmentation.") for key in model.load_report.reset)
    row = read_metrics(run / "pretraining" / "metrics.jsonl")[-1]
    assert {"encoder", "decoder", "contrast", "validation_region_encoder", "validation_off_decoder"} <= row.keys()
    assert show_transforms(recipe).is_file()
    found = json.loads(evaluate(recipe, progress=False).read_text(encoding="utf-8"))
    assert 0 <= found["region_encoder"] <= 1
    assert (run / "regions-found.png").stat().st_size > 5000
    rows = {row.name: row.value for row in method_of(recipe).results(found)}
    assert rows["mm between a voxel and the region found by the decoder"] == found["off_decoder"]
    card = (publish(recipe, tmp_path / "cards") / "README.md").read_text(encoding="utf-8")
    assert "the 1 largest scans of the train patients were cut into 50 regions each" in card
    assert "| the region of a voxel, by the encoder |" in card
    assert (tmp_path / "cards" / "demo" / "regions.png").is_file()
