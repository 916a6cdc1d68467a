"""The folder of a fine-tuned model: nothing in it names a patient, and nothing of somebody else's is lost."""

import csv
import hashlib
import json
import re
import shutil
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from huggingface_hub.repocard import metadata_load
from huggingface_hub.repocard_data import model_index_to_eval_results
from PIL import Image

import sg_hub
from sg_hub import SemanticGenesis2D
from sg_hub.cli import main
from tests.training.publishing.test_publish import contents
from training.publishing.finetuned import public_target
from training.publishing.rebuild import build_card
from training.publishing.selection import select
from training.targets.readers.folder import Folder
from training.trials.training import Training

QUICK = ["settings.steps=2", "settings.validate_every=1", "settings.batch_size=2", 'settings.precision="float32"']
SURNAMES = [f"Surname{number}" for number in range(12)]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A fine-tuned model, its target and its weights, below a folder whose name would tell where it is."""
    root = tmp_path_factory.mktemp("secret_hospital")
    torch.manual_seed(0)
    SemanticGenesis2D(encoder="lcnet_050", decoder_width=4, provenance={"licence": "apache-2.0"}).save_pretrained(
        root / "start"
    )
    rng, rows = np.random.default_rng(0), [("image", "label", "patient")]
    (root / "images").mkdir()
    for number in range(24):
        bright = number % 2
        pixels = (rng.integers(0, 100, (32, 32)) + 120 * bright).astype(np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"{SURNAMES[number // 2]}_{number}.png")
        rows.append((f"{SURNAMES[number // 2]}_{number}.png", ("well", "ill")[bright], SURNAMES[number // 2]))
    rows.append(("Gone_1.png", "ill", "Gone"))
    with open(root / "labels.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    (root / "xrays.toml").write_text(
        f'reader = "folder"\nname = "xrays"\nroot = "{root}"\ndims = 2\ntable = "{root}/labels.csv"\n'
        'head = "classification"\nmetric = "auc"\nclasses = ["well", "ill"]\ngrid = { size = [32, 32] }\n',
        encoding="utf-8",
    )
    assert finetune(root) == 0
    return root


def finetune(root, out="model", *more):
    given = ["finetune", "--init", str(root / "start"), "--target", str(root / "xrays.toml"), "--out", str(root / out)]
    return main([*given, "--quiet", *QUICK, *more])


def read(folder):
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def test_no_file_but_the_pictures_tells_who_was_tested(tuned):
    for name, data in contents(tuned / "model").items():
        for secret in ("Surname", "secret_hospital", "Gone", str(tuned)):
            assert secret.encode() not in data, (name, secret)


@pytest.mark.parametrize("table", ["/data/t.csv", "~/t.csv", "../Surname1/t.csv", "C:\\Surname1\\t.csv"])
def test_settings_that_lead_away_are_not_published(table):
    given = {"name": "t", "head": "classification", "metric": "auc", "classes": ("a", "b"), "dims": 2, "root": "x"}
    settings = {"reader": "folder", "grid": {"size": (8, 8)}, **given}
    assert "table" not in public_target(Folder(table=table, **settings))
    assert public_target(Folder(table="tables/t.csv", **settings))["table"] == "tables/t.csv"


def test_names_are_hashed_as_everywhere_and_stay_beside_the_folder(tuned):
    with open(tuned / "model-items.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    tested = [row for row in rows if not row["left_out_because"]]
    found = {row["item"]: row for row in read(tuned / "model")["test_items"]}
    assert {row["item_hash"] for row in tested} == set(found)
    provenance = sg_hub.from_pretrained(tuned / "model").provenance
    for row in tested:
        digest = hashlib.sha256(f"xrays/{row['patient']}".encode()).hexdigest()[:10]
        assert row["patient_hash"] == found[row["item_hash"]]["patient"] == digest
        assert digest not in provenance.get("patients", ())
    assert {row["patient"] for row in tested} < set(SURNAMES)
    (gone,) = [row for row in rows if row["left_out_because"]]
    assert gone["item"].startswith("Gone_1")
    assert read(tuned / "model")["skipped"] == [gone["item_hash"]]


def test_its_values_stand_under_its_target(tuned):
    folder = tuned / "model"
    _, found = model_index_to_eval_results(metadata_load(folder / "README.md")["model-index"])
    values = read(folder)["values"]
    assert {r.metric_name: r.metric_value for r in found} == {key: round(value, 5) for key, value in values.items()}
    assert {(r.task_name, r.dataset_config) for r in found} == {(read(folder)["target"]["title"],) * 2}


@pytest.mark.parametrize(
    ("init", "base"),
    [
        ("owner/weights", "owner/weights"),
        ("encoder:owner/weights", "owner/weights"),
        ("random:owner/weights", None),
        ("start", None),
        ("semantic-genesis-3d-tiny", None),
        ("timm:lcnet_050", "timm/lcnet_050.ra2_in1k"),
        ("timm:no_such_encoder", None),
    ],
)
def test_a_hub_knows_what_it_was_fine_tuned_from_where_that_is_on_a_hub(tuned, tmp_path, init, base):
    copy = shutil.copytree(tuned / "model", tmp_path / "model")
    results = read(copy) | {"init": init}
    del results["record_sha256"]
    (copy / "results.json").write_text(json.dumps(results), encoding="utf-8")
    card = ModelCard.load(build_card(copy))
    assert card.data.base_model == base
    assert card.text.count("Not a medical device") == 1
    assert f"sha256 `{results['sha256'][:12]}`, and what they were fine-tuned from, `{init}`" in card.text


def test_its_card_can_be_built_again(tuned, tmp_path):
    copy = shutil.copytree(tuned / "model", tmp_path / "model")
    (copy / "README.md").unlink()
    build_card(copy)
    assert (copy / "README.md").read_bytes() == (tuned / "model" / "README.md").read_bytes()
    assert ModelCard.load(copy / "README.md").data.license == "apache-2.0"
    results = read(copy)
    assert re.search(r" to choose the step \([12] of 2\),$", (copy / "README.md").read_text(encoding="utf-8"), re.M)
    results["target"]["settings"]["keep"] = "last"
    del results["record_sha256"]
    (copy / "results.json").write_text(json.dumps(results), encoding="utf-8")
    build_card(copy)
    assert " to validate on (the last of 2 steps was kept),\n" in (copy / "README.md").read_text(encoding="utf-8")


def test_neither_names_nor_pictures_are_sent(tuned, tmp_path):
    chosen = select(tuned / "model")
    assert set(chosen.files) == {
        "README.md",
        "NOTICE",
        "config.json",
        "model.safetensors",
        "results.json",
        "curves.png",
        "metrics.csv",
    }
    table = (tuned / "model" / "metrics.csv").read_text(encoding="utf-8")
    assert not any(name in table for name in SURNAMES)
    assert set(chosen.kept_back) == {"examples.png"}
    assert "examples.png" in select(tuned / "model", pictures=True).files
    named = shutil.copytree(tuned / "model", tmp_path / "model")
    older = {key: value for key, value in read(named).items() if key != "sha256"} | {"test_cases": [{"case": "Miller"}]}
    (named / "results.json").write_text(json.dumps(older), encoding="utf-8")
    chosen = select(named)
    assert "results.json" not in chosen.files
    assert "may name patients" in chosen.kept_back["results.json"]


def test_fine_tuning_again_keeps_what_was_added_and_nothing_else(tuned):
    (tuned / "model" / "LICENSE").write_text("of the hospital", encoding="utf-8")
    assert finetune(tuned) == 0
    assert (tuned / "model" / "LICENSE").read_text(encoding="utf-8") == "of the hospital"
    (tuned / "model" / "LICENSE").unlink()
    assert not list(tuned.glob(".unfinished-*"))


def test_a_model_of_another_task_or_of_none_is_not_replaced(tuned, tmp_path, capsys):
    shutil.copytree(tuned / "model", tmp_path / "model")
    before = contents(tmp_path / "model")
    assert finetune(tuned, tmp_path / "model", "name=lungs") == 2
    assert "holds a model of the target xrays, which one of lungs would replace" in capsys.readouterr().err
    assert contents(tmp_path / "model") == before
    results = tmp_path / "model" / "results.json"
    recorded = {key: value for key, value in read(tmp_path / "model").items() if key not in ("target", "record_sha256")}
    results.write_text(json.dumps(recorded), encoding="utf-8")
    assert finetune(tuned, tmp_path / "model") == 2
    assert "holds weights that were not fine-tuned" in capsys.readouterr().err


def test_a_model_that_was_fine_tuned_otherwise_is_not_replaced(tuned, tmp_path, capsys):
    before = contents(tuned / "model")
    for more, changed in (
        (["settings.lr=0.01"], "settings.lr 0.002, now 0.01"),
        (["--seed", "1"], "seed 0, now 1"),
        (["--init", f"random:{tuned / 'start'}"], "init start, now random:start"),
    ):
        assert finetune(tuned, "model", *more) == 2
        said = f"a model of xrays that was fine-tuned otherwise, which this one ({changed}) would replace"
        assert said in capsys.readouterr().err
    assert contents(tuned / "model") == before
    model = SemanticGenesis2D.from_pretrained(tuned / "start")
    with torch.no_grad():
        next(model.parameters()).add_(1)
    model.save_pretrained(tmp_path / "start")
    assert finetune(tuned, "model", "--init", str(tmp_path / "start")) == 2
    assert "(start has other weights now)" in capsys.readouterr().err
    assert contents(tuned / "model") == before
    assert finetune(tuned, "model", "title=pneumonia", "description=none") == 0, "words change no result"


def test_what_to_type_next_can_be_typed(tuned, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert finetune(tuned, tmp_path / "my model") == 0
    assert "--model './my model'`" in capsys.readouterr().out
    assert "classify FILE --model './my model'\n" in (tmp_path / "my model" / "README.md").read_text(encoding="utf-8")


def test_who_is_stopped_while_predictions_are_kept_does_not_train_again(tuned, tmp_path, monkeypatch):
    more = ("--predictions", str(tmp_path / "kept"))
    with monkeypatch.context() as stopped:
        stopped.setattr(sg_hub, "classify", Mock(side_effect=KeyboardInterrupt))
        assert finetune(tuned, tmp_path / "model", *more) == 130
    monkeypatch.setattr(Training, "step", lambda self: pytest.fail("trained again"))
    assert finetune(tuned, tmp_path / "model", *more) == 0
    model, (first, *_) = sg_hub.from_pretrained(tmp_path / "model"), kept_rows(tmp_path / "kept" / "classes.csv")
    image = sg_hub.load_image(tuned / "images" / f"{first.pop('scan')}.png")
    assert {name: float(value) for name, value in first.items()} == pytest.approx(sg_hub.classify(model, image), 1e-4)


def kept_rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("there", ["start", "images"])
def test_other_folders_are_left_as_they_are(tuned, there, capsys):
    """The weights that it starts from among them: they were not written by this command."""
    before = contents(tuned / there)
    assert finetune(tuned, there) == 2
    assert "was not written by this command" in capsys.readouterr().err
    assert contents(tuned / there) == before


def test_a_table_of_something_else_beside_the_folder_is_left_as_it_is(tuned, capsys):
    (tuned / "new-items.csv").write_text("price,quantity\n", encoding="utf-8")
    assert finetune(tuned, "new") == 2
    assert "new-items.csv" in capsys.readouterr().err
    assert (tuned / "new-items.csv").read_text(encoding="utf-8") == "price,quantity\n"
    assert not (tuned / "new").exists()


def test_a_licence_of_its_own_goes_on_to_what_is_made_of_it(tuned):
    origin = {"licence": "other", "licence_name": "Academic Only", "licence_link": "https://example.org/licence"}
    SemanticGenesis2D(encoder="lcnet_050", decoder_width=4, provenance=origin).save_pretrained(tuned / "academic")
    given = ["--init", str(tuned / "academic"), "--target", str(tuned / "xrays.toml"), "--out", str(tuned / "more")]
    assert main(["finetune", *given, "--quiet", *QUICK]) == 0
    card = ModelCard.load(tuned / "more" / "README.md")
    assert (card.data.license, card.data.license_name) == ("other", "academic-only")
    assert card.data.license_link == "https://example.org/licence"
    assert "Academic Only, see https://example.org/licence" in card.text
    assert "The paper of\nSemantic Genesis declares patents pending on that method" in card.text
    assert "semantic-genesis" not in card.data.tags  # whatever it started from
