import pytest
import torch

from tests.training.transforms.random_cubes import cubes, seeded
from training import transforms
from training.methods.protocol import Batch, Views
from training.methods.registry import build

ONE = {"name": "restoration", "elastic": (65.0, 4.0), "shuffle_windows": 20}
COMBINED = {"name": "restoration", "transforms": "combined"}


def test_one_transformation_behind_the_elastic_one():
    batch = Batch(cubes(4, 1, 16, 16, 8))
    views = build(ONE).views(batch, seeded(1))
    corrupted, target = transforms.semantic_genesis(batch.cubes, seeded(1), alpha=65.0, sigma=4.0, windows=20)
    assert torch.equal(views.inputs[0], corrupted)
    assert torch.equal(views.targets["restoration"], target)
    assert torch.equal(target, batch.cubes)


def test_each_kind_alone_for_the_evaluation():
    batch, method = Batch(cubes(3, 1, 16, 16, 8)), build(ONE)
    assert method.corruptions == transforms.CHOICES
    for kind in method.corruptions:
        options = {"alpha": 65.0, "sigma": 4.0, "windows": 20, "choices": (kind,)}
        expected = transforms.semantic_genesis(batch.cubes, seeded(2), **options)[0]
        assert torch.equal(method.views(batch, seeded(2), kind).inputs[0], expected)


def test_models_genesis_combines_them():
    batch, method = Batch(cubes(4, 1, 16, 16, 8)), build(COMBINED)
    corrupted, target = transforms.models_genesis(batch.cubes, seeded(3))
    views = method.views(batch, seeded(3))
    assert torch.equal(views.inputs[0], corrupted)
    assert torch.equal(views.targets["restoration"], target), "which is flipped as the corrupted one is"
    assert method.needs == "patches"
    assert method.corruptions == ("combined",)


def test_the_loss_is_the_mean_squared_error_to_the_undamaged_cube():
    method, batch = build(ONE), Batch(cubes(3, 1, 16, 16, 8))
    views = method.views(batch, seeded(4))
    outputs = {"restoration": views.inputs[0].to(torch.bfloat16)}
    losses = method.losses(outputs, views.targets)
    expected = (outputs["restoration"].float() - batch.cubes).square().mean()
    torch.testing.assert_close(losses["loss"], expected)
    scores = method.scores({"restoration": batch.cubes}, views)
    assert torch.equal(scores["mse"], torch.zeros(3))
    torch.testing.assert_close(scores["mse_corrupted"], (views.inputs[0] - batch.cubes).square().flatten(1).mean(1))


@pytest.mark.parametrize("section", [ONE, COMBINED], ids=["one", "combined"])
def test_what_the_card_says_of_the_evaluation(section):
    method = build(section)
    means = {f"{name} {kind}": 0.1 * i for i, kind in enumerate(method.corruptions, 1) for name in ("mse", "loss")}
    means |= {f"mse_corrupted {kind}": 1.0 for kind in method.corruptions}
    report = method.report(means)
    assert report["mse"] == pytest.approx(sum(range(1, len(method.corruptions) + 1)) / len(method.corruptions) / 10)
    assert report["mse_corrupted"] == 1
    assert list(report["by_transformation"]) == list(method.corruptions)
    rows = method.results(report, "patches")
    kinds = rows[: len(method.corruptions)]
    assert [row.value for row in kinds] == sorted((row.value for row in kinds), reverse=True)  # the limits first
    assert {row.metric for row in kinds} == {"mse"}
    assert all("patches left as they are" in row.compared for row in rows)
    mean = [] if len(kinds) == 1 else [(report["mse"], "")]
    assert [(row.value, row.metric) for row in rows[len(kinds) :]] == mean


def test_the_columns_of_the_figure():
    batch = cubes(2, 1, 16, 16, 8)
    columns = build(ONE).examples(batch, lambda kind: seeded(len(kind)))
    assert list(columns) == ["elastic", "nonlinear", "local_shuffle", "in_paint", "out_paint", "all together"]
    assert all(shown.shape == batch.shape for shown in columns.values())
    assert list(build(COMBINED).examples(batch, lambda _: seeded())) == ["combined"]


def test_the_picture_shows_each_kind(tmp_path):
    def network(stage, *inputs):
        return {"restoration": inputs[0]}

    batch = Batch(cubes(5, 1, 16, 16, 8))
    build(ONE).draw(network, batch, lambda kind: seeded(len(kind)), tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 5000
    assert isinstance(build(ONE).views(batch, seeded()), Views)
