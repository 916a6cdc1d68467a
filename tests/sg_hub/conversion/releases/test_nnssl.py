"""nnssl's ResEnc-L, from checkpoints that its own network class makes: no released file was at hand."""

import json
import sys

import pytest
import torch
from torch import nn

import sg_hub
from sg_hub import SgHubError, convert
from sg_hub.conversion.releases import nnssl

unet = pytest.importorskip(
    "dynamic_network_architectures.architectures.unet", reason="dynamic-network-architectures is in the extra [nnssl]"
)


def theirs(features=(4, 8, 8), blocks=(1, 2, 1)):
    """As nnssl builds ResEnc-L, in smaller."""
    torch.manual_seed(0)
    return unet.ResidualEncoderUNet(
        input_channels=1,
        n_stages=len(features),
        features_per_stage=list(features),
        conv_op=nn.Conv3d,
        kernel_sizes=3,
        strides=[1, *[2] * (len(features) - 1)],
        n_blocks_per_stage=list(blocks),
        num_classes=1,
        n_conv_per_stage_decoder=1,
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
    ).eval()


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    folder, network = tmp_path_factory.mktemp("nnssl"), theirs()
    about = {
        "nnssl_adaptation_plan": {"key_to_encoder": "encoder.stages"},
        "trainer_name": "MAE",
        "current_epoch": 1000,
    }
    torch.save({"network_weights": network.state_dict(), **about}, folder / "checkpoint_final.pth")
    return network, convert(folder / "checkpoint_final.pth", folder / "model")


def test_a_scan_gives_what_the_network_gives_for_it_in_its_own_axes(converted):
    network, folder = converted
    model = sg_hub.from_pretrained(folder)
    x = torch.randn(1, 1, 8, 12, 16, generator=torch.Generator().manual_seed(1))  # x, y, z
    with torch.inference_mode():
        for ours, their in zip(model.encoder(x), network.encoder(x.permute(0, 1, 4, 3, 2)), strict=True):
            torch.testing.assert_close(ours, their.permute(0, 1, 4, 3, 2), rtol=1e-4, atol=1e-4)


def test_what_it_is_and_what_was_not_checked_are_in_the_config(converted):
    config = json.loads((converted[1] / "config.json").read_text(encoding="utf-8"))
    assert (config["features"], config["blocks"], config["in_chans"]) == ([4, 8, 8], [1, 2, 1], 1)
    assert (config["preprocessing"]["intensity"], config["preprocessing"]["modality"]) == ("zscore", "MR")
    said = config["provenance"]
    assert said["not_checked"] == "not checked against the published file"
    assert said["left_out"]
    assert all(key.startswith("decoder.") for key in said["left_out"])


def test_every_tensor_of_the_published_network_has_its_place():
    with torch.device("meta"):
        ours = nnssl.build({}, "batch", {})
        published = theirs((32, 64, 128, 256, 320, 320), (1, 3, 4, 6, 6, 6)).encoder.state_dict()
    once = {f"encoder.{key}": value.shape for key, value in published.items() if ".all_modules." in key}
    names = nnssl.published_names(ours.state_dict())
    assert {name: ours.state_dict()[own].shape for name, own in names.items()} == once


def test_without_its_package_it_says_what_to_install(tmp_path, monkeypatch):
    torch.save({"network_weights": theirs().state_dict()}, tmp_path / "file")
    module = "dynamic_network_architectures.building_blocks.residual_encoders"
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SgHubError, match=r"pip install 'sg_hub\[nnssl\]'"):
        convert(tmp_path / "file", tmp_path / "model")
