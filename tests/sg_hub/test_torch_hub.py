"""torch.hub on the repository root: what its list and help say, and every entry point."""

import pytest
import torch

from sg_hub import (
    InvalidInputError,
    Preprocessing,
    ReadError,
    SemanticGenesis3D,
    from_pretrained,
    get_weights,
    list_models,
)
from sg_hub.models.registry import families
from tests.support.folders import ROOT

DENSE = {"dense_contrast_3d_tiny": 8, "dense_contrast_3d_chest_tiny": 8, "dense_contrast_3d_small": 16}
WIDTHS = {"semantic_genesis_3d": 32, "semantic_genesis_3d_tiny": 8} | DENSE
ENCODERS = {f"{name}_encoder": width for name, width in WIDTHS.items()}
IMAGES = {
    "semantic_genesis_2d": "resnet18",
    "semantic_genesis_2d_tiny": "lcnet_050",
    "dense_contrast_2d_tiny": "lcnet_050",
}
PUBLISHED = {
    "medicalnet": "medicalnet-resnet18",
    "i3d": "i3d-kinetics",
    "dense_vnet": "dense-vnet-abdominal-ct",
    "segresnet": "ct-fm",
    "res_enc_unet": "nnssl-resenc-l",
}
SMALL = {
    "medicalnet": {"depth": 18, "width": 4, "decoder_width": 2},
    "i3d": {"width": 4},
    "dense_vnet": {"width": 6},
    "segresnet": {"width": 4, "blocks": [1, 2, 1]},
    "res_enc_unet": {"features": [4, 8, 8], "blocks": [1, 2, 1]},
}
EVERY = [name + part for name in [*WIDTHS, *IMAGES, *PUBLISHED] for part in ("", "_encoder")]


def load(entry_point, **options):
    return torch.hub.load(str(ROOT), entry_point, source="local", **options)


@pytest.fixture
def from_here(monkeypatch):
    """`torch.hub.list` and `help` know only GitHub: the repository as if it had been downloaded."""
    monkeypatch.setattr(torch.hub, "_get_cache_or_reload", lambda *_, **__: str(ROOT))


def test_list_names_every_entry_point(from_here):
    assert sorted(torch.hub.list("owner/sg_hub")) == sorted(EVERY)


def test_every_family_and_all_weights_that_come_with_the_package_have_one():
    shipped = {name.replace("-", "_") for name in list_models() if get_weights(name).folder}
    assert shipped <= {*EVERY}
    made = {type(load(name, **SMALL.get(name, {}))).__name__ for name in EVERY if not name.endswith("_encoder")}
    assert made == {*families()} - {"TimmUNet"}


@pytest.mark.parametrize("name", [*DENSE, "dense_contrast_2d_tiny"])
def test_weights_of_dense_contrast_are_those_that_are_registered(name):
    model, random = load(name, pretrained=True), load(name)
    wanted = from_pretrained(name.replace("_", "-"))
    for key, value in wanted.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key
    patterns = name == "dense_contrast_3d_small"
    assert random.head_name == wanted.head_name == ("pretext" if patterns else "restoration")
    for other in (random, load(name, head=wanted.head_name)):
        shapes = {key: value.shape for key, value in other.state_dict().items()}
        assert shapes == {key: value.shape for key, value in wanted.state_dict().items()}


@pytest.mark.parametrize("name", EVERY)
def test_help_says_how_to_call_it_and_what_comes_back(from_here, name):
    text = torch.hub.help("owner/sg_hub", name)
    for part in (f'"{name}"', "pretrained", "options", "in_chans", "(N, "):
        assert part in text


@pytest.mark.parametrize("name", WIDTHS)
def test_num_classes_gives_a_segmentation_network(name):
    model = load(name, num_classes=2)
    assert model.width == WIDTHS[name]
    with torch.inference_mode():
        assert model(torch.rand(1, 1, 16, 16, 16)).shape == (1, 2, 16, 16, 16)


@pytest.mark.parametrize("name", IMAGES)
def test_images(name):
    model, encoder = load(name, num_classes=2), load(f"{name}_encoder", in_chans=3)
    assert model.encoder_name == IMAGES[name]
    with torch.inference_mode():
        assert model.eval()(torch.rand(1, 1, 64, 64)).shape == (1, 2, 64, 64)
        features = encoder.eval()(torch.rand(1, 3, 64, 64))
    assert tuple(feature.shape[1] for feature in features) == encoder.channels
    assert tuple(64 // feature.shape[2] for feature in features) == encoder.strides


@pytest.mark.parametrize("name", PUBLISHED)
def test_networks_that_others_published(name, tmp_path):
    x = torch.rand(1, 1, 32, 32, 8)
    model = load(name, num_classes=2, **SMALL[name]).eval()
    assert model(x).shape == (1, 2, 32, 32, 8)
    model.save_pretrained(tmp_path)
    again, encoder = (load(name + part, pretrained=True, name=str(tmp_path)) for part in ("", "_encoder"))
    with torch.inference_mode():
        assert torch.equal(again(x), model(x))
        features = encoder(x)
        assert all(torch.equal(found, wanted) for found, wanted in zip(features, model.encoder(x), strict=True))
    assert tuple(feature.shape[1] for feature in features) == encoder.channels
    random = load(f"{name}_encoder", **SMALL[name])
    assert {key: value.shape for key, value in random.state_dict().items()} == {
        key: value.shape for key, value in encoder.state_dict().items()
    }


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_weights_are_to_be_converted(name):
    options = {"depth": 18} if name == "medicalnet" else {}
    with pytest.raises(ReadError, match=f"{PUBLISHED[name]}.*sg-hub convert"):
        load(name, pretrained=True, **options)


def test_without_options_it_is_the_network_of_the_pretext_tasks():
    model = load("semantic_genesis_3d_tiny")
    assert (model.head_name, model.num_classes) == ("pretext", 44)
    assert load("semantic_genesis_3d_tiny", head="classification", num_classes=3).head_name == "classification"


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_give_feature_maps_finest_first(name):
    encoder, width = load(name, in_chans=2), ENCODERS[name]
    with torch.inference_mode():
        features = encoder(torch.rand(1, 2, 16, 16, 16))
    wanted = [(1, 2 * width * 2**level, *[16 // 2**level] * 3) for level in range(4)]
    assert [tuple(feature.shape) for feature in features] == wanted
    assert encoder.channels == tuple(shape[1] for shape in wanted)
    assert encoder.strides == tuple(16 // shape[2] for shape in wanted)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    model = SemanticGenesis3D(width=2, num_classes=5, preprocessing=Preprocessing(spacing=(4, 4, 3)))
    folder = tmp_path_factory.mktemp("saved")
    model.save_pretrained(folder)
    return model, folder


@pytest.mark.parametrize("name", WIDTHS)
def test_pretrained_loads_weights_for_evaluation(name, saved):
    original, folder = saved
    model = load(name, pretrained=True, name=str(folder), num_classes=2)
    assert not model.training
    assert (model.head_name, model.num_classes) == ("segmentation", 2)
    assert model.preprocessing.spacing == (4, 4, 3)
    for key, value in original.encoder.state_dict().items():
        assert torch.equal(model.encoder.state_dict()[key], value), key


@pytest.mark.parametrize("name", ENCODERS)
def test_pretrained_encoders_have_the_weights(name, saved):
    original, folder = saved
    encoder = load(name, pretrained=True, name=str(folder))
    for key, value in original.encoder.state_dict().items():
        assert torch.equal(encoder.state_dict()[key], value), key


@pytest.mark.parametrize("name", EVERY)
def test_weights_that_are_not_there_are_a_clear_error(name):
    with pytest.raises(InvalidInputError, match=r"no model 'no-such-model'.*registered name"):
        load(name, pretrained=True, name="no-such-model")


def test_weights_that_are_on_no_hub_and_options_that_are_none():
    with pytest.raises(InvalidInputError, match="on no hub yet"):
        load("semantic_genesis_2d", pretrained=True)
    with pytest.raises(InvalidInputError, match="has no such option"):
        load("semantic_genesis_2d_tiny", pretrained=True, encoder="resnet18")
    with pytest.raises(InvalidInputError, match="without weights"):
        load("semantic_genesis_3d", revision="v1")


@pytest.mark.parametrize("head", ["segmentation", "classification"])
def test_a_task_without_its_number_of_classes_is_refused_with_weights_and_without(head, saved):
    for options in ({}, {"pretrained": True, "name": str(saved[1])}):
        with pytest.raises(InvalidInputError, match=f"head='{head}' needs num_classes"):
            load("semantic_genesis_3d_tiny", head=head, **options)


def test_a_name_without_pretrained_is_not_ignored():
    with pytest.raises(InvalidInputError, match=r"give pretrained=True"):
        load("semantic_genesis_3d_tiny", name="semantic-genesis-3d-tiny")
