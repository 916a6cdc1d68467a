import numpy as np
import pytest
import torch

from sg_hub import InvalidInputError, embed
from tests.sg_hub.inference.networks import Identity, make_2d, make_image, make_model, make_scan


@pytest.mark.parametrize("head", ["pretext", "segmentation", "classification"])
def test_the_embedding_is_the_mean_of_the_deepest_features(head):
    model = make_model(head=head).eval()
    scan = make_scan((32, 16, 32))
    found = embed(model, scan, progress=False)
    x = model.preprocess(scan)
    with torch.no_grad():
        parts = [model.encoder(x[:, :, i : i + 16, :, k : k + 16])[-1] for i in (0, 16) for k in (0, 16)]
    assert found.dtype == np.float32
    assert found.shape == (model.encoder.channels[-1],)
    assert np.allclose(found, torch.cat(parts).mean((0, 2, 3, 4)).numpy(), atol=1e-5)


@pytest.mark.parametrize("size", [(48, 100), (100, 48), (64, 64)])
def test_black_margins_of_an_image_do_not_count(size):
    model, image = make_2d().eval(), make_image(size)
    with torch.no_grad():
        deepest = model.encoder(model.preprocess(image))[-1]
    (top, bottom), (left, right) = model.preprocessing.margins(image)
    stride = model.encoder.strides[-1]
    rows, columns = slice(top // stride, -(-(64 - bottom) // stride)), slice(left // stride, -(-(64 - right) // stride))
    expected = deepest[0, :, rows, columns].mean((1, 2))
    assert np.allclose(embed(model, image), expected.numpy(), atol=1e-5)


def test_the_padding_of_a_small_scan_does_not_count():
    model, scan = make_model().eval(), make_scan((32, 8, 16))
    x = torch.nn.functional.pad(model.preprocess(scan), (0, 0, 12, 12, 0, 0), mode="replicate")
    with torch.no_grad():
        parts = [model.encoder(x[:, :, i : i + 16])[-1][:, :, :, 1:3] for i in (0, 16)]  # voxels 12 to 20 of 32
    found = embed(model, scan, patch_size=(16, 32, 16), progress=False)
    assert np.allclose(found, torch.cat(parts).mean((0, 2, 3, 4)).numpy(), atol=1e-5)


def test_a_model_without_an_encoder_is_refused():
    with pytest.raises(InvalidInputError, match=r"Identity has no encoder: give a model of"):
        embed(Identity(), make_scan())
