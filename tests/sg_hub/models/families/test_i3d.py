"""I3D: sizes, strides along each axis, its own scaling, heads, and what it refuses."""

import pytest
import torch

import sg_hub
from sg_hub import InvalidInputError
from sg_hub.models.families.i3d import I3D

X = torch.rand(1, 3, 64, 32, 16, generator=torch.Generator().manual_seed(0))


def narrow(**options):
    torch.manual_seed(0)
    return I3D(**{"width": 4, "decoder_width": 2, "in_chans": 3, **options}).eval()


def test_the_published_width():
    with torch.device("meta"):
        model = I3D(in_chans=3, head="classification", num_classes=400)
    assert sum(p.numel() for p in model.parameters()) == 12_697_264
    assert model.encoder.channels == (64, 192, 480, 832, 1024)


def test_features_are_finest_first_with_strides_along_each_axis():
    model = narrow(head="features")
    with torch.inference_mode():
        features = model(X)
    sizes = [(32, 16, 8), (16, 8, 8), (8, 4, 8), (4, 2, 4), (2, 1, 2)]
    assert [tuple(feature.shape[2:]) for feature in features] == sizes
    assert [feature.shape[1] for feature in features] == list(model.encoder.channels)
    for size, stride in zip(sizes, model.encoder.strides, strict=True):
        assert size == tuple(side // step for side, step in zip(X.shape[2:], stride, strict=True))


def test_it_brings_its_input_to_the_range_of_its_weights():
    model, raw = narrow(head="features"), narrow(head="features", mean=0, std=1)
    raw.load_state_dict(model.state_dict())
    with torch.inference_mode():
        for found, wanted in zip(model.encoder(X), raw.encoder(2 * X - 1), strict=True):
            torch.testing.assert_close(found, wanted)


def test_one_channel_gives_what_three_equal_ones_give(tmp_path):
    narrow(head="features").save_pretrained(tmp_path)
    three, one = sg_hub.from_pretrained(tmp_path), sg_hub.from_pretrained(tmp_path, in_chans=1)
    grey = X[:, :1]
    with torch.inference_mode():
        torch.testing.assert_close(one(grey)[-1], three(grey.expand(-1, 3, -1, -1, -1))[-1])


def test_saved_and_loaded_it_gives_the_same(tmp_path):
    model = narrow(head="segmentation", num_classes=2)
    model.save_pretrained(tmp_path)
    loaded = sg_hub.from_pretrained(tmp_path)
    assert loaded.config() == model.config()
    with torch.inference_mode():
        assert torch.equal(loaded(X), model(X))


def test_sides_are_multiples_of_the_strides_along_each_axis():
    with pytest.raises(InvalidInputError, match=r"multiple of \(32, 32, 8\); the nearest .* \(64, 32, 8\)"):
        narrow(head="features")(torch.rand(1, 3, 64, 30, 10))
    model = narrow(head="segmentation", num_classes=2)
    assert model(torch.rand(1, 3, 40, 30, 10), pad=True).shape == (1, 2, 40, 30, 10)


@pytest.mark.parametrize("options", [{"width": 0}, {"std": 0}, {"mean": float("nan")}, {"std": "1"}, {"std": True}])
def test_impossible_options(options):
    with pytest.raises(InvalidInputError, match=next(iter(options))):
        I3D(**options)
