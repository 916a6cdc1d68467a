"""What a release is: one description, which another package can give."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import ModelCard

import sg_hub
from sg_hub import InvalidInputError, ReadError, SemanticGenesis3D, convert
from sg_hub.conversion import release
from sg_hub.conversion.releases import semantic_genesis
from tests.sg_hub.conversion.published import (
    checkpoint,
    light,
)


def toy_release():
    """A network of one layer, as another package would describe it."""

    def build(state, norm, provenance):
        classes = len(state["last.bias"]) if "last.bias" in state else 2
        return SemanticGenesis3D(width=1, num_classes=classes, norm=norm, provenance=provenance)

    def published_names(own):
        return {"net_" + key: key for key in own}

    return dataclasses.replace(
        semantic_genesis.RELEASE,
        title="Toy",
        files="toy.pt",
        licence="mit",
        licence_name="MIT",
        build=build,
        published_names=published_names,
        prefixes=("module.",),
        norms=("instance", "batch"),
        from_keras=None,
    )


def test_a_release_of_another_package_is_one_description(tmp_path, monkeypatch):
    point = SimpleNamespace(load=toy_release)
    monkeypatch.setattr(release, "entry_points", lambda group: [point] if group == "sg_hub.releases" else [])
    model = SemanticGenesis3D(width=1, num_classes=2, norm="instance")
    torch.save({"module.net_" + key: value for key, value in model.state_dict().items()}, tmp_path / "toy.pt")
    loaded = sg_hub.from_pretrained(convert(tmp_path / "toy.pt", tmp_path / "out"))
    assert loaded.norm == "instance"
    assert loaded.provenance["checkpoint"] == "Toy"
    for key, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value)
    assert ModelCard.load(tmp_path / "out" / "README.md").data.license == "mit"
    with pytest.raises(InvalidInputError, match=r"norm='batch_stats': expected one of instance, batch for Toy"):
        convert(tmp_path / "toy.pt", tmp_path / "other", norm="batch_stats")
    torch.save(checkpoint(light()), tmp_path / "a.pt")  # the others are still told from it
    assert sg_hub.from_pretrained(convert(tmp_path / "a.pt", tmp_path / "a")).provenance["checkpoint"] == (
        "Semantic Genesis"
    )
    with pytest.raises(ReadError, match=r"expected .*Genesis_Chest_CT\.pt.*toy\.pt"):
        convert(tmp_path / "none.pt", tmp_path / "b")
