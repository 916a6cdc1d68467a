"""MedicalNet's networks: sizes, shortcuts, heads, and what they refuse."""

import pytest
import torch

import sg_hub
from sg_hub import InvalidInputError
from sg_hub.models.families.medicalnet import DEPTHS, Block, MedicalNet

X = torch.rand(2, 1, 24, 16, 8, generator=torch.Generator().manual_seed(0))
MILLIONS = {10: 14.36, 18: 32.99, 34: 63.31, 50: 46.21, 101: 85.31, 152: 117.51, 200: 126.74}
"""Numbers in a backbone: its parameters, and the running statistics that are published with them."""


def narrow(**options):
    torch.manual_seed(0)
    return MedicalNet(**{"width": 4, "decoder_width": 2, **options}).eval()


@pytest.mark.parametrize("depth", DEPTHS)
def test_parameters_and_feature_maps_of_every_depth(depth):
    with torch.device("meta"):
        model = MedicalNet(depth=depth, head="features")
    count = sum(value.numel() for value in model.state_dict().values() if value.is_floating_point())
    assert round(count / 1e6, 2) == MILLIONS[depth]
    assert model.encoder.strides == (2, 4, 8, 8, 8)
    wide = 4 if depth >= 50 else 1
    assert model.encoder.channels == (64, 64 * wide, 128 * wide, 256 * wide, 512 * wide)


@pytest.mark.parametrize("depth", [10, 18, 50])
def test_features_are_finest_first_and_of_their_strides(depth):
    model = narrow(depth=depth, head="features")
    with torch.inference_mode():
        features = model(X)
    wanted = [
        (2, channels, *(side // stride for side in X.shape[2:]))
        for channels, stride in zip(model.encoder.channels, model.encoder.strides, strict=True)
    ]
    assert [tuple(feature.shape) for feature in features] == wanted


def test_maps_of_one_size_are_joined_without_up_sampling():
    decoder = narrow(head="segmentation", num_classes=2).decoder
    assert [level.up is None for level in decoder.levels] == [True, True, False, False, False]


def test_shortcut_a_takes_every_other_voxel_and_adds_channels_of_zeros():
    block = Block(2, 3, stride=2, dilation=1, expansion=1, shortcut="A").eval()
    torch.nn.init.zeros_(block.bn2.weight)  # the shortcut alone is left
    x = torch.rand(1, 2, 4, 6, 8)
    with torch.inference_mode():
        found = block(x)
    assert torch.equal(found[:, :2], x[:, :, ::2, ::2, ::2])
    assert not found[:, 2:].any()
    assert not any("downsample" in key for key in block.state_dict())


def test_the_published_shortcut_is_the_one_of_the_depth():
    assert [narrow(depth=depth).config()["shortcut"] for depth in (10, 18, 34, 50)] == ["B", "A", "A", "B"]
    assert narrow(depth=18, shortcut="B").config()["shortcut"] == "B"


def test_the_last_two_levels_are_dilated():
    encoder = narrow(depth=50).encoder
    found = [encoder.get_submodule(f"layer{level}.0.conv2") for level in (1, 2, 3, 4)]
    assert [layer.dilation[0] for layer in found] == [1, 1, 2, 4]
    assert [layer.stride[0] for layer in found] == [1, 2, 1, 1]


def test_saved_and_loaded_it_gives_the_same(tmp_path):
    model = narrow(depth=18, head="segmentation", num_classes=2)
    model.save_pretrained(tmp_path)
    loaded = sg_hub.from_pretrained(tmp_path)
    assert type(loaded) is MedicalNet
    assert loaded.config() == model.config()
    with torch.inference_mode():
        assert torch.equal(loaded(X), model(X))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"depth": 26}, "depth=26: expected one of 10, 18, 34, 50, 101, 152, 200"),
        ({"depth": "10"}, "depth='10'"),
        ({"depth": True}, "depth=True"),
        ({"shortcut": "C"}, "shortcut='C': expected 'A' or 'B'"),
        ({"width": 0}, "width=0"),
        ({"decoder_width": 1.5}, r"decoder_width=1\.5"),
    ],
)
def test_impossible_options(options, words):
    with pytest.raises(InvalidInputError, match=words):
        MedicalNet(**options)


def test_sides_are_multiples_of_8():
    with pytest.raises(InvalidInputError, match="multiple of 8"):
        narrow(head="features")(torch.rand(1, 1, 24, 16, 12))
    model = narrow(head="segmentation", num_classes=2)
    assert model(torch.rand(1, 1, 21, 16, 12), pad=True).shape == (1, 2, 21, 16, 12)
