"""SuPreM's U-Net, from a checkpoint that is built as a released file is remembered to be: none was at hand."""

import json

import pytest
import torch
import torch.nn.functional as F

import sg_hub
from sg_hub import convert
from tests.sg_hub.conversion.published import filled, reference, without_classifier


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suprem")
    state = without_classifier(filled())
    net = {f"module.backbone.{key}": value for key, value in state.items()}
    others = {"module.organ_embedding": torch.zeros(3, 4), "module.GAP.0.weight": torch.ones(16)}
    torch.save({"net": net | others, "optimizer": {}, "epoch": 800}, folder / "unet.pth")
    return state, convert(folder / "unet.pth", folder / "model")


def test_a_scan_gives_what_the_network_gives_for_it_in_its_own_orientation(converted):
    state, folder = converted
    model = sg_hub.from_pretrained(folder, norm="batch")
    x = torch.rand(1, 1, 24, 16, 8, generator=torch.Generator().manual_seed(1))  # LPS
    with torch.inference_mode():
        maps = model.encoder(x)
        decoded = model.decoder(maps)
        restored, _, deep = reference(state, x.flip(2, 3), norm="batch")  # RAS
    torch.testing.assert_close(maps[-1], deep.flip(2, 3), rtol=1e-3, atol=1e-3 * float(deep.abs().max()))
    last = F.conv3d(decoded, state["out_tr.final_conv.weight"], state["out_tr.final_conv.bias"])
    torch.testing.assert_close(torch.sigmoid(last), restored.flip(2, 3), rtol=1e-3, atol=1e-3)


def test_what_it_is_and_what_was_not_checked_are_in_the_config(converted):
    _, folder = converted
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    settings, said = config["preprocessing"], config["provenance"]
    assert (config["architecture"], config["head"], config["norm"]) == (
        "SemanticGenesis3D",
        "segmentation",
        "batch_stats",
    )
    assert (settings["low"], settings["high"], settings["spacing"]) == (-175, 250, [1.5, 1.5, 1.5])
    assert said["not_checked"] == "not checked against the published file"
    assert {
        "module.organ_embedding",
        "module.GAP.0.weight",
        *(f"module.backbone.out_tr.final_conv.{k}" for k in ("bias", "weight")),
    } == set(said["left_out"])
    assert "not checked" in (folder / "README.md").read_text(encoding="utf-8")
    assert "MrGiovanni/SuPreM" in (folder / "NOTICE").read_text(encoding="utf-8")


def test_the_last_layer_starts_afresh(converted):
    _, folder = converted
    assert not sg_hub.from_pretrained(folder).segmentation.weight.any()
    model = sg_hub.from_pretrained(folder, num_classes=3)
    assert sorted(model.load_report.reset) == ["segmentation.bias", "segmentation.weight"]
    assert model.segmentation.weight.any()
