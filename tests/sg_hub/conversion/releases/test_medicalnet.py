"""MedicalNet's files: the same numbers as the published network, every depth, and a clear no to what is none."""

import json
import logging

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard

import sg_hub
from sg_hub import InvalidInputError, convert
from sg_hub.conversion.releases.medicalnet import RELEASE, depth_of
from sg_hub.models.families.medicalnet import DEPTHS, MedicalNet
from tests.sg_hub.conversion.published import PUBLIC, filled, shapes_in

RESNET_10 = shapes_in(PUBLIC / "medicalnet_resnet10_B.keys.json")


def light(shapes=RESNET_10):
    """The same keys and shapes, with one number behind each."""
    whole = {key: torch.tensor(7) for key in shapes if key.endswith("num_batches_tracked")}
    return {key: torch.full((), 0.5).expand(shape) for key, shape in shapes.items()} | whole


def keys_of(depth, shortcut=None):
    """Names and shapes of the published file of a depth."""
    with torch.device("meta"):
        state = MedicalNet(depth=depth, shortcut=shortcut, head="features").state_dict()
    return {key.removeprefix("encoder."): tuple(value.shape) for key, value in state.items()}


def save(path, state, prefix="module."):
    torch.save({"state_dict": {prefix + key: value for key, value in state.items()}}, path)
    return path


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("medicalnet")
    return convert(save(folder / "resnet_10_23dataset.pth", light()), folder / "model")


@pytest.mark.parametrize("name", ["medicalnet_resnet10_B", "medicalnet_resnet50_B"])
def test_the_fixture_of_the_published_network(name, tmp_path):
    expected = np.load(PUBLIC / f"{name}.npz")
    state = filled(int(expected["seed"]), shapes_in(PUBLIC / f"{name}.keys.json"))
    model = sg_hub.from_pretrained(convert(save(tmp_path / "resnet.pth", state), tmp_path / "out"))
    x = torch.from_numpy(expected["x"].astype(np.float32)).transpose(2, 4)  # as x, y, z
    with torch.inference_mode():
        stem, *levels = model.encoder(x)
    assert tuple(stem.shape[2:]) == tuple(side // 2 for side in x.shape[2:])
    assert [tuple(level.transpose(2, 4).shape) for level in levels] == [tuple(shape) for shape in expected["shapes"]]
    gap = torch.cat([level.mean((2, 3, 4)) for level in levels], 1)[0].numpy()
    np.testing.assert_allclose(gap, expected["gap"], rtol=1e-3, atol=1e-3 * float(np.abs(expected["gap"]).mean()))
    np.testing.assert_allclose([float(level.std()) for level in levels], expected["std"], rtol=1e-3)


def test_the_file_of_a_depth_has_the_published_keys():
    assert keys_of(10) == RESNET_10
    assert keys_of(50) == shapes_in(PUBLIC / "medicalnet_resnet50_B.keys.json")
    assert not any("downsample" in key for depth in (18, 34) for key in keys_of(depth))


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_depth_and_shortcut_are_told_from_the_keys(depth, shortcut):
    keys = keys_of(depth, shortcut)
    assert depth_of(keys) == depth
    with torch.device("meta"):
        model = RELEASE.build(dict.fromkeys(keys), "batch", {})
    expected = "B" if shortcut == "B" or depth not in (18, 34) else "A"
    assert (model.config()["depth"], model.config()["shortcut"]) == (depth, expected)


def test_what_a_folder_says(converted):
    model = sg_hub.from_pretrained(converted)
    assert (model.head_name, model.config()["depth"], model.load_report.reset) == ("features", 10, [])
    assert model.preprocessing.to_dict() == {
        "modality": "CT/MR",
        "intensity": "zscore",
        "low": -10,
        "high": 10,
        "spacing": None,
        "orientation": "LPS",
        "input_size": [448, 448, 56],
        "size": [448, 448, 56],
    }
    assert model.provenance["file"] == "resnet_10_23dataset.pth"
    assert "arXiv:1904.00625" in model.provenance["citation"]
    card = ModelCard.load(converted / "README.md")
    assert card.data.license == "mit"
    assert "github.com/Tencent/MedicalNet" in card.text
    assert "zscore -10.0 to 10.0" in card.text


def test_the_head_of_the_published_segmentation_is_left_out_and_logged(tmp_path, caplog):
    state = light() | {"conv_seg.0.weight": torch.zeros(512, 32, 2, 2, 2), "conv_seg.1.bias": torch.zeros(32)}
    with caplog.at_level(logging.INFO, logger="sg_hub"):
        folder = convert(save(tmp_path / "resnet_10.pth", state), tmp_path / "out")
    left_out = ["module.conv_seg.0.weight", "module.conv_seg.1.bias"]
    assert [record.getMessage() for record in caplog.records if "left out" in record.getMessage()] == [
        f"resnet_10.pth: left out {key}" for key in left_out
    ]
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["provenance"]["left_out"] == left_out


@pytest.mark.parametrize(("head", "classes"), [("segmentation", 3), ("classification", 2), ("features", None)])
def test_other_heads_and_channels(converted, head, classes):
    model = sg_hub.from_pretrained(converted, head=head, num_classes=classes, in_chans=2)
    assert model.load_report.adapted == ["encoder.conv1.weight"]
    assert not any(key.startswith("encoder.") for key in model.load_report.reset)


def another(depth, **changes):
    """The keys of a depth, with some of them of another shape, or (None) not there."""
    shapes = keys_of(depth) | changes
    return light({key: shape for key, shape in shapes.items() if shape is not None})


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (lambda: another(10, **{"layer4.0.conv2.weight": None}), ["MedicalNet. 1 keys are missing: layer4.0.conv2"]),
        (
            lambda: {key: value for key, value in another(34).items() if not key.startswith("layer4.")},
            ["36 keys are missing: layer4.0.conv1.weight"],
        ),
        (
            lambda: another(10) | {key: value for key, value in another(18).items() if "layer1.1" in key},
            ["12 are unexpected: layer1.1.conv1.weight"],
        ),
        (lambda: another(10, **{"layer5.0.conv1.weight": (2,)}), ["1 are unexpected: layer5.0.conv1.weight"]),
        (
            lambda: another(10, **{"conv1.weight": (64, 3, 7, 7, 7)}),
            ["conv1.weight has (64, 3, 7, 7, 7), expected (64, 1, 7, 7, 7)"],
        ),
        (
            lambda: another(10, **{"conv1.weight": (64, 1, 7, 7)}),
            ["conv1.weight has (64, 1, 7, 7), expected (64, 1, 7, 7, 7)"],
        ),
        (
            lambda: another(10) | {"bn1.running_var": torch.full((64,), -1.0)},
            ["hold negative values, where there can be none: bn1.running_var"],
        ),
    ],
)
def test_half_and_other_files_are_refused_by_their_keys(tmp_path, state, words):
    with pytest.raises(InvalidInputError) as error:
        convert(save(tmp_path / "resnet.pth", state()), tmp_path / "out")
    for word in words:
        assert word in str(error.value)
    assert not (tmp_path / "out").exists()
