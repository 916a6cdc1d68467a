import json
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file

import sg_hub
from sg_hub.errors import ReadError
from tests.folders import ROOT
from tests.training.conftest import SAMPLES, SMALL, small_recipe
from tests.training.publishing.test_upload import command
from training.discovery.patterns import PatternTable
from training.pretraining.evaluate import evaluate
from training.pretraining.pretrain import pretrain
from training.publishing.pretrained_card import build_card, sha256_of, take_results
from training.publishing.publish import publish

CARDS = ROOT / "model_cards"


@pytest.fixture(scope="module")
def trained(discovered, tmp_path_factory):
    run = Path(shutil.copytree(discovered, tmp_path_factory.mktemp("trained") / "run"))
    pretrain(small_recipe(run), progress=False)
    evaluate(small_recipe(run), progress=False)
    return run


def test_evaluation_measures_what_it_says(trained):
    result = json.loads((trained / "evaluation.json").read_text(encoding="utf-8"))
    assert result["split"] == "validation"  # the samples' recipe has no test patients
    table = PatternTable.load(trained / "discovery" / "patterns.csv")
    rows = table.rows("validation")
    assert result["cubes"] == len(rows)
    assert result["patients"] == len(set(table.patient[rows]))
    assert result["chance"] == pytest.approx(1 / 3)
    assert 0 <= result["top1"] <= 1
    assert result["mse_corrupted"] > 0
    kinds = result["by_transformation"]
    assert set(kinds) == {"nonlinear", "local_shuffle", "in_paint", "out_paint"}
    assert result["mse"] == pytest.approx(sum(k["mse"] for k in kinds.values()) / 4)
    assert kinds["out_paint"]["mse_corrupted"] > 5 * kinds["in_paint"]["mse_corrupted"]  # it hides far more


def test_a_published_model_is_loaded_and_its_card_is_valid(trained, tmp_path):
    folder = publish(small_recipe(trained), tmp_path / "cards")
    model = sg_hub.from_pretrained(folder)
    assert model.num_classes == 3
    assert load_file(folder / "model.safetensors")["encoder.levels.0.0.conv.weight"].dtype == torch.float16
    golden = load_file(folder / "golden.safetensors")
    with torch.inference_mode():
        torch.testing.assert_close(
            model(golden["input"].float()).restoration, golden["restoration"].float(), atol=1e-3, rtol=0
        )
    card = ModelCard.load(folder / "README.md")
    assert card.data.license == "apache-2.0"
    assert card.data.library_name == "sg_hub"
    measured = {(r.task_name, r.metric_name): r.metric_value for r in card.data.eval_results}
    evaluation = json.loads((trained / "evaluation.json").read_text(encoding="utf-8"))
    assert measured["Restoration", "mean squared error"] == pytest.approx(evaluation["mse"], abs=1e-5)
    for picture in ("restorations.png", "curves.png", "patterns.png"):
        assert (folder / picture).is_file()
    registry = json.loads((tmp_path / "cards" / "registry.json").read_text(encoding="utf-8"))
    assert registry["demo"]["sha256"] == model.load_report.sha256
    assert registry["demo"]["commit"] == model.provenance["commit"]


def test_publishing_twice_gives_the_same_weights_and_keeps_other_entries(trained, tmp_path):
    recipe, cards = small_recipe(trained), tmp_path / "cards"
    first = (publish(recipe, cards) / "model.safetensors").read_bytes()
    registry = json.loads((cards / "registry.json").read_text(encoding="utf-8"))
    registry["other"] = registry["demo"]
    registry["demo"]["repo_id"] = "owner/demo"
    (cards / "registry.json").write_text(json.dumps(registry), encoding="utf-8")
    assert (publish(recipe, cards) / "model.safetensors").read_bytes() == first
    after = json.loads((cards / "registry.json").read_text(encoding="utf-8"))
    assert after == registry
    assert sorted(path.name for path in cards.iterdir()) == ["demo", "registry.json"]


def test_publishing_to_a_hub_uploads_registers_and_does_nothing_twice(trained, tmp_path, hub, user, repo_id):
    given = [f"source={SAMPLES / 'ct'}", f"run={trained}", *SMALL]
    arguments = ("publish", "demo", *given, "--cards", tmp_path / "cards", "--to", repo_id)
    code, _, err = user(command, *arguments)
    assert code == 0, err
    repository = hub.repositories[repo_id]
    commit = repository.branches["main"]
    registry = json.loads((tmp_path / "cards" / "registry.json").read_text(encoding="utf-8"))
    assert (registry["demo"]["repo_id"], registry["demo"]["commit"]) == (repo_id, commit)
    assert repository.commits[commit]["model.safetensors"] == (tmp_path / "cards/demo/model.safetensors").read_bytes()
    code, out, err = user(command, *arguments)
    assert code == 0, err
    assert f"nothing has changed since commit {commit}" in out
    assert list(repository.commits)[-1] == commit
    assert json.loads((tmp_path / "cards" / "registry.json").read_text(encoding="utf-8")) == registry


def test_a_damaged_registry_is_not_overwritten(trained, tmp_path):
    (tmp_path / "registry.json").write_text("{", encoding="utf-8")
    with pytest.raises(ReadError, match="damaged"):
        publish(small_recipe(trained), tmp_path)
    assert (tmp_path / "registry.json").read_text(encoding="utf-8") == "{"


def test_publishing_before_training_names_the_step(run, tmp_path):
    with pytest.raises(ReadError, match="sg-hub pretrain"):
        publish(small_recipe(run), tmp_path / "cards")


def test_fine_tuning_results_of_other_weights_are_not_shown(trained, tmp_path):
    folder = trained / "transfer" / "organs"
    folder.mkdir(parents=True)
    (folder / "demo.json").write_text(json.dumps({"sha256": "of other weights"}), encoding="utf-8")
    results = json.loads((publish(small_recipe(trained), tmp_path) / "results.json").read_text(encoding="utf-8"))
    shutil.rmtree(trained / "transfer")
    assert results["transfer"] == []


def test_a_card_takes_in_what_a_benchmark_found_of_its_weights(trained, tmp_path):
    folder = publish(small_recipe(trained), tmp_path / "cards")
    row = {
        "name": "mean",
        "pretrained": "0.700 ± 0.010",
        "random": "0.600 ± 0.020",
        "difference": "+0.100",
        "p": "0.01",
    }
    record = {
        "title": "organs, the whole network",
        "about": "Ten trials each.",
        "dataset_type": "openkbp",
        "dataset_name": "organs",
        "task_type": "image-segmentation",
        "metric_type": "iou",
        "metric": "IoU",
        "rows": [row],
        "verdict": "Better.",
        "sha256": sha256_of(folder / "model.safetensors"),
    }
    found = tmp_path / "benchmark" / "organs" / "demo.json"
    found.parent.mkdir(parents=True)
    found.write_text(json.dumps(record | {"sha256": "of other weights"}), encoding="utf-8")
    with pytest.raises(ReadError, match="no results of the weights"):
        take_results(folder, tmp_path / "benchmark")
    found.write_text(json.dumps(record), encoding="utf-8")
    assert take_results(folder, tmp_path / "benchmark") == 1
    assert take_results(folder, tmp_path / "benchmark") == 1  # again, and not twice
    card = ModelCard.load(build_card(folder))
    assert "0.700 ± 0.010" in card.text
    assert [r.metric_value for r in card.data.eval_results if r.metric_type == "iou"] == [0.7]


# -- what is committed -----------------------------------------------------------------------------------------------

MODELS = sorted(path.parent for path in CARDS.glob("*/results.json"))
EVERY_CARD = sorted(path.parent for path in CARDS.glob("*/README.md"))


def test_there_are_committed_cards():
    assert MODELS
    assert {folder.name for folder in EVERY_CARD} == set(sg_hub.list_models())


@pytest.mark.parametrize("folder", EVERY_CARD, ids=lambda path: path.name)
def test_the_committed_card_is_what_the_command_builds(folder, tmp_path):
    copy = Path(shutil.copytree(folder, tmp_path / folder.name))
    build_card(copy)
    assert (copy / "README.md").read_text(encoding="utf-8") == (folder / "README.md").read_text(encoding="utf-8")


def test_the_card_of_the_published_weights_says_what_is_reported_and_what_is_not_measured(tmp_path):
    card = ModelCard.load(build_card(tmp_path / "semantic-genesis-3d"))
    assert card.data.license == "other"
    assert card.data.license_name
    assert card.data.license_link
    assert not card.data.eval_results
    assert "model-index" not in card.content
    reported = card.text.split("## Results that the paper reports")[1].split("## Results, measured here")[0]
    assert "Not measured here" in reported
    row = "| **Semantic Genesis 3D, these weights** | 98.47±0.22 | 85.60±1.94 | 77.24±0.68 | 68.80±0.30 |"
    assert row in reported
    for words in (
        "zenodo.org/records/4625297",
        "sg-hub convert",
        "Outputs depend on the batch",
        "-1000.0 to 1000.0 HU",
    ):
        assert words in card.text
    assert [path.name for path in (tmp_path / "semantic-genesis-3d").iterdir()] == ["README.md"]


@pytest.mark.parametrize("folder", MODELS, ids=lambda path: path.name)
def test_committed_weights_give_the_golden_output(folder):
    golden = load_file(folder / "golden.safetensors")
    model = sg_hub.from_pretrained(folder)
    with torch.inference_mode():
        output = model(golden["input"].float())
    torch.testing.assert_close(output.restoration, golden["restoration"].float(), atol=2e-3, rtol=0)
    torch.testing.assert_close(output.pattern_logits, golden["pattern_logits"], atol=1e-3, rtol=1e-3)
