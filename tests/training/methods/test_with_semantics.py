"""Semantics around restoration, and around a method of one's own (the paper's Fig. 2)."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.training.conftest import small_recipe
from tests.training.transforms.random_cubes import cubes, seeded
from training.methods.protocol import Batch, Method, Network, Stage, Views
from training.methods.registry import build, method_of
from training.methods.with_semantics import WithSemantics, settings_with
from training.pretraining.inputs import open_inputs
from training.pretraining.loop import Trainer
from training.run.folder.metrics import read_metrics
from training.run.processes.process_group import Process

ALONE = Process(0, 1, torch.device("cpu"))


def semantic_genesis(run):
    recipe = small_recipe(run)
    method = method_of(recipe)
    inputs = open_inputs(recipe, method, ALONE)
    return method, method.network(inputs.blueprint(recipe)), inputs


def test_the_first_stage_runs_no_decoder(run):
    method, network, _ = semantic_genesis(run)
    network.inner.model.decoder = None
    first, joint = method.stages(2)
    assert network(first.name, cubes(2, 1, 16, 16, 8)).keys() == {"pattern_logits"}
    with pytest.raises(TypeError):
        network(joint.name, cubes(2, 1, 16, 16, 8))


def test_both_branches_are_those_of_the_model(run):
    _, network, inputs = semantic_genesis(run)
    assert inputs.patterns == network.model.num_classes == 3
    network.eval()
    x = cubes(2, 1, 16, 16, 8)
    expected, found = network.model(x), network("joint", x)
    torch.testing.assert_close(found["restoration"], expected.restoration, rtol=0, atol=0)
    torch.testing.assert_close(found["pattern_logits"], expected.pattern_logits, rtol=0, atol=0)


def test_the_loss_weighs_both(run):
    method, network, inputs = semantic_genesis(run)
    batch = Batch(*inputs.data["train"][0])
    batch = Batch(batch.cubes[None].repeat(4, 1, 1, 1, 1), torch.tensor([0, 1, 2, 0]))
    views = method.views(batch, seeded())
    outputs = network("joint", *views.inputs)
    losses = method.losses(outputs, views.targets)
    entropy = F.cross_entropy(outputs["pattern_logits"], batch.labels)
    torch.testing.assert_close(losses["loss"], F.mse_loss(outputs["restoration"], batch.cubes) + 0.01 * entropy)
    assert losses.keys() == {"loss", "mse", "cross_entropy", "top1"}
    first = method.losses({"pattern_logits": outputs["pattern_logits"]}, views.targets)
    torch.testing.assert_close(first["loss"], entropy)


class TwoViewsNetwork(Network):
    """Two noisy views of a cube, in one batch; a layer of its own around the model's decoder."""

    def __init__(self, model):
        super().__init__(model)
        self.last = nn.Conv3d(model.decoder.out_chans, 1, 1)

    def decode(self, features, *inputs):
        return {"denoised": self.last(self.model.decoder(features))}


class Denoising(Method):
    name, title, about = "denoising", "denoising", "Noise is taken away."

    def network(self, blueprint):
        return TwoViewsNetwork(blueprint.model("restoration"))

    def stages(self, epochs):
        return [Stage(self.name, epochs, ("model.encoder", "model.decoder", "last"))]

    def views(self, batch, generator, corruption=None):
        twice = torch.cat([batch.cubes, batch.cubes])
        noise = torch.rand(twice.shape, generator=generator, device=twice.device)
        return Views((twice + 0.1 * noise,), {"clean": twice})

    def losses(self, outputs, targets):
        return {"loss": F.mse_loss(outputs["denoised"].float(), targets["clean"])}


def test_a_method_of_ones_own_gets_them_too(run):
    recipe = small_recipe(run)
    section = {"name": "denoising", "semantics": True, "classification_epochs": 1, "lambda_cls": 0.5}
    method = WithSemantics(Denoising(settings_with(Denoising.Settings).model_validate(section)))
    assert "self-classification and denoising" in method.title
    inputs = open_inputs(recipe, method, ALONE)
    assert len(inputs.data["train"][0]) == 2, "cubes of patterns, with their labels"
    trainer = Trainer(recipe, method, inputs, ALONE, run / "denoising", progress=False)
    before = {key: value.clone() for key, value in trainer.network.state_dict().items()}
    trainer.run()
    rows = read_metrics(run / "denoising" / "metrics.jsonl")
    assert [row["stage"] for row in rows] == ["classification", "joint", "joint"]
    changed = {key for key, value in trainer.network.named_parameters() if not torch.equal(value, before[key])}
    parts = ("inner.model.encoder.", "inner.model.decoder.", "inner.model.classifier.", "inner.last.")
    for part in parts:
        assert any(key.startswith(part) for key in changed), part
    assert all(key.startswith(parts) for key in changed), "the rest, the model's own restoration, is not trained"
    assert (run / "denoising" / "network.safetensors").is_file()


def test_each_view_has_the_pattern_of_its_cube(run):
    method = WithSemantics(Denoising(settings_with(Denoising.Settings)(name="denoising", semantics=True)))
    views = method.views(Batch(cubes(3, 1, 16, 16, 8), torch.tensor([2, 0, 1])), seeded())
    assert views.targets["pattern"].tolist() == [2, 0, 1, 2, 0, 1]


def test_what_the_card_says(run):
    method, network, inputs = semantic_genesis(run)
    batch = Batch(torch.stack([inputs.data["train"][i][0] for i in range(6)]), torch.tensor([0, 1, 2, 0, 1, 2]))
    with torch.inference_mode():
        values = method.evaluate(network.eval(), batch, lambda kind: seeded(len(kind)))
    means = {key: float(value.double().mean()) for key, value in values.items()}
    report = method.report(means)
    kinds = report["by_transformation"]
    assert report["top1_corrupted"] == pytest.approx(sum(values["top1"] for values in kinds.values()) / 4)
    rows = method.results(report | {"patterns": 3, "chance": 1 / 3}, "cubes")
    assert rows[0].name == "top-1 accuracy over 3 patterns, clean cubes"
    assert [row.metric for row in rows[:3]] == ["accuracy", "accuracy", "mse"]


def test_the_publication_that_the_card_compares_with():
    assert build({"name": "restoration", "semantics": True}).reference(3) == "semantic-genesis-3d"
    assert build({"name": "masked_restoration", "semantics": True}).reference(3) == "", "that is nobody's publication"


@pytest.mark.parametrize(
    "name", ["restoration", "in_painting", "patch_shuffling", "masked_restoration", "dense_contrast"]
)
def test_what_restores_gets_patterns(name):
    method = build({"name": name, "semantics": True, "classification_epochs": 3})
    assert isinstance(method, WithSemantics)
    assert method.needs == "patterns"
    assert [(stage.name, stage.epochs) for stage in method.stages(5)] == [("classification", 3), ("joint", 5)]
