"""What a benchmark found of weights, on its way to their card."""

import json
import os
import shutil

import pytest
from huggingface_hub import ModelCard

from sg_hub.errors import ReadError
from sg_hub.hub.model_folder import sha256_of
from tests.support.folders import ROOT
from tests.training.conftest import small_recipe
from training.publishing.publish import publish
from training.publishing.rebuild import build_card
from training.publishing.transfer import take_results

ROW = {
    "name": "mean",
    "pretrained": "0.700 ± 0.010",
    "random": "0.600 ± 0.020",
    "difference": "+0.100",
    "p": "0.01",
}
RECORD = {
    "title": "organs, the whole network",
    "about": "Ten trials each.",
    "dataset_type": "openkbp",
    "dataset_name": "organs",
    "task_type": "image-segmentation",
    "metric_type": "iou",
    "metric": "IoU",
    "rows": [ROW],
    "verdict": "Better.",
}


def test_fine_tuning_results_of_other_weights_are_not_shown(trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    (run / "transfer" / "organs").mkdir(parents=True)
    (run / "transfer" / "organs" / "demo.json").write_text(json.dumps({"sha256": "of other weights"}), encoding="utf-8")
    results = json.loads((publish(small_recipe(run), tmp_path) / "results.json").read_text(encoding="utf-8"))
    assert results["transfer"] == []


@pytest.fixture
def folder(tmp_path):
    name = "semantic-genesis-2d-tiny"
    return shutil.copytree(ROOT / "model_cards" / name, tmp_path / name)


def test_a_card_takes_in_what_a_benchmark_found_of_its_weights(folder, tmp_path):
    found = tmp_path / "benchmark" / "organs" / f"{folder.name}.json"
    found.parent.mkdir(parents=True)
    found.write_text(json.dumps(RECORD | {"sha256": "of other weights"}), encoding="utf-8")
    with pytest.raises(ReadError, match="no results of the weights"):
        take_results(folder, tmp_path / "benchmark")
    found.write_text(json.dumps(RECORD | {"sha256": sha256_of(folder / "model.safetensors")}), encoding="utf-8")
    assert take_results(folder, tmp_path / "benchmark") == 1
    assert take_results(folder, tmp_path / "benchmark") == 1  # again, and not twice
    card = ModelCard.load(build_card(folder))
    assert "0.700 ± 0.010" in card.text
    results = [(r.dataset_name, r.metric_type, r.metric_value) for r in card.data.eval_results]
    assert results.count(("organs", "iou", 0.7)) == 1
    assert "### Fine-tuning: findings in chest X-rays" in card.text  # what it showed before


def test_a_card_takes_in_what_weights_are_worth_as_they_are(folder, tmp_path):
    line = {
        "name": "decoder: landmark error (mm)",
        "pretrained": "12.1 (11.0 to 13.0)",
        "random": "22.4 (20.1 to 24.0)",
    }
    line |= {"position": "31.0 (29.0 to 33.0)", "difference": "-10.3 (-12.0 to -8.0)", "p": "0.001"}
    record = {"title": "organs", "about": "No weight was trained.", "dataset_type": "openkbp", "dataset_name": "organs"}
    record |= {"rows": [line], "verdict": "Better than random.", "sha256": "of other weights"}
    found = tmp_path / "worth" / f"{folder.name}-01234567.worth.json"
    found.parent.mkdir()
    found.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(ReadError, match="no results of the weights"):
        take_results(folder, tmp_path / "worth")
    found.write_text(json.dumps(record | {"sha256": sha256_of(folder / "model.safetensors")}), encoding="utf-8")
    tasks = len(json.loads((folder / "results.json").read_text(encoding="utf-8"))["transfer"])
    for place in (tmp_path / "worth", tmp_path):  # or the folder that it is in; and not twice
        assert take_results(folder, place) == 1
    text = build_card(folder).read_text(encoding="utf-8")
    assert text.count("### As they are: organs") == 1
    assert "| decoder: landmark error (mm) | 12.1 (11.0 to 13.0) | 22.4 (20.1 to 24.0) | 31.0 (29.0 to 33.0) |" in text
    assert text.count("### Fine-tuning: ") == tasks


def test_results_are_found_whatever_the_weights_were_called_by_then(folder, tmp_path):
    sha256 = sha256_of(folder / "model.safetensors")
    place = tmp_path / "benchmark" / "organs"
    place.mkdir(parents=True)
    older = RECORD | {"sha256": sha256, "rows": [ROW | {"pretrained": "0.500 ± 0.010"}]}
    for number, (name, record) in enumerate(((folder.name, older), ("my-weights", RECORD | {"sha256": sha256}))):
        path = place / f"{name}-{sha256[:8]}.json"
        path.write_text(json.dumps(record), encoding="utf-8")
        os.utime(path, (number, number))
    worth = {"sha256": sha256, "title": "organs", "about": "", "dataset_type": "openkbp", "dataset_name": "organs"}
    worth |= {"rows": [], "verdict": "Worth it."}
    (place / f"my-weights-{sha256[:8]}-calibrated.worth.json").write_text(json.dumps(worth), encoding="utf-8")
    assert take_results(folder, tmp_path / "benchmark") == 2
    text = build_card(folder).read_text(encoding="utf-8")
    assert "0.700 ± 0.010" in text
    assert "0.500 ± 0.010" not in text  # what an earlier report wrote of fewer trials, by their other name
    assert "Worth it." in text


def test_a_damaged_record_is_named(folder, tmp_path):
    found = tmp_path / "benchmark" / "organs" / f"{folder.name}.json"
    found.parent.mkdir(parents=True)
    found.write_text("{", encoding="utf-8")
    with pytest.raises(ReadError, match=str(found)):
        take_results(folder, tmp_path / "benchmark")
