"""From a run to a model folder and the registry's entry."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file

import sg_hub
from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.hub.model_folder import sha256_of
from sg_hub.io.files import write_json
from tests.support.folders import contents
from tests.training.conftest import SAMPLES, SMALL, small_images, small_recipe
from tests.training.publishing.test_upload import command
from training.data.leakage import check_unseen, patient_hashes
from training.data.prepare import store_path
from training.data.store import Store
from training.discovery.patterns import PatternTable
from training.publishing.cards.pretrained import write_pretrained_card
from training.publishing.publish import publish
from training.run.folder.checksums import sealed
from training.run.recipe_file import load_recipe


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
    assert 'sg_hub.from_pretrained("./demo")' in card.text  # it is registered under no name that could be loaded
    for picture in ("restorations.png", "curves.png", "patterns.png"):
        assert (folder / picture).is_file()
    registry = json.loads((tmp_path / "cards" / "registry.json").read_text(encoding="utf-8"))
    assert registry["demo"]["sha256"] == model.load_report.sha256
    assert registry["demo"]["commit"] == model.provenance["commit"]


def test_a_card_counts_scans_where_patients_have_several(trained, tmp_path):
    """Patterns are looked for in a share of the scans, not of the patients."""
    folder = publish(small_recipe(trained), tmp_path)
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert "images" not in results
    of_patients = (folder / "README.md").read_text(encoding="utf-8")
    results["images"] = {split: 2 * count for split, count in results["patients"].items()}
    write_json(folder / "results.json", sealed(results))
    write_pretrained_card(folder, "demo")
    train, nearest = results["patients"]["train"], results["recipe"]["discover"]["neighbours"]
    card = (folder / "README.md").read_text(encoding="utf-8")
    for text, count, whose in ((of_patients, train, "patients"), (card, 2 * train, "volumes")):
        assert f"in the nearest {100 * nearest / count:.0f} % of the held-out {whose}" in text
        assert f"in the {nearest} nearest {whose} of as many references" in text
    assert f"{train} patients ({2 * train} volumes) to train on" in card
    assert "sg_hub.load_scan" in card


def test_results_say_of_which_weights_they_are_and_when_the_commits_were_read(trained, tmp_path):
    folder = publish(small_recipe(trained), tmp_path)
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    pretraining = json.loads((trained / "pretrain.json").read_text(encoding="utf-8"))
    assert results["sha256"] == sha256_of(folder / "model.safetensors")
    assert results["pretrain"]["commit_at_end"] == pretraining["commit"]
    assert results["pretrain"]["commit_at_start"] == sg_hub.from_pretrained(folder).provenance["commit"]
    assert "commit" not in results["pretrain"]


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
    assert not [name for name in repository.commits[commit] if name.endswith(".png") and name != "curves.png"]
    code, out, err = user(command, *arguments)
    assert code == 0, err
    assert f"nothing has changed since commit {commit}" in out
    assert list(repository.commits)[-1] == commit
    assert json.loads((tmp_path / "cards" / "registry.json").read_text(encoding="utf-8")) == registry
    code, _, err = user(command, *arguments, "--pictures")
    assert code == 0, err
    newest = repository.commits[repository.branches["main"]]
    assert newest["restorations.png"] == (tmp_path / "cards/demo/restorations.png").read_bytes()


def test_a_damaged_registry_is_not_overwritten(trained, tmp_path):
    (tmp_path / "registry.json").write_text("{", encoding="utf-8")
    with pytest.raises(ReadError, match="damaged"):
        publish(small_recipe(trained), tmp_path)
    assert contents(tmp_path) == {"registry.json": b"{"}


def test_publishing_before_training_names_the_step(run, tmp_path):
    with pytest.raises(ReadError, match="sg-hub pretrain"):
        publish(small_recipe(run), tmp_path / "cards")


def test_a_model_folder_is_no_recipe_and_is_uploaded(tmp_path):
    folder = tmp_path / "my model"
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    code, _, error = command("publish", folder)
    assert code == 2
    assert f"{folder} is a model folder" in error
    assert f"sg-hub upload '{folder}' --to OWNER/NAME" in error


def test_an_evaluation_of_other_weights_is_not_published(trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    evaluation = json.loads((run / "evaluation.json").read_text(encoding="utf-8")) | {"sha256": "0" * 64}
    write_json(run / "evaluation.json", sealed(evaluation))
    with pytest.raises(ReadError, match="other weights"):
        publish(small_recipe(run), tmp_path / "cards")
    assert list((tmp_path / "cards").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("pretrain.json", lambda record: record.pop("recipe")),
        ("pretrain.json", lambda record: record["recipe"]["publish"].update(dataset=0.5)),
        ("pretrain.json", lambda record: record["recipe"]["method"].update(name="?")),
        ("discover.json", lambda record: record["recipe"].pop("prepare")),
        ("evaluation.json", lambda record: record.pop("chance")),
    ],
)
def test_records_that_are_damaged_are_said_to_be(trained, tmp_path, name, change):
    run = shutil.copytree(trained, tmp_path / "run")
    record = json.loads((run / name).read_text(encoding="utf-8"))
    change(record)
    write_json(run / name, sealed(record))
    with pytest.raises(ReadError, match=r"run: a record of its steps .* is damaged .*: run the step again"):
        publish(small_recipe(run), tmp_path / "cards")
    assert list((tmp_path / "cards").iterdir()) == []


@pytest.mark.parametrize("name", ["pretrain.json", "discover.json", "evaluation.json"])
def test_a_number_of_a_record_that_was_changed_is_seen(trained, tmp_path, name):
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    text = (run / name).read_text(encoding="utf-8")
    digit = re.search(r"[1-8]", text).start()
    (run / name).write_text(text[:digit] + "9" + text[digit + 1 :], encoding="utf-8")
    with pytest.raises(ReadError, match=rf"{name} is damaged \(its checksum is another: .*changed by hand"):
        publish(small_recipe(run), tmp_path / "cards")
    assert not list((tmp_path / "cards").glob("*"))


def recorded(run, folder, **publish):
    """A copy of a run whose pre-training had this given for [publish]."""
    run = shutil.copytree(run, folder)
    record = json.loads((run / "pretrain.json").read_text(encoding="utf-8"))
    record["recipe"]["publish"] |= publish | {"given": list(publish)}
    write_json(run / "pretrain.json", sealed(record))
    return run


def test_of_other_data_the_card_has_none_of_the_recipes_words(trained, tmp_path):
    """The recipe says which data its words are about; here these are others."""
    others = ('publish.images=["000000000000"]', "publish.modality=CT")
    words = load_recipe("demo").publish
    folder = publish(small_recipe(trained, *others), tmp_path / "nothing")
    card = ModelCard.load(folder / "README.md")
    for said in (words.data_name, words.data_licence, words.data_citation, words.limits, "openkbp", "apache"):
        assert said not in card.content
    assert card.data.license is None
    for missing in (
        "- Data: not named",
        "Licence of the data: not said",
        "The data: not said",
        "said nothing of their",
    ):
        assert missing in card.text
    assert sg_hub.from_pretrained(folder).provenance["data"] == ""
    registry = json.loads((tmp_path / "nothing" / "registry.json").read_text(encoding="utf-8"))["demo"]
    assert (registry["licence"], "not named" in registry["description"]) == ("unknown", True)

    given = ("publish.data_name=Our own CT", "publish.licence=cc-by-4.0")
    card = ModelCard.load(publish(small_recipe(trained, *others, *given), tmp_path / "given") / "README.md")
    assert "- Data: Our own CT." in card.text
    assert (card.data.license, card.data.datasets) == ("cc-by-4.0", None)

    run = recorded(trained, tmp_path / "run", data_name="CT of our clinic")
    card = ModelCard.load(publish(small_recipe(run, *others), tmp_path / "before") / "README.md")
    assert "- Data: CT of our clinic." in card.text  # given when they were trained
    assert words.data_licence not in card.content


def test_a_data_set_that_is_named_when_they_are_published_is_one_that_they_have_seen(trained, tmp_path):
    others = ('publish.images=["000000000000"]', "publish.dataset=mydata")
    seen = sg_hub.from_pretrained(publish(small_recipe(trained, *others), tmp_path / "cards")).provenance
    assert "mydata" in seen["datasets"]
    patient = Store.open(store_path(small_recipe(trained))).persons("train")[0]
    with pytest.raises(InvalidInputError, match=patient):
        check_unseen(seen, "mydata", [f"mydata/{patient}"])


def test_published_weights_load_and_the_card_says_what_they_are(trained_images, tmp_path):
    folder = publish(small_images(trained_images), tmp_path / "cards")
    model = sg_hub.from_pretrained(folder, head="segmentation", num_classes=2)
    assert type(model) is sg_hub.SemanticGenesis2D
    assert model.preprocessing.input_size == (64, 64)
    store = Store.open(store_path(small_images(trained_images)))
    persons = store.persons("train") + store.persons("validation")
    assert model.provenance["patients"] == patient_hashes("chestxray14", persons)
    card = (folder / "README.md").read_text(encoding="utf-8")
    for part in ("sg_hub.load_image", "(N, C, H, W)", "lcnet_035", "images) to train on", "- 2d", "patches"):
        assert part in card
    registry = json.loads((tmp_path / "cards" / "registry.json").read_text(encoding="utf-8"))
    assert registry["demo-2d"]["architecture"] == "SemanticGenesis2D"
