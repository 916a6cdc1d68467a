"""Models Genesis: the same network without classes."""

import pytest
import torch

import sg_hub
from sg_hub import InvalidInputError, convert
from tests.sg_hub.conversion.published import checkpoint, close, cubes, reference, without_classifier


@pytest.fixture(scope="module")
def models_genesis(state, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models_genesis")
    torch.save(checkpoint(without_classifier(state)), folder / "Genesis_Chest_CT.pt")
    return convert(folder / "Genesis_Chest_CT.pt", folder / "model")


def test_models_genesis_restores_and_has_no_classes(models_genesis, state):
    model = sg_hub.from_pretrained(models_genesis)
    assert (model.head_name, model.num_classes, model.load_report.reset) == ("restoration", 0, [])
    with torch.inference_mode():
        close(model(cubes()), reference(state, cubes())[0])
        padded = model(torch.rand(1, 1, 13, 16, 10), pad=True)
    assert padded.shape == (1, 1, 13, 16, 10)


def test_the_kind_is_said_to_be_inferred_from_the_absent_classifier(models_genesis, converted):
    card = (models_genesis / "README.md").read_text(encoding="utf-8")
    assert "# Models Genesis" in card
    assert "was taken for Models Genesis by that alone" in card
    provenance = sg_hub.from_pretrained(models_genesis).provenance
    assert provenance["checkpoint"] == "Models Genesis"
    assert "inferred" in provenance["checkpoint_known_by"]
    assert "clc_out" in sg_hub.from_pretrained(converted).provenance["checkpoint_known_by"]
    assert "was taken for" not in (converted / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("head", ["segmentation", "classification", "pretext"])
def test_other_heads_on_models_genesis_say_what_starts_afresh(models_genesis, head):
    model = sg_hub.from_pretrained(models_genesis, head=head, num_classes=5)
    fresh = {"segmentation": ("segmentation.",), "classification": ("classifier.",), "pretext": ("classifier.",)}[head]
    assert model.load_report.reset
    assert all(key.startswith(fresh) for key in model.load_report.reset)
    assert {key for key in model.state_dict() if key.startswith(fresh)} == set(model.load_report.reset)
    with pytest.raises(InvalidInputError, match="num_classes"):
        sg_hub.from_pretrained(models_genesis, head=head)


def test_classes_alone_mean_segmentation_and_a_restoration_has_none(models_genesis):
    assert sg_hub.from_pretrained(models_genesis, num_classes=2).head_name == "segmentation"
    with pytest.raises(InvalidInputError, match="has no classes"):
        sg_hub.from_pretrained(models_genesis, head="restoration", num_classes=2)
