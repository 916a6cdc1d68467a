"""Where a network starts from: what each initialisation takes, and what it is known by."""

import pytest
import torch

import sg_hub
from sg_hub import SemanticGenesis3D
from sg_hub.errors import InvalidInputError, ReadError
from tests.training.targets.target_folders import chestxray14, target_at
from tests.training.trials.small_trials import QUICK, SMALL, trial_of
from training.trials.task.initialisation import kind_of, look_up, name_of


def test_random_and_encoder_take_what_they_say(patches, weights):
    target = target_at("lidc-nodules", patches, *SMALL)
    name = str(weights / "small3d")
    starts = [look_up(init) for init in (name, f"random:{name}", f"encoder:{name}")]
    whole, random, encoder = (start.network(target, 0) for start in starts)
    loaded = sg_hub.from_pretrained(name).state_dict()
    deep, decoder = "encoder.levels.0.0.conv.weight", "decoder.levels.0.up.weight"
    assert torch.equal(whole.state_dict()[deep], loaded[deep])
    assert torch.equal(whole.state_dict()[decoder], loaded[decoder])
    assert torch.equal(encoder.state_dict()[deep], loaded[deep])
    assert not torch.equal(encoder.state_dict()[decoder], loaded[decoder])
    assert not torch.equal(random.state_dict()[deep], loaded[deep])
    assert random.provenance == {"patients": []}
    assert encoder.provenance == whole.provenance
    assert [kind_of(init) for init in (name, f"random:{name}", f"encoder:{name}")] == ["whole", "random", "encoder"]
    assert name_of(f"random:{name}") == name
    for network, start in zip((whole, random, encoder), starts, strict=True):
        assert network.class_names == ("background", "nodule")
        assert (network.head_name, network.num_classes) == ("segmentation", 2)
        assert dict(start.provenance) == network.provenance


def test_a_network_is_built_once_and_weights_are_looked_at_without_being_built(patches, weights, tmp_path, monkeypatch):
    built = []
    real = SemanticGenesis3D.__init__

    def counted(self, *arguments, **settings):
        real(self, *arguments, **settings)
        built.append(next(self.parameters()).device.type)

    monkeypatch.setattr(SemanticGenesis3D, "__init__", counted)
    target = target_at("lidc-nodules", patches, *QUICK, *SMALL)
    for init in (weights / "small3d", f"random:{weights / 'small3d'}", f"encoder:{weights / 'small3d'}"):
        built.clear()
        trial_of(target, tmp_path, init)
        assert built.count("cpu") == 1
        assert built[-1] == "cpu"  # the others were on torch's meta device, without memory


def test_findings_make_a_network_of_several_labels(tmp_path, weights):
    chestxray14(tmp_path)
    names = ("Effusion", "Mass")
    target = target_at("dxc", tmp_path, f"classes={list(names)}".replace("'", '"'), "grid.size=[32, 32]")
    network = look_up(str(weights / "small2d")).network(target, 0)
    assert (network.class_names, network.multilabel) == (names, True)


def test_imagenet_weights_are_of_2d_networks_and_none_of_the_pretrained_ones(patches, weights, monkeypatch):
    target = target_at("lidc-nodules-2d", patches, "grid.size=[32, 32, 8]", "crop=16")
    imagenet = look_up(f"imagenet:{weights / 'small2d'}")
    with pytest.raises(ReadError):  # no test may download them
        imagenet.network(target, 0)

    def filled(encoder, name, source):
        for parameter in encoder.parameters():
            torch.nn.init.constant_(parameter, 0.25)
        return f"timm/{name}.{source}"

    monkeypatch.setattr("sg_hub.models.families.timm_weights.load_encoder_weights", filled)
    network = imagenet.network(target, 0)
    assert all(bool((parameter == 0.25).all()) for parameter in network.encoder.parameters())
    assert network.provenance == {"patients": [], "encoder_weights": "timm/lcnet_050.imagenet"}
    assert (network.encoder.mean, network.encoder.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    with pytest.raises(InvalidInputError, match="2D networks only"):
        look_up(f"imagenet:{weights / 'small3d'}").check_fits(target_at("lidc-nodules", patches, *SMALL))


def test_a_fingerprint_is_of_the_weights_not_of_their_folder(weights, tmp_path):
    name = str(weights / "small3d")
    sg_hub.from_pretrained(name).save_pretrained(tmp_path / "copy")
    other = sg_hub.from_pretrained(name)
    with torch.no_grad():
        other.encoder.levels[0][0].conv.weight.add_(1)
    other.save_pretrained(tmp_path / "other")
    assert look_up(name).fingerprint == look_up(str(tmp_path / "copy")).fingerprint
    assert look_up(name).fingerprint != look_up(str(tmp_path / "other")).fingerprint
    assert look_up(f"random:{name}").fingerprint == look_up(f"random:{tmp_path / 'other'}").fingerprint
    assert len({look_up(f"{kind}{name}").fingerprint for kind in ("", "random:", "encoder:")}) == 3


def test_patches_that_the_network_cannot_take_are_named(patches, weights, tmp_path):
    target = target_at("lidc-nodules", patches, *QUICK, "grid.size=[20, 16, 8]")
    with pytest.raises(InvalidInputError, match="multiples of 8"):
        trial_of(target, tmp_path, weights / "small3d")
