"""SemanticGenesis2D: encoders of timm, heads, channels, loading, and images through it."""

import json

import pytest
import torch
from safetensors.torch import save_file

import sg_hub
from sg_hub import (
    ImagePreprocessing,
    InvalidInputError,
    Preprocessing,
    PretextOutput,
    ReadError,
    SemanticGenesis2D,
    SemanticGenesis3D,
    load_image,
)
from sg_hub.models.families.timm_import import import_timm
from tests.sg_hub.models.model_folders import change_config, change_state
from tests.support.folders import DEMO_SAMPLES

SAMPLES = DEMO_SAMPLES
XRAYS = sorted((SAMPLES / "chestxray14" / "images").glob("*.png"))
CT = SAMPLES / "openkbp" / "ct" / "pt_201.nii.gz"
SMALL = "lcnet_035"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def small(**options):
    torch.manual_seed(0)
    settings = {"encoder": SMALL, "decoder_width": 2, "num_classes": 5}
    settings["preprocessing"] = ImagePreprocessing(input_size=(64, 64))
    return SemanticGenesis2D(**(settings | options)).eval()


def images(n=2, c=1, size=(64, 96)):
    return torch.rand(n, c, *size, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def folder(tmp_path):
    small().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


# -- networks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoder", "channels", "strides"),
    [
        ("resnet18", (64, 64, 128, 256, 512), (2, 4, 8, 16, 32)),
        ("resnet50", (64, 256, 512, 1024, 2048), (2, 4, 8, 16, 32)),
        ("convnext_tiny", (96, 192, 384, 768), (4, 8, 16, 32)),
        ("efficientnet_b0", (16, 24, 40, 112, 320), (2, 4, 8, 16, 32)),
        ("lcnet_050", (16, 32, 64, 128, 256), (2, 4, 8, 16, 32)),
        ("vgg11_bn", (64, 128, 256, 512, 512, 512), (1, 2, 4, 8, 16, 32)),
        ("swin_tiny_patch4_window7_224", (96, 192, 384, 768), (4, 8, 16, 32)),
        ("mambaout_femto", (48, 96, 192, 288), (4, 8, 16, 32)),
        ("vit_tiny_patch16_224", (192, 192, 192), (16, 16, 16)),
    ],
)
def test_any_encoder_of_timm(encoder, channels, strides):
    model = small(encoder=encoder, in_chans=2)
    x = images(c=2)
    with torch.inference_mode():
        maps, out = model.encoder(x), model(x)
    assert (model.encoder.channels, model.encoder.strides) == (channels, strides)
    assert [tuple(m.shape) for m in maps] == [(2, c, 64 // s, 96 // s) for c, s in zip(channels, strides, strict=True)]
    assert out.restoration.shape == x.shape
    assert out.pattern_logits.shape == (2, 5)
    first = model.encoder.get_parameter(model.encoder.input_key)
    assert first.shape[1] == 2


@pytest.mark.parametrize(
    "encoder", ["lcnet_050", "mambaout_femto"]
)  # maps of the one are (N, C, H, W), of the other (N, H, W, C)
def test_a_network_that_is_built_without_memory_works_with_weights(encoder):
    model, x = small(encoder=encoder), images()
    with torch.device("meta"):
        empty = SemanticGenesis2D(encoder=encoder, decoder_width=2, num_classes=5)
    empty.load_state_dict(model.state_dict(), assign=True)
    with torch.inference_mode():
        torch.testing.assert_close(empty.eval()(x).restoration, model(x).restoration)


def test_the_default_is_that_of_the_paper():
    with torch.device("meta"):
        model = SemanticGenesis2D()
    assert (model.encoder_name, model.num_classes, model.in_chans) == ("resnet18", 100, 1)
    assert model.preprocessing.input_size == (224, 224)


def test_heads_give_the_shapes_of_the_contract():
    out = small()(images())
    assert isinstance(out, PretextOutput)
    assert 0 <= out.restoration.min() <= out.restoration.max() <= 1
    assert small(head="segmentation")(images()).shape == (2, 5, 64, 96)
    assert small(head="classification")(images()).shape == (2, 5)


@pytest.mark.parametrize("head", ["pretext", "segmentation", "classification"])
def test_any_size_on_request(head):
    model = small(head=head)
    with torch.inference_mode():
        out = model(images(size=(50, 67)), pad=True)
    first = out[0] if head == "pretext" else out
    assert first.shape[2:] == ((50, 67) if head != "classification" else ())


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((2, 1, 64, 64, 32), "scans (N, C, X, Y, Z) needs a 3D model"),
        ((64, 64), "missing axes"),
        ((2, 3, 64, 64), "in_chans=3"),
        ((2, 1, 65, 40), "nearest allowed size is (64, 32)"),
    ],
)
def test_wrong_shapes_are_refused_with_what_to_do(shape, words):
    with pytest.raises(InvalidInputError) as error:
        small()(torch.rand(shape))
    assert words in str(error.value)


def test_grey_levels_of_255_are_refused():
    with pytest.raises(InvalidInputError, match=r"0\.\.1"):
        small()(images() * 255)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"encoder": "resnet81"}, "did you mean"),
        ({"encoder": "hf-hub:someone/something"}, "no such model"),
        ({"encoder": 3}, "no such model"),
        ({"encoder": "levit_128s"}, "one size only.*able to: fastvit_t8"),
        ({"head": "detection"}, "head"),
        ({"in_chans": 0}, "in_chans"),
        ({"decoder_width": 0}, "decoder_width"),
        ({"std": 0.0}, "std"),
        ({"encoder": "inception_v3"}, "takes no images of 64 x 128.*able to: "),
        ({"encoder": "resnet18.no_such_tag"}, "Invalid pretrained tag"),
        ({"preprocessing": Preprocessing()}, "images need ImagePreprocessing"),
        ({"mean": "grey"}, "mean='grey'"),
        ({"std": [0.2, 0.0]}, "above 0, or one for each channel"),
        ({"mean": []}, "mean"),
    ],
)
def test_wrong_arguments_are_refused(options, words):
    with pytest.raises(InvalidInputError, match=words):
        small(**options)


# -- weights of timm --------------------------------------------------------------------------------------------


def test_imagenet_weights_offline_say_what_to_do():
    with pytest.raises(ReadError, match=r"connect once.*HF_ENDPOINT.*encoder_weights='model.safetensors'"):
        small(encoder="resnet18", encoder_weights="imagenet")


def test_weights_of_timm_from_a_file(tmp_path):
    torch.manual_seed(5)
    theirs = import_timm().create_model(SMALL)  # in colour, with its classifier, as timm publishes them
    file = tmp_path / "model.safetensors"
    save_file(theirs.state_dict(), str(file))
    model = small(encoder_weights=str(file))
    torch.testing.assert_close(model.encoder.get_parameter(model.encoder.input_key), theirs.conv_stem.weight)
    assert (model.encoder.mean, model.config()["std"]) == (MEAN, list(STD))
    two = small(encoder_weights=str(file), in_chans=2)
    assert two.encoder.get_parameter(two.encoder.input_key).shape[1] == 2
    assert two.encoder.mean == pytest.approx(0.449, abs=5e-4)
    assert model.provenance["encoder_weights"] == "model.safetensors"
    colour = small(encoder_weights=str(file), in_chans=3)
    with torch.inference_mode():
        x = torch.rand(1, 3, 64, 64)
        reference = import_timm().create_model(SMALL, features_only=True).eval()
        reference.load_state_dict(colour.encoder.body.state_dict())
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (MEAN, STD))
        wanted = reference((x - mean) / std)
        for ours, theirs_ in zip(colour.encoder(x), wanted, strict=True):
            torch.testing.assert_close(ours, theirs_)
        grey = x[:, :1]
        for ours, theirs_ in zip(model.encoder(grey), colour.encoder(grey.expand(-1, 3, -1, -1)), strict=True):
            torch.testing.assert_close(ours, theirs_)


@pytest.mark.parametrize("name", ["weights.pth", "nothing.safetensors", "broken.safetensors", "other.safetensors"])
def test_weights_of_timm_that_cannot_be_used(tmp_path, name):
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    save_file({"a": torch.zeros(1)}, str(tmp_path / "other.safetensors"))
    with pytest.raises((InvalidInputError, ReadError), match=name):
        small(encoder_weights=str(tmp_path / name))


def test_an_encoder_without_weights():
    with pytest.raises(InvalidInputError, match="no weights in timm"):
        small(encoder=SMALL, encoder_weights="imagenet")


# -- loading ----------------------------------------------------------------------------------------------------


def test_saved_and_loaded_is_the_same_network(folder):
    loaded, dispatched = SemanticGenesis2D.from_pretrained(folder), sg_hub.from_pretrained(folder)
    assert not loaded.training
    assert type(dispatched) is SemanticGenesis2D
    assert loaded.config() == small().config()
    with torch.inference_mode():
        for ours, theirs in zip(loaded(images()), small()(images()), strict=True):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("c", [1, 2, 3, 4])
@pytest.mark.parametrize("head", ["pretext", "segmentation", "classification"])
def test_every_combination_loads_and_runs(folder, c, head):
    classes = None if head == "pretext" else 3
    model = SemanticGenesis2D.from_pretrained(folder, head=head, num_classes=classes, in_chans=c)
    with torch.inference_mode():
        out = model(images(c=c))
    if head == "pretext":
        assert out.restoration.shape == (2, c, 64, 96)
        assert out.pattern_logits.shape == (2, 5)
    else:
        assert out.shape == ((2, 3, 64, 96) if head == "segmentation" else (2, 3))
    report, every = model.load_report, set(model.state_dict())
    assert set(report.loaded) | set(report.adapted) | set(report.reset) == every
    assert (f"encoder.{model.encoder.input_key}" in report.adapted) == (c != 1)


@pytest.mark.parametrize("c", [2, 3, 4])
def test_more_channels_of_the_same_image_give_the_same_features(folder, c):
    one, many = (SemanticGenesis2D.from_pretrained(folder, in_chans=n) for n in (1, c))
    with torch.inference_mode():
        for a, b in zip(one.encoder(images()), many.encoder(images().expand(-1, c, -1, -1)), strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_stems_of_several_branches_are_adapted_to_other_channels(tmp_path):
    model = small(encoder="mobileone_s0")
    model.save_pretrained(tmp_path)
    colour = SemanticGenesis2D.from_pretrained(tmp_path, in_chans=3)
    assert len([key for key in colour.load_report.adapted if key.startswith("encoder.")]) > 1
    with torch.inference_mode():
        for a, b in zip(model.encoder(images()), colour.encoder(images().expand(-1, 3, -1, -1)), strict=True):
            torch.testing.assert_close(a, b, atol=1e-3 * float(a.abs().max()), rtol=0)


@pytest.mark.parametrize("damage", ["nan", "integers"])
def test_weights_of_nothing_are_refused(folder, damage):
    key = f"encoder.{small().encoder.input_key}"
    broken = {"nan": lambda value: value * float("nan"), "integers": lambda value: value.to(torch.int8)}[damage]
    change_state(folder, lambda state: state.update({key: broken(state[key])}))
    with pytest.raises(InvalidInputError, match=key):
        SemanticGenesis2D.from_pretrained(folder)


def test_a_folder_has_no_revision(folder):
    with pytest.raises(InvalidInputError, match="has no revision='v1'"):
        SemanticGenesis2D.from_pretrained(folder, revision="v1")


def test_a_device_that_is_not_there(folder):
    with pytest.raises(InvalidInputError, match="device='gpu'"):
        SemanticGenesis2D.from_pretrained(folder, device="gpu")


def test_one_pixel_cannot_be_normalised_in_training():
    with pytest.raises(InvalidInputError, match="one value per channel"):
        small().train()(images(1, size=(32, 32)))
    small()(images(1, size=(32, 32)))


def test_preprocess_gives_what_the_model_takes():
    image = load_image(XRAYS[0])
    model = small(in_chans=3)
    with torch.inference_mode():
        restored = model(model.preprocess(image)).restoration
    assert restored.shape == (1, 3, 64, 64)


def test_options_of_the_other_architecture_are_refused(folder, tmp_path):
    with pytest.raises(InvalidInputError, match="SemanticGenesis2D has no such option"):
        SemanticGenesis2D.from_pretrained(folder, norm="batch")
    with pytest.raises(ReadError, match="of a SemanticGenesis2D, not of a SemanticGenesis3D"):
        SemanticGenesis3D.from_pretrained(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del config["encoder"]
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ReadError, match=r"missing keys \['encoder'\]"):
        SemanticGenesis2D.from_pretrained(folder)


def test_weights_of_another_encoder_are_refused(folder):
    small(encoder="lcnet_050").save_pretrained(folder.parent / "other")
    change_config(folder.parent / "other", encoder=SMALL)
    with pytest.raises(InvalidInputError, match="do not fit SemanticGenesis2D"):
        SemanticGenesis2D.from_pretrained(folder.parent / "other")


def test_other_channels_of_weights_that_are_standardised_are_warned_of(tmp_path, caplog):
    for encoder, warned in (("nf_regnet_b0", True), (SMALL, False)):
        small(encoder=encoder, head="features").save_pretrained(tmp_path / encoder)
        caplog.clear()
        sg_hub.from_pretrained(tmp_path / encoder)
        assert not caplog.records, "nothing is adapted"
        sg_hub.from_pretrained(tmp_path / encoder, in_chans=2)
        assert ("standardises its weights" in caplog.text) == warned
