"""Pre-training that goes on from trained weights."""

import json
import shutil

import pytest
import torch

from sg_hub import Preprocessing, SemanticGenesis2D, SemanticGenesis3D, from_pretrained
from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.hub.model_folder import sha256_of
from tests.training.conftest import small_recipe
from training.data.leakage import patient_hashes
from training.pretraining.autoencode import _of_the_autoencoder
from training.pretraining.pretrain import pretrain
from training.run.folder.metrics import read_metrics

PATCHES = 'method={ name = "in_painting" }'


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Weights of the small recipe's architecture, that have seen somebody."""
    folder = tmp_path_factory.mktemp("trained")
    torch.manual_seed(5)
    expected = {"low": -1000.0, "high": 1000.0, "input_size": (16, 16, 8)}
    for name, width, spacing in (
        ("net", 2, (4.0, 4.0, 3.0)),
        ("wide", 4, (4.0, 4.0, 3.0)),
        ("fine", 2, (1.0, 1.0, 1.0)),
    ):
        model = SemanticGenesis3D(
            width=width, norm="batch", head="restoration", preprocessing=Preprocessing(spacing=spacing, **expected)
        )
        model.provenance |= {"patients": patient_hashes("mine", ["somebody"]), "datasets": ["mine"], "images": []}
        model.save_pretrained(folder / name)
    SemanticGenesis2D(encoder="lcnet_035", head="restoration").save_pretrained(folder / "image")
    return folder


def started(run, weights, *overrides):
    """A run so slow that the weights are still those that it started from."""
    still = ("pretrain.lr=1e-12", "pretrain.samples_per_epoch=8", "pretrain.epochs=1")
    return small_recipe(run, PATCHES, f"pretrain.weights={weights}", *still, *overrides)


def test_it_starts_from_them_and_says_whom_they_have_seen(run, trained, capsys):
    model = from_pretrained(pretrain(started(run, trained / "net"), progress=False))
    given = from_pretrained(trained / "net")
    for key, value in given.named_parameters():
        torch.testing.assert_close(dict(model.named_parameters())[key], value, atol=1e-6, rtol=0)
    assert set(patient_hashes("mine", ["somebody"])) < set(model.provenance["patients"])
    assert {"mine"} <= set(model.provenance["datasets"])
    assert f"starting from {trained / 'net'}\n" in capsys.readouterr().out


def test_layers_that_they_lack_are_random_and_a_checkpoint_goes_on(run, trained, capsys):
    semantic = started(
        run, trained / "net", 'method={ name = "restoration", semantics = true, classification_epochs = 1 }'
    )
    pretrain(semantic, progress=False)
    assert "; random: classifier\n" in capsys.readouterr().out
    longer = semantic.model_copy(update={"pretrain": semantic.pretrain.model_copy(update={"epochs": 2})})
    model = from_pretrained(pretrain(longer, progress=False))
    stages = [row["stage"] for row in read_metrics(run / "pretraining" / "metrics.jsonl")]
    assert stages == ["classification", "joint", "joint"]
    assert set(patient_hashes("mine", ["somebody"])) < set(model.provenance["patients"]), "also when it was resumed"


def test_the_autoencoder_does_not_start_from_them(run, trained):
    recipe = small_recipe(run, f"pretrain.weights={trained / 'wide'}")
    assert _of_the_autoencoder(recipe).pretrain.weights == ""


def test_other_weights_of_the_same_name_are_another_training(run, trained, tmp_path):
    shutil.copytree(trained / "net", tmp_path / "net")
    pretrain(started(run, tmp_path / "net"), progress=False)
    record = json.loads((run / "pretrain.json").read_text(encoding="utf-8"))
    assert record["started_from"]["sha256"] == sha256_of(trained / "net" / "model.safetensors")
    model = from_pretrained(tmp_path / "net")
    with torch.no_grad():
        next(model.parameters()).add_(1)
    model.save_pretrained(tmp_path / "net")
    with pytest.raises(ReadError, match="was written with another recipe or other data"):
        pretrain(started(run, tmp_path / "net"), progress=False)


def test_what_does_not_fit_is_refused(run, trained):
    with pytest.raises(InvalidInputError, match=r"their encoder is another \(encoder[^ ]* and [0-9]+ more tensors"):
        pretrain(started(run, trained / "wide"), progress=False)
    with pytest.raises(InvalidInputError, match=r"their encoder is another \(norm='batch' of one of the two\)"):
        pretrain(started(run, trained / "net", "model.norm=batch_stats"), progress=False)
    with pytest.raises(InvalidInputError, match=r"their encoder is another \(encoder.* more tensors"):
        pretrain(started(run, trained / "net", "model.norm=instance"), progress=False)
    with pytest.raises(InvalidInputError, match=r"they expect a spacing of \[1.0, 1.0, 1.0\] mm"):
        pretrain(started(run, trained / "fine"), progress=False)
    with pytest.raises(InvalidInputError, match=r"they are a SemanticGenesis2D, and \[model\] is a SemanticGenesis3D"):
        pretrain(started(run, trained / "image"), progress=False)
