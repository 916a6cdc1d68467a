import pytest
import torch

from sg_hub.errors import InvalidInputError
from sg_hub.inference.feature_maps import FeatureMaps, feature_maps, level_names
from tests.sg_hub.inference.networks import make_model


def described(model, x, names=None, **settings):
    return feature_maps(model.eval(), x, names=names or level_names(model, "encoder"), **settings)


def test_one_window_gives_what_the_encoder_and_the_decoder_give():
    model, x = make_model().eval(), torch.rand(1, 1, 16, 24, 16)
    maps = described(model, x, level_names(model, "encoder") + level_names(model, "decoder"), patch_size=(16, 24, 16))
    with torch.no_grad():
        features = model.encoder(x)
        levels = model.decoder.maps(features)
    assert maps.strides == tuple((s,) * 3 for s in (1, 2, 4, 8, 1, 2, 4, 8))
    for found, expected in zip(maps.levels, [*features, *levels], strict=True):
        assert found.dtype == torch.float16
        assert torch.allclose(found.float(), expected[0], atol=2e-3)
    assert torch.equal(levels[0], model.decoder(features))


def test_windows_join_without_a_seam_where_features_are_local():
    model, x = make_model().eval(), torch.rand(1, 1, 40, 17, 16)

    def encoder(batch):
        return [batch, torch.nn.functional.avg_pool3d(batch, 2), torch.nn.functional.avg_pool3d(batch, 8)]

    encoder.strides, encoder.channels = (1, 2, 8), (1, 1, 1)
    object.__setattr__(model, "encoder", encoder)
    del model._modules["encoder"]
    maps = feature_maps(model, x, names=["encoder 0", "encoder 1"], patch_size=(16, 16, 16))
    assert torch.allclose(maps.levels[0].float(), x[0], atol=2e-3)
    assert maps.levels[1].shape == (1, 20, 9, 8)  # the last cell is half outside
    inside = torch.nn.functional.avg_pool3d(x, 2)[0]
    assert torch.allclose(maps.levels[1][:, :, :8].float(), inside, atol=2e-3)


def test_cells_can_be_as_coarse_as_is_asked_for():
    model, x = make_model().eval(), torch.rand(1, 1, 32, 16, 16)
    fine, coarse = described(model, x), described(model, x, finest=4)
    assert coarse.strides == ((4,) * 3, (4,) * 3, (4,) * 3, (8,) * 3)
    pooled = torch.nn.functional.avg_pool3d(fine.levels[0][None].float(), 4)[0]
    assert torch.allclose(coarse.levels[0].float(), pooled, atol=2e-3)
    assert coarse.finest in (0, 1, 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_coarse_cells_of_a_network_of_another_precision(dtype):
    model, x = make_model().eval(), torch.rand(1, 1, 32, 16, 16)
    single = described(model, x, finest=4)
    found = described(model.to(dtype), x, finest=4)
    for one, other in zip(found.levels, single.levels, strict=True):
        assert (one - other).abs().mean() < 0.02 * other.float().std()


def test_a_place_is_most_similar_to_itself():
    model, x = make_model().eval(), torch.rand(1, 1, 24, 16, 16)
    maps = described(model, x).normalised()
    places = torch.tensor([[5.0, 7.0, 3.0], [20.0, 2.0, 9.0]])
    vectors = [torch.nn.functional.normalize(level) for level in maps.at(places)]
    similarity = maps.similarity(vectors)
    assert similarity.shape == (2, 24, 16, 16)
    for number, place in enumerate(places.long()):
        highest = torch.stack(torch.unravel_index(similarity[number].argmax(), (24, 16, 16)))
        assert (highest - place).abs().max() <= 1  # between coarse cells vectors are interpolated
    assert similarity.max() == pytest.approx(1, abs=0.02)
    assert torch.equal(maps.voxels(places), places)


def test_levels_are_taken_by_name():
    model = make_model().eval()
    maps = described(model, torch.rand(1, 1, 16, 16, 16))
    kept = maps.only(["encoder 3", "encoder 1"])
    assert (kept.names, kept.strides) == (("encoder 3", "encoder 1"), ((8,) * 3, (2,) * 3))
    assert kept.levels[1] is maps.levels[1]


def test_a_window_larger_than_the_scan_moves_nothing():
    model = make_model()
    x = torch.rand(1, 1, 24, 16, 40, generator=torch.Generator().manual_seed(0))
    names = level_names(model, "encoder")
    whole, larger = (feature_maps(model, x, names=names, patch_size=size) for size in (None, (32, 64, 64)))
    for one, other in zip(whole.levels, larger.levels, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("corner", [(-9.0, -9.0, -9.0), (3.0, 2.0, 1.0), (30.0, 30.0, 30.0)])
def test_vectors_of_a_few_places_are_those_that_lie_in_the_whole_map(corner):
    """Only the cells around them are looked at."""
    generator = torch.Generator().manual_seed(0)
    levels = torch.randn(4, 20, 16, 9, generator=generator), torch.randn(6, 5, 4, 3, generator=generator)
    maps = FeatureMaps(("a", "b"), tuple(one.half() for one in levels), ((1, 1, 1), (4, 4, 4)), (20, 16, 9))
    places = torch.tensor(corner) + 4 * torch.rand(30, 3, generator=generator)
    everywhere = torch.cat([places, torch.tensor([[-50.0] * 3, [50.0] * 3])])
    for few, all_of_it in zip(maps.at(places), maps.at(everywhere), strict=True):
        assert torch.allclose(few, all_of_it[:-2], atol=1e-4)


def test_features_beyond_half_precision_are_said_to_be():
    model = make_model()
    with torch.no_grad():
        model.encoder.levels[3][1].norm.bias.fill_(1e6)
    with pytest.raises(InvalidInputError, match=r"its features \(encoder 3\) are above 65504"):
        described(model, torch.rand(1, 1, 16, 24, 16))
