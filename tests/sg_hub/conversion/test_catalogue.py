"""The facts of families and weights: they are those of the networks themselves, and the page shows them."""

import dataclasses

import numpy as np
import pytest

from sg_hub.conversion import catalogue
from sg_hub.conversion.planned import planned_network
from sg_hub.hub.registry import get_weights, list_models
from sg_hub.io.scan import Scan
from tests.support.folders import ROOT

PAGE = ROOT / "docs" / "models.md"


@pytest.mark.parametrize("name", list_models())
def test_what_is_listed_is_what_the_network_has(name):
    pytest.importorskip("monai")
    pytest.importorskip("dynamic_network_architectures")
    listed = next(one for one in catalogue.listed_weights() if one["name"] == name)
    network, settings = planned_network(name), planned_network(name).preprocessing.to_dict()
    assert (listed["family"], listed["dimensions"]) == (type(network).__name__, network.NDIM)
    assert listed["channels"] == network.in_chans
    assert (listed["modality"], listed["patch"]) == (settings["modality"], settings["input_size"])
    assert (listed["spacing"], listed["resized_to"]) == (settings.get("spacing"), settings.get("size"))
    assert listed["parameters"] == sum(value.numel() for value in network.encoder.parameters())
    if network.NDIM == 3:
        scan = Scan(np.full((1, 2, 2, 2), -900, dtype=np.float32))
        for modality in listed["modality"].split("/"):
            assert not network.preprocessing.doubt(dataclasses.replace(scan, modality=modality))
        assert network.preprocessing.of_another_modality(dataclasses.replace(scan, modality="US"))
    release = get_weights(name).release
    if release is None:
        assert listed["status"] in ("shipped", "on a hub")


def test_the_page_of_models_ends_with_the_tables():
    text = PAGE.read_text(encoding="utf-8")
    assert text.endswith(catalogue.markdown()), "run `sg-hub models --markdown`, and put it into docs/models.md"


def test_what_training_saw_is_said_where_it_is_not_what_the_weights_are_given():
    lines = {one["name"]: catalogue.expectations(one) for one in catalogue.listed_weights()}
    assert [name for name, line in lines.items() if "training saw" in line] == ["dense-contrast-3d-chest-tiny"]
    assert "no HU" in lines["dense-contrast-3d-chest-tiny"]
