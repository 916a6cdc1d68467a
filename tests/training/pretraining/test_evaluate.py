"""What is measured on held-out patients, against the definitions."""

import json
import tempfile

import numpy as np
import pytest
import torch

from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.io.files import write_json
from tests.training.conftest import small_recipe
from tests.training.scan_files import write_split
from training import transforms
from training.data.prepare import prepare
from training.data.store import Store
from training.discovery.cubes import PatternDataset
from training.discovery.discover import discover
from training.discovery.patterns import PatternTable
from training.pretraining.evaluate import evaluate, published_model, read_evaluation
from training.pretraining.pretrain import pretrain
from training.publishing.publish import publish
from training.run.folder.checksums import opened, sealed
from training.run.folder.record import read_json
from training.run.seeds import generator


@pytest.fixture
def recipe(run):
    recipe = small_recipe(run, "pretrain.epochs=1", "pretrain.batch_size=64")
    pretrain(recipe, progress=False)
    return recipe


def test_the_figures_are_those_of_the_published_weights(run, recipe):
    found = json.loads(evaluate(recipe, progress=False).read_text(encoding="utf-8"))
    store, table = Store.open(run / "store.zarr"), PatternTable.load(run / "discovery" / "patterns.csv")
    data = PatternDataset(table, store, table.rows("validation"), recipe.pretrain.size)
    order = np.random.default_rng(recipe.seed).permutation(len(data)).tolist()
    cubes = torch.stack([data[i][0] for i in order])
    labels = torch.tensor([data[i][1] for i in order])
    patients = len(set(table.patient[table.rows("validation")]))
    model = published_model(recipe)
    assert found["sha256"] == model.load_report.sha256
    assert (found["split"], found["patients"], found["cubes"]) == ("validation", patients, len(data))
    assert (found["patterns"], found["chance"]) == (3, 1 / 3)
    with torch.inference_mode():
        top1 = (model(cubes).pattern_logits.argmax(1) == labels).double().mean()
        assert found["top1"] == pytest.approx(float(top1))
        for kind in transforms.CHOICES:
            noise = generator("cpu", recipe.seed, "evaluation", kind, 0)
            corrupted, _ = transforms.semantic_genesis(
                cubes, noise, choices=(kind,), alpha=65.0, sigma=4.0, windows=100
            )
            restored = model(corrupted).restoration
            measured = found["by_transformation"][kind]
            assert measured["mse"] == pytest.approx(float((restored - cubes).square().mean()), rel=1e-4)
            assert measured["mse_corrupted"] == pytest.approx(float((corrupted - cubes).square().mean()), rel=1e-4)
    kinds = found["by_transformation"].values()
    for name in ("mse", "mse_corrupted"):
        assert found[name] == pytest.approx(sum(kind[name] for kind in kinds) / 4)
    assert found["top1_corrupted"] == pytest.approx(sum(kind["top1"] for kind in kinds) / 4)
    assert read_evaluation(recipe) == opened(found)
    assert (run / "restorations.png").stat().st_size > 5000


def test_before_pre_training_the_step_is_named(run):
    with pytest.raises(ReadError, match="run `sg-hub pretrain` first"):
        evaluate(small_recipe(run), progress=False)
    with pytest.raises(ReadError, match="evaluate"):
        read_evaluation(small_recipe(run))


def test_figures_of_another_method_than_was_trained_are_refused(run, recipe):
    for other in ("method.shuffle_windows=0", "model.width=4", "pretrain.size=[16, 16, 16]"):
        with pytest.raises(InvalidInputError, match=f"trained with other settings .*{other.partition('=')[0]}="):
            evaluate(small_recipe(run, other), progress=False)


def test_random_cubes_of_another_kind_than_was_trained_on_are_refused(run):
    alone = ('method={ name = "restoration" }', "pretrain.samples_per_epoch=8")
    pretrain(small_recipe(run, *alone), progress=False)
    for other in ("discover.cube=[12, 12, 12]", "discover.tissue=0.2"):
        with pytest.raises(InvalidInputError, match=f"trained with other settings .*{other.partition('=')[0]}="):
            evaluate(small_recipe(run, *alone, other), progress=False)
    assert evaluate(small_recipe(run, *alone, "discover.patterns=2"), progress=False).is_file(), "there are no patterns"


def test_patients_that_were_trained_on_are_not_held_out(run, tmp_path):
    alone = ('method={ name = "restoration" }', "pretrain.samples_per_epoch=8", "pretrain.epochs=1")
    pretrain(small_recipe(run, *alone), progress=False)
    evaluate(small_recipe(run, *alone), progress=False)
    rows = dict.fromkeys(Store.open(run / "store.zarr").names()[:6], "test")
    path = write_split(tmp_path / "split.csv", dict.fromkeys(Store.open(run / "store.zarr").names(), "train") | rows)
    prepare(small_recipe(run, *alone, f"split={path}"), progress=False)
    with pytest.raises(InvalidInputError, match="trained on another store"):
        evaluate(small_recipe(run, *alone, f"split={path}"), progress=False)
    with pytest.raises(InvalidInputError, match="trained on another store"):
        publish(small_recipe(run, *alone, f"split={path}"), tmp_path / "cards")


def test_patterns_that_were_discovered_again_are_not_those_of_the_weights(run, recipe, tmp_path):
    evaluate(recipe, progress=False)
    discover(small_recipe(run, "discover.jitter=[0, 0, 0]"), progress=False)
    another = small_recipe(run, "pretrain.epochs=1", "pretrain.batch_size=64", "discover.jitter=[0, 0, 0]")
    with pytest.raises(InvalidInputError, match="other patterns"):
        evaluate(another, progress=False)
    with pytest.raises(InvalidInputError, match="other patterns"):
        publish(another, tmp_path / "cards")


def test_without_anyone_held_out_there_is_nothing_to_measure(run, recipe):
    table = run / "discovery" / "patterns.csv"
    lines = table.read_text(encoding="utf-8").splitlines(keepends=True)
    table.write_text("".join(line for line in lines if not line.endswith("validation\n")), encoding="utf-8")
    (run / "discover.json").unlink()  # the table is another then
    then = {key: value for key, value in read_json(run / "pretrain.json", "pretrain").items() if key != "inputs"}
    write_json(run / "pretrain.json", sealed(then))  # as records of before
    with pytest.raises(ReadError, match="no patient is left"):
        evaluate(recipe, progress=False)


def test_nothing_of_a_run_lies_elsewhere(run, recipe, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    there = {path.name for path in (run / "pretraining").iterdir()}
    assert published_model(recipe).load_report.sha256
    assert {path.name for path in (run / "pretraining").iterdir()} == there
