"""CT-FM's encoder, from files that MONAI's own classes make: no released file was at hand."""

import json
import sys

import pytest
import torch
from safetensors.torch import save_file

import sg_hub
from sg_hub import SgHubError, convert
from sg_hub.conversion.releases import ct_fm

nets = pytest.importorskip("monai.networks.nets.segresnet_ds", reason="MONAI is in the extra [monai]")
SIZES = {"init_filters": 4, "blocks_down": (1, 2, 1)}


def randomised(network):
    generator = torch.Generator().manual_seed(2)
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=generator) + (0.5 if value.ndim == 1 else -0.5))
    return network.eval()


def encoder(norm="batch"):
    return randomised(nets.SegResEncoder(norm=norm, **SIZES))


def network(norm="batch"):
    return randomised(nets.SegResNetDS(norm=norm, **SIZES))


def features(folder, x):
    with torch.inference_mode():
        return sg_hub.from_pretrained(folder).encoder(x)


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("form", ["safetensors of the encoder", "checkpoint of the whole network"])
def test_a_scan_gives_what_the_network_gives_for_it_in_its_own_axes(tmp_path, form, norm):
    if form.startswith("safetensors"):
        theirs = encoder(norm)
        save_file(theirs.state_dict(), tmp_path / "file")
    else:
        whole = network(norm)
        theirs = whole.encoder
        torch.save({"state_dict": {f"model.{k}": v for k, v in whole.state_dict().items()}}, tmp_path / "file")
    folder = convert(tmp_path / "file", tmp_path / "model")
    x = torch.rand(1, 1, 8, 12, 16, generator=torch.Generator().manual_seed(1))  # left, posterior, superior
    with torch.inference_mode():
        wanted = theirs(x.permute(0, 1, 4, 3, 2))  # superior, posterior, left
    for ours, their in zip(features(folder, x), wanted, strict=True):
        torch.testing.assert_close(ours, their.permute(0, 1, 4, 3, 2), rtol=1e-3, atol=1e-5 * float(their.abs().max()))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert (config["width"], config["blocks"], config["norm"]) == (4, [1, 2, 1], norm)
    assert (config["preprocessing"]["spacing"], config["preprocessing"]["low"]) == ([1, 1, 3], -1024)
    assert "not_checked" in config["provenance"]


def test_the_published_sizes_are_the_default():
    with torch.device("meta"):
        ours = ct_fm.build({}, "batch", {})
        theirs = nets.SegResEncoder(blocks_down=(1, 2, 2, 4, 4))
    assert {key.removeprefix("encoder.body.") for key in ours.state_dict()} == theirs.state_dict().keys()


def test_without_monai_it_says_what_to_install(tmp_path, monkeypatch):
    save_file(encoder().state_dict(), tmp_path / "file")
    monkeypatch.setitem(sys.modules, "monai.networks.nets.segresnet_ds", None)
    with pytest.raises(SgHubError, match=r"pip install 'sg_hub\[monai\]'"):
        convert(tmp_path / "file", tmp_path / "model")
