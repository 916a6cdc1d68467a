"""timm's own weights by `timm:NAME`, from a hub on loopback, and what they bring with them."""

import json

import pytest
import torch
from safetensors.torch import save

import sg_hub
from sg_hub import InvalidInputError, ReadError
from sg_hub.models.families.timm_encoder import COMMON, TimmEncoder
from sg_hub.models.families.timm_import import import_timm
from sg_hub.models.families.timm_unet import TimmUNet
from sg_hub.models.registry import planned

NAME, REPOSITORY = "lcnet_050.ra2_in1k", "timm/lcnet_050.ra2_in1k"
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def theirs():
    torch.manual_seed(3)
    return import_timm().create_model(NAME).eval()  # in colour, with its classifier, as timm publishes them


@pytest.fixture(scope="module")
def published(hub):
    data = save(theirs().state_dict())
    hub.add(REPOSITORY, {"model.safetensors": data, "README.md": b"---\nlicense: apache-2.0\n---\nMade of tests."})
    return data


def loaded(cache, folder=None, **options):
    """What a user's process loads, in plain types."""
    model = sg_hub.from_pretrained(f"timm:{NAME}", cache_dir=cache, **options)
    if folder is not None:
        model.save_pretrained(folder)
    report = model.load_report
    return {
        "config": model.config(),
        "report": {key: getattr(report, key) for key in ("source", "revision", "sha256", "loaded", "adapted", "reset")},
        "features": [found.numpy() for found in features_of(model)],
    }


def features_of(model):
    grey = torch.rand(1, 1, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return model.encoder(grey.expand(-1, model.in_chans, -1, -1))


def test_weights_of_timm_bring_their_statistics_and_give_its_features(published, user, tmp_path):
    found = user(loaded, tmp_path / "cache", tmp_path / "model")
    config, report = found["config"], found["report"]
    assert (report["source"], report["reset"], report["adapted"]) == (REPOSITORY, [], [])
    assert (len(report["revision"]), len(report["sha256"])) == (40, 64)
    assert (config["encoder"], config["in_chans"], config["head"]) == (NAME, 3, "features")
    assert (config["mean"], config["std"]) == (MEAN, STD)
    settings = config["preprocessing"]
    assert (settings["input_size"], settings["interpolation"], settings["high"]) == ([224, 224], "bicubic", 1.0)
    said = config["provenance"]
    assert (said["encoder_weights"], said["licence"], said["patients"]) == (REPOSITORY, "apache-2.0", [])
    reference = import_timm().create_model(NAME, features_only=True).eval()
    reference.load_state_dict(theirs().state_dict(), strict=False)
    x = torch.rand(1, 1, 64, 96, generator=torch.Generator().manual_seed(1)).expand(-1, 3, -1, -1)
    with torch.inference_mode():
        wanted = reference((x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1))
    for ours, their in zip(found["features"], wanted, strict=True):
        torch.testing.assert_close(torch.from_numpy(ours), their)
    again = sg_hub.from_pretrained(tmp_path / "model")
    assert again.config() == config
    for ours, their in zip(features_of(again), wanted, strict=True):
        torch.testing.assert_close(ours, their)
    assert "Made of tests" in (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert REPOSITORY in (tmp_path / "model" / "NOTICE").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "adapted"),
    [
        ({"head": "segmentation", "num_classes": 2, "in_chans": 1}, []),
        ({"head": "classification", "num_classes": 3, "in_chans": 1, "part": "encoder"}, []),
        ({"num_classes": 2, "in_chans": 2}, ["encoder.body.conv_stem.weight"]),
    ],
)
def test_any_head_and_channels(published, user, tmp_path, options, adapted):
    found, colour = user(loaded, tmp_path, tmp_path / "model", **options), user(loaded, tmp_path)["features"]
    config, report = found["config"], found["report"]
    assert config["head"] == options.get("head", "segmentation")
    assert report["adapted"] == adapted
    assert not any(key.startswith("encoder.") for key in report["reset"])
    if adapted:
        assert config["mean"] == pytest.approx(0.449, abs=5e-4)  # of two channels, which are no colours
    else:  # a grey image gives what it gives in three colours
        assert config["mean"] == MEAN
        for one, other in zip(colour, found["features"], strict=True):
            torch.testing.assert_close(torch.from_numpy(one), torch.from_numpy(other))
    four = sg_hub.from_pretrained(tmp_path / "model", in_chans=4)
    assert four.encoder.get_parameter(four.encoder.input_key).shape[1] == 4


def test_from_the_cache_alone(published, user, tmp_path):
    with pytest.raises(ReadError, match=r"not in the local cache.*connect once.*HF_ENDPOINT.*model.safetensors"):
        user(loaded, tmp_path, local_files_only=True)
    first = user(loaded, tmp_path)["report"]
    assert user(loaded, tmp_path, local_files_only=True)["report"] == first


def test_a_revision_that_the_hub_has_not(published, user, tmp_path):
    with pytest.raises(ReadError, match="revision"):
        user(loaded, tmp_path, revision="v9")


def test_weights_that_lack_parts_are_refused(hub, user, tmp_path):
    hub.add("timm/test_vit.r160_in1k", {"model.safetensors": save({"a": torch.zeros(1)})})
    with pytest.raises(ReadError, match=r"does not fit encoder='test_vit.r160_in1k': it lacks"):
        user(sg_hub.from_pretrained, "timm:test_vit", cache_dir=tmp_path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet81", "no such encoder; did you mean resne"),
        ("resnet18.nope", "no weights of that name; of resnet18 there are a1_in1k"),
        ("lcnet_035", "no weights in timm .*lcnet_050.* have"),
        ("", "no such encoder"),
    ],
)
def test_names_that_timm_has_not(name, words):
    for named in (planned, sg_hub.from_pretrained):
        with pytest.raises(InvalidInputError, match=words):
            named(f"timm:{name}")


def test_weights_that_are_on_no_hub():
    with pytest.raises(ReadError, match=r"on no hub, but at https://.*FILE.safetensors"):
        sg_hub.from_pretrained("timm:gcvit_tiny")


def test_a_plan_needs_no_weights():
    plan = planned("timm:efficientnet_b3")
    assert type(plan) is TimmUNet
    assert next(plan.parameters()).is_meta
    assert plan.preprocessing.input_size == (288, 288)  # the nearest that it can take to timm's
    assert plan.config()["encoder"].startswith("efficientnet_b3.")


@pytest.mark.parametrize("name", COMMON)
def test_encoders_that_are_named_in_place_of_others_can_be_used(name):
    with torch.device("meta"):
        encoder = TimmEncoder(name, 1)
    assert len(encoder.strides) >= 2


def test_means_of_colours_are_one_for_other_channels():
    with torch.device("meta"):
        models = [TimmUNet(encoder="lcnet_035", in_chans=n, mean=MEAN, std=STD) for n in (1, 2, 3)]
    assert [model.config()["mean"] for model in models] == [MEAN, 0.449, MEAN]
    assert [model.encoder.get_parameter(model.encoder.input_key).shape[1] for model in models] == [3, 2, 3]
    assert json.loads(json.dumps(models[2].config()["std"])) == STD
