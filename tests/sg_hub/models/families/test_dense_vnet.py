"""Dense V-Net: what each stack gives, resizing and averages as in TensorFlow 1, heads, saving."""

import numpy as np
import pytest
import torch

import sg_hub
from sg_hub import InvalidInputError
from sg_hub.models.families.dense_vnet import DenseVNet, average_by_two, enlarged
from tests.sg_hub.conversion.published import PUBLIC, filled

X = torch.rand(2, 1, 16, 24, 8, generator=torch.Generator().manual_seed(0))


def narrow(**options):
    torch.manual_seed(0)
    return DenseVNet(**{"width": 6, **options}).eval()


def test_it_computes_what_tensorflow_does():
    expected = np.load(PUBLIC / "dense_vnet_tensorflow.npz")
    model = DenseVNet(head="segmentation", num_classes=9).eval()
    state = filled(int(expected["seed"]), {key: tuple(value.shape) for key, value in model.state_dict().items()})
    model.load_state_dict(state)
    x = torch.from_numpy(expected["x"].astype(np.float32))
    with torch.inference_mode():
        features, logits = model.encoder(x), model(x)
    gap = torch.cat([feature.mean((2, 3, 4)) for feature in features], 1)[0]
    np.testing.assert_allclose(gap.numpy(), expected["gap"], atol=1e-5, rtol=1e-4)
    np.testing.assert_allclose(logits[..., ::4].numpy(), expected["logits"], atol=1e-5, rtol=1e-4)


def test_the_published_sizes():
    with torch.device("meta"):
        model = DenseVNet(head="segmentation", num_classes=9)
    assert sum(p.numel() for p in model.parameters()) == 878_269
    assert (model.encoder.channels, model.encoder.strides) == ((45, 104, 184), (2, 4, 8))
    assert model.encoder.channels == tuple(25 * (i == 0) + 24 * (i > 0) + n for i, n in enumerate((20, 80, 160)))
    assert [unit.conv.in_channels for unit in model.encoder.stacks[0].units] == [25, 29, 33, 37, 41]
    assert [skip.conv.out_channels for skip in model.decoder.skips] == [12, 24, 24]


def test_features_are_finest_first():
    model = narrow(head="features")
    with torch.inference_mode():
        features = model(X)
    for feature, channels, stride in zip(features, model.encoder.channels, model.encoder.strides, strict=True):
        assert feature.shape == (2, channels, *(side // stride for side in X.shape[2:]))


def test_without_skips_it_is_an_autoencoder():
    model = narrow(head="features")
    decoder = model.build_decoder(skips=False).eval()
    with torch.inference_mode():
        features = model(X)
        changed = [torch.zeros_like(feature) for feature in features[:-1]] + features[-1:]
        assert torch.equal(decoder(features), decoder(changed))
        assert decoder(features).shape[2:] == X.shape[2:]


def test_resizing_begins_at_the_first_voxel_and_ends_in_the_last():
    x = torch.arange(4.0).view(1, 1, 4, 1, 1)
    assert enlarged(x, 2)[0, 0, :, 0, 0].tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3, 3]
    assert enlarged(x, 1) is x


def test_averages_are_of_what_is_inside():
    x = torch.arange(8.0).view(1, 1, 8, 1, 1).expand(1, 1, 8, 4, 4)
    assert average_by_two(x)[0, 0, :, 0, 0].tolist() == [1, 3, 5, 6.5]


def test_channels_and_saving(tmp_path):
    model = narrow(head="segmentation", num_classes=2)
    model.save_pretrained(tmp_path)
    loaded, two = sg_hub.from_pretrained(tmp_path), sg_hub.from_pretrained(tmp_path, in_chans=2)
    assert loaded.config() == model.config()
    assert two.load_report.adapted == ["encoder.first.conv.weight"]
    with torch.inference_mode():
        assert torch.equal(loaded(X), model(X))
        torch.testing.assert_close(two(X.expand(-1, 2, -1, -1, -1)), model(X))


def test_what_it_refuses():
    with pytest.raises(InvalidInputError, match="width=0"):
        DenseVNet(width=0)
    with pytest.raises(InvalidInputError, match="multiple of 8"):
        narrow(head="features")(torch.rand(1, 1, 16, 20, 8))
    assert narrow(head="restoration")(torch.rand(1, 1, 9, 20, 8), pad=True).shape == (1, 1, 9, 20, 8)
